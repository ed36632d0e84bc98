package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// changes are a run of one random change of the live config after the other,
// while lines flow.
type changes struct {
	number int
	rate   float64 // lines a second
	pause  time.Duration
	seed   uint64
	// memory says to ask that it does not grow; it takes a run that is long enough.
	memory bool
}

const (
	steadyFiles = 3 // whose input no change names
	movingFiles = 5 // whose inputs come, go and change
	seedFiles   = 2 // the same, from the seed
)

var (
	movingTopics = []string{"moving_a", "moving_b", "moving_c"}
	seedTopics   = []string{"seed_a", "seed_b"}
)

// TestChangesWhileLinesFlow is the short form; the one with a thousand changes
// runs with the tag real.
func TestChangesWhileLinesFlow(t *testing.T) {
	changes{number: 60, rate: 5_000, pause: 200 * time.Millisecond, seed: rand.Uint64()}.run(t)
}

// run asks that nothing is lost, nothing is there twice, not in Kafka either,
// and that a file whose input is not named by a change is not opened again.
func (c changes) run(t *testing.T) {
	t.Logf("seed %d", c.seed)
	dir := t.TempDir()
	p := up(t, dir)
	rates := map[string]float64{}
	for i := range steadyFiles {
		rates[fmt.Sprintf("steady-%d.log", i)] = c.rate * 0.7 / steadyFiles
	}
	for i := range movingFiles {
		rates[fmt.Sprintf("moving-%d.log", i)] = c.rate * 0.2 / movingFiles
	}
	for i := range seedFiles {
		rates[fmt.Sprintf("seed-%d.log", i)] = c.rate * 0.1 / seedFiles
	}
	w := newChanger(t, p, dir, c.seed)
	w.calm()
	f := newFlow(t, dir, rates)
	f.start()
	eventually(t, "the steady files are open", func() bool {
		return len(p.handles(dir, "steady-")) == steadyFiles
	})
	marked := p.mark(dir, "steady-")
	memory := p.sample(t)
	for done := 0; done < c.number; {
		// Some come at once, some one after the other.
		var wait sync.WaitGroup
		for range min(1+w.random.IntN(8), c.number-done) {
			wait.Go(w.change().put)
			done++
		}
		wait.Wait()
		if w.random.IntN(20) == 0 {
			single := w.change()
			single.put()
			w.answered(single)
		}
		p.untouched(dir, marked)
		time.Sleep(time.Duration(w.random.ExpFloat64() * float64(c.pause)))
	}
	rss := memory()
	total := f.end()
	last := w.calm()
	w.inForce(last)
	p.untouched(dir, marked)
	topics := slices.Concat(movingTopics, seedTopics)
	for i := range steadyFiles {
		topics = append(topics, fmt.Sprintf("steady-%d", i))
	}
	f.inKafka(p.Kafka, topics...)

	// However long that takes here, it goes on.
	var rows int64
	for grown := time.Now(); rows < total; time.Sleep(100 * time.Millisecond) {
		now, err := strconv.ParseInt(p.query("* | stats count() rows")[0]["rows"], 10, 64)
		require.NoError(t, err)
		if now > rows {
			rows, grown = now, time.Now()
		}
		require.Less(t, time.Since(grown), patience, "%d of %d documents", rows, total)
	}
	require.Equal(t, total, rows, "each line is one document")
	if total < 1_000_000 { // more are too many for the store to compare
		_, different := p.count("*")
		require.Equal(t, total, int64(different))
	}
	w.lastErrors()
	p.untouched(dir, marked)

	third := len(rss) / 3
	first, final := median(rss[:third]), median(rss[2*third:])
	t.Logf("resident memory of the first third %d MiB, of the last %d MiB", first>>20, final>>20)
	if c.memory {
		require.LessOrEqual(t, float64(final), 1.3*float64(first))
	}
	require.Equal(t, 0, p.stop())
}

func median(list []int64) int64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// handles are the descriptors of a process by which it reads files of dir, by name.
func (p *process) handles(dir, prefix string) map[string]int {
	p.t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd/", p.cmd.Process.Pid)
	entries, err := os.ReadDir(fds)
	require.NoError(p.t, err)
	found := map[string]int{}
	for _, e := range entries {
		path, err := os.Readlink(fds + e.Name())
		if err != nil || filepath.Dir(path) != dir || !strings.HasPrefix(filepath.Base(path), prefix) {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		require.NoError(p.t, err)
		require.NotContains(p.t, found, path, "a file is open once")
		found[path] = fd
	}
	return found
}

// flags changes and returns the flags of a descriptor of a child; ok says
// whether the system lets us.
func (p *process) flags(fd, set int) (flags int, ok bool) {
	p.t.Helper()
	child, err := unix.PidfdOpen(p.cmd.Process.Pid, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(child)
	ours, err := unix.PidfdGetfd(child, fd, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(ours)
	flags, err = unix.FcntlInt(uintptr(ours), unix.F_GETFL, 0)
	require.NoError(p.t, err)
	if set != 0 {
		_, err = unix.FcntlInt(uintptr(ours), unix.F_SETFL, flags|set)
		require.NoError(p.t, err)
	}
	return flags, true
}

// mark puts a flag on the handles of files that a handle opened later has not:
// to append, which means nothing to who only reads.
func (p *process) mark(dir, prefix string) map[string]int {
	p.t.Helper()
	handles := p.handles(dir, prefix)
	for _, fd := range handles {
		if _, ok := p.flags(fd, unix.O_APPEND); !ok {
			p.t.Log("this system does not let a test mark the handles of its child; their numbers must do")
		}
	}
	return handles
}

// untouched asks that files are read by the handles that were marked.
func (p *process) untouched(dir string, marked map[string]int) {
	p.t.Helper()
	require.Equal(p.t, marked, p.handles(dir, "steady-"))
	for path, fd := range marked {
		if flags, ok := p.flags(fd, 0); ok {
			require.NotZero(p.t, flags&unix.O_APPEND, "%s was opened again", path)
		}
	}
}

// sample notes the resident memory of a process until it is asked for it.
func (p *process) sample(t *testing.T) (end func() []int64) {
	stop, result := make(chan struct{}), make(chan []int64)
	go func() {
		var rss []int64
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-tick.C:
				statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
				if f := strings.Fields(string(statm)); err == nil && len(f) > 1 {
					pages, _ := strconv.ParseInt(f[1], 10, 64)
					rss = append(rss, pages*int64(os.Getpagesize()))
				}
			case <-stop:
				tick.Stop()
				result <- rss
				return
			}
		}
	}()
	return func() []int64 {
		close(stop)
		return <-result
	}
}

// changer puts documents.
type changer struct {
	t      *testing.T
	dir    string
	node   string
	client *clientv3.Client
	store  *etcd.Store
	cfg    config.Etcd
	random *rand.Rand
}

func newChanger(t *testing.T, p *process, dir string, seed uint64) *changer {
	t.Helper()
	c := &changer{t: t, dir: dir, cfg: config.Default[config.Etcd](), random: rand.New(rand.NewPCG(seed, 0))}
	c.cfg.Endpoints = []string{p.Etcd}
	var err error
	c.node, err = os.Hostname()
	require.NoError(t, err)
	ctx := context.WithoutCancel(t.Context())
	c.client, err = etcd.Client(ctx, c.cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.client.Close() })
	c.store, err = etcd.Open(ctx, c.cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.store.Close() })
	return c
}

// change is one that may be put.
type change struct {
	document string
	data     string // "": delete the document
	valid    bool

	t        *testing.T
	client   *clientv3.Client
	key      string
	revision int64 // once it was put; 0 when it changed nothing
}

func (c *changer) plan(document, data string, valid bool) *change {
	return &change{document: document, data: data, valid: valid, t: c.t, client: c.client, key: c.cfg.Key(document)}
}

func (c *change) put() {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if c.data == "" {
		answer, err := c.client.Delete(ctx, c.key)
		if err != nil {
			c.t.Error(err)
		} else if answer.Deleted > 0 {
			c.revision = answer.Header.Revision
		}
		return
	}
	answer, err := c.client.Put(ctx, c.key, c.data)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.revision = answer.Header.Revision
}

// put puts a document at once.
func (c *changer) put(document, data string) *change {
	c.t.Helper()
	change := c.plan(document, data, true)
	change.put()
	require.False(c.t, c.t.Failed())
	return change
}

// calm puts what lets every line through, and returns the last put that each
// role reads.
func (c *changer) calm() map[string]*change {
	c.t.Helper()
	var moving []string
	for i := range movingFiles {
		moving = append(moving, fmt.Sprintf("  - {name: moving-%d, paths: ['%s/moving-%d.log'], topic: moving_a}\n", i, c.dir, i))
	}
	c.put("agent/nodes/"+c.node, "")
	c.put("seed", c.seedText(seedFiles, "seed_a"))
	seeds := "  - {name: seeds, topics: [" + strings.Join(seedTopics, ", ") + "], index: '{topic}'}\n"
	return map[string]*change{
		"agent":    c.put("agent", c.agent(moving)),
		"transfer": c.put("transfer", c.transfer("", "", true)+seeds),
	}
}

// agent is a document with the steady input and others, in any order.
func (c *changer) agent(moving []string) string {
	inputs := append([]string{"  - {name: steady, paths: ['" + c.dir + "/steady-*.log'], topic: '{path.name}'}\n"}, moving...)
	c.random.Shuffle(len(inputs), func(i, j int) { inputs[i], inputs[j] = inputs[j], inputs[i] })
	return "inputs:\n" + strings.Join(inputs, "")
}

func (c *changer) transfer(steady, moving string, withMoving bool) string {
	s := "routes:\n  - {name: steady, topics: ['/^steady-/'], index: '{topic}'" + steady + "}\n"
	if withMoving {
		s += "  - {name: moving, topics: ['/^moving_[abc]$/'], index: '{topic}'" + moving + "}\n"
	}
	return s
}

func (c *changer) seedText(n int, topic string) string {
	list := []map[string]string{}
	for i := range n {
		list = append(list, map[string]string{"path": fmt.Sprintf("%s/seed-%d.log", c.dir, i), "topic": topic})
	}
	text, err := json.Marshal(list)
	require.NoError(c.t, err)
	return string(text)
}

func (c *changer) any(list ...string) string { return list[c.random.IntN(len(list))] }

// change plans a random document.
func (c *changer) change() *change {
	if c.random.IntN(3) == 0 {
		return c.invalid()
	}
	switch c.random.IntN(10) {
	case 0:
		return c.plan("agent/nodes/"+c.node, "", true)
	case 1:
		return c.plan("agent/nodes/"+c.node, "inputs:\n"+c.moving(c.random.IntN(movingFiles)), true)
	case 2, 3:
		return c.plan("seed", c.seedText(c.random.IntN(seedFiles+1), c.any(seedTopics...)), true)
	case 4, 5:
		return c.plan("transfer", c.transfer(c.routeSettings(), c.routeSettings(), c.random.IntN(5) > 0), true)
	}
	var moving []string
	for i := range movingFiles {
		if c.random.IntN(4) > 0 {
			moving = append(moving, c.moving(i))
		}
	}
	return c.plan("agent", c.agent(moving), true)
}

// moving is an input with random settings.
func (c *changer) moving(i int) string {
	settings := ""
	for range c.random.IntN(3) {
		settings = c.any(
			fmt.Sprintf(", throttle: {lines_per_second: %d}", 500+c.random.IntN(20_000)),
			fmt.Sprintf(", throttle: {bytes_per_second: %dKiB}", 100+c.random.IntN(1000)),
			fmt.Sprintf(", retry: {min_backoff: %dms, max_backoff: %ds}", 1+c.random.IntN(500), 1+c.random.IntN(60)),
			", key: "+c.any("file", "node", "none"),
			", rotate_wait: "+c.any("1s", "5s", "20s"),
			", max_line_bytes: "+c.any("64KiB", "1MiB"),
			", start_at: "+c.any("beginning", "end"),
		)
	}
	return fmt.Sprintf("  - {name: moving-%d, paths: ['%s/moving-%d.log'], topic: %s%s}\n", i, c.dir, i, c.any(movingTopics...), settings)
}

func (c *changer) routeSettings() string {
	return c.any(
		"",
		fmt.Sprintf(", batch: {max_docs: %d}", 100+c.random.IntN(5000)),
		fmt.Sprintf(", batch: {max_bytes: %dKiB, max_wait: %dms, in_flight: %d}", 64+c.random.IntN(5000), c.random.IntN(500), 1+c.random.IntN(8)),
		fmt.Sprintf(", throttle: {lines_per_second: %d}", 1000+c.random.IntN(100_000)),
		fmt.Sprintf(", retry: {max_backoff: %ds}", 1+c.random.IntN(30)),
		fmt.Sprintf(", breaker: {failures: %d, open_for: %ds}", 1+c.random.IntN(9), 1+c.random.IntN(9)),
	)
}

// invalid plans what must change nothing.
func (c *changer) invalid() *change {
	document := c.any("agent", "agent/nodes/"+c.node, "transfer", "seed")
	random := make([]byte, 64)
	for i := range random {
		random[i] = byte(c.random.IntN(256))
	}
	random[0] = 0
	data := c.any(
		"inputs: [", "routes: {{", "\t- x", `[{"path":`, // neither YAML nor JSON
		"input: []\nroute: []\n", `[{"path":"/x","topic":"x","more":1}]`, // keys that there are not
		"inputs: 7\nroutes: 7\n", "- 1\n", `{"path":"/x"}`, `[7]`, // other types
		"inputs: [{name: x, paths: [/x], topic: 'no/topic'}]\nroutes: [{name: x, topics: ['no/topic'], index: x}]\n", `[{"path":"/x","topic":"../x"}]`,
		"max_in_flight_bytes: 1GiB\n", "allowed_paths: [/]\n", // of the file alone
		"inputs: [{name: steady}]\nroutes: [{name: steady}]\n", `[{}]`, // incomplete
		"inputs: [{name: x, paths: [/x], topic: x, throttle: {lines_per_second: -1}}]\nroutes: [{name: x, topics: [x], index: X}]\n",
		string(random),
		"inputs: # "+strings.Repeat("x", 1400<<10)+"\n  7", // most that etcd takes
		strings.Repeat("[", 50_000),
	)
	return c.plan(document, data, false)
}

// report returns what a process says, nil when it says nothing.
func (c *changer) report(role string) *app.Report {
	c.t.Helper()
	members, err := c.store.Fleet(c.t.Context())
	if err != nil { // on a busy machine
		c.t.Log(err)
	}
	for _, m := range members {
		if m.Role == role && m.Alive {
			var r app.Report
			require.NoError(c.t, json.Unmarshal(m.Data, &r))
			return &r
		}
	}
	return nil
}

// answered waits until each process that reads a document has answered, as it must.
func (c *changer) answered(put *change) {
	c.t.Helper()
	if put.revision == 0 {
		return
	}
	want := app.Rejected
	if put.valid {
		want = app.Applied
	}
	for _, role := range []string{"agent", "transfer"} {
		eventually(c.t, fmt.Sprintf("the answer of the %s to %s, revision %d", role, put.document, put.revision), func() bool {
			r := c.report(role)
			if r == nil || slices.Contains(r.Keys, put.key) && r.Answered(put.key, put.revision) == app.NoAnswer {
				return false
			}
			if slices.Contains(r.Keys, put.key) {
				require.Equal(c.t, want, r.Answered(put.key, put.revision), "%+v", r.Config)
			}
			return true
		})
	}
}

// inForce waits until the last puts are in force, and nothing is wrong.
func (c *changer) inForce(last map[string]*change) {
	c.t.Helper()
	c.says("the last revision", func(role string, s app.LiveStatus) bool {
		return s.Revision == last[role].revision && s.Wanted == s.Revision && s.Error == ""
	})
}

// lastErrors puts what is not valid and asks that status says so.
func (c *changer) lastErrors() {
	c.t.Helper()
	bad := map[string]*change{
		"agent":    c.put("agent", "inputs: 7"),
		"transfer": c.put("transfer", "routes: 7"),
	}
	c.says("the errors", func(role string, s app.LiveStatus) bool {
		return s.Wanted == bad[role].revision && s.Revision < s.Wanted && strings.Contains(s.Error, c.cfg.Key(role))
	})
}

// says waits until both services answer as they must, and asks that people are
// told the same.
func (c *changer) says(what string, must func(role string, s app.LiveStatus) bool) {
	c.t.Helper()
	for _, role := range []string{"agent", "transfer"} {
		eventually(c.t, what, func() bool {
			r := c.report(role)
			return r != nil && must(role, r.Config)
		})
	}
	out, errs, code := run(c.t, c.dir, "status", "--etcd-endpoints", c.cfg.Endpoints[0], "--output", "json")
	require.Equal(c.t, 0, code, errs)
	var fleet []member
	require.NoError(c.t, json.Unmarshal([]byte(out), &fleet))
	require.Len(c.t, fleet, 2)
	for _, m := range fleet {
		require.True(c.t, must(m.Role, m.Report.Config), "%+v", m.Report.Config)
	}
}
