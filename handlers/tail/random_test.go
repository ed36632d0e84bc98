package tail

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

var (
	programs = flag.Int("programs", 200, "random programs to run")
	seed     = flag.Uint64("seed", 0, "the one program to run")
)

// TestRandomPrograms runs programs of writes, rotations and crashes against a
// model of the file system: every line that was in a file which the source
// could hold, or which was there when it came back, is handed out, with its
// bytes and its position, and nothing that was not written is. A third of the
// programs write events of several lines, which are to be joined.
func TestRandomPrograms(t *testing.T) {
	t.Parallel()
	if *seed != 0 {
		runProgram(t, *seed)
		return
	}
	first := uint64(time.Now().UnixNano())
	t.Logf("seeds from %d", first)
	var wg sync.WaitGroup
	next := make(chan uint64)
	for range 8 {
		wg.Go(func() {
			for n := range next {
				runProgram(t, first+n)
			}
		})
	}
	for n := range *programs {
		if t.Failed() {
			break
		}
		next <- uint64(n)
	}
	close(next)
	wg.Wait()
}

// renamedAnew counts the programs that repeated something under another id.
var renamedAnew atomic.Int64

// content is what a file holds, and what of it was to be handed out.
type content struct {
	size  int64
	lines []*written
	half  *written   // an incomplete line at its end
	moved bool       // its writer went on in the next file
	copy  bool       // nobody has it open to write to
	known bool       // the source had it when it was stopped in good order
	cut   []*written // what was in the file before it was copied and cut
}

// written is one line that was written.
type written struct {
	text string
	half string // the part that was written first
	pos  int64
	owed bool
	torn bool // its first part may come alone
	anew bool // it may come again under another id
}

type program struct {
	t    *testing.T
	seed uint64
	rnd  *rand.Rand
	r    *rig
	log  []string

	names    map[string]*content // of names
	multi    bool
	written  []*written
	issued   map[string]issued // lines
	next     int
	running  bool
	killed   bool
	copied   bool
	vanished []*written // of files that are gone, what was cut off before
	released chan struct{}
	deleted  []*content // without a name, held by the source alone
	away     []*content // with a name that no pattern matches
}

// issued is one line of what was written.
type issued struct {
	*written
	at    int   // where in it the line begins
	other int64 // its own position, if its event was cut by a rotation
}

var names = []string{"app.log", "app.log.1", "app.log.2", "app.log.3", "other.log"}

func runProgram(t *testing.T, seed uint64) {
	root, err := os.MkdirTemp("", "tail")
	require.NoError(t, err)
	defer os.RemoveAll(root)
	r := &rig{t: t, dir: root + "/logs", data: root + "/data"}
	require.NoError(t, os.Mkdir(r.dir, 0o755))
	r.o = Options{Node: "n", Dir: r.data, Logger: discard, MaxInFlightBytes: 1 << 20}
	r.inputs = []config.Input{r.input("in", "app.log*"), r.input("other", "other.log")}
	for i := range r.inputs {
		r.inputs[i].RotateWait = config.Duration(30 * time.Millisecond)
		r.inputs[i].MaxLineBytes = 4 << 10
	}
	var told strings.Builder
	r.o.Logger = slog.New(slog.NewTextHandler(&told, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := &program{
		t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), r: r,
		names: map[string]*content{}, issued: map[string]issued{},
	}
	if p.multi = seed%3 == 0; p.multi {
		for i := range r.inputs {
			r.inputs[i].Multiline = config.Multiline{Continue: `^\t`, MaxWait: config.Duration(30 * time.Millisecond)}
		}
	}
	nacks := rand.New(rand.NewPCG(seed, 2))
	if seed%2 == 0 {
		r.nack = func(*logs.Batch) bool { return nacks.IntN(20) == 0 }
	}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s\n%s", seed, strings.Join(p.log, "\n"), told.String())
		}
		if p.running {
			p.resume()
			r.kill()
		}
	}()
	for range 10 + p.rnd.IntN(40) {
		p.step()
	}
	p.resume()
	if !p.running {
		p.start()
	}
	p.check()
}

func (p *program) say(format string, args ...any) {
	p.log = append(p.log, time.Now().Format("05.000000 ")+fmt.Sprintf(format, args...))
}

func (p *program) step() {
	if p.rnd.IntN(3) == 0 {
		time.Sleep(time.Duration(p.rnd.IntN(4000)) * time.Microsecond)
	}
	switch n := p.rnd.IntN(100); {
	case !p.running && n < 10:
		p.copyTruncate() // whom nobody saw
	case n < 40:
		p.write("app.log", 1+p.rnd.IntN(5))
	case n < 48:
		p.write("other.log", 1+p.rnd.IntN(20))
	case n < 52:
		p.write("app.log.1", 1) // a writer that was not told
	case n < 60:
		p.half("app.log")
	case n < 70:
		p.rotate()
	case n < 76:
		p.copyTruncate()
	case n < 79:
		p.truncate()
	case n < 82:
		p.delete(names[p.rnd.IntN(len(names))])
	case n < 84:
		p.link()
	case n < 87:
		p.moveAway(names[1+p.rnd.IntN(3)])
	case n < 92:
		p.toggle()
	case n < 94:
		p.pause()
	case n < 97:
		p.pack(names[2+p.rnd.IntN(2)])
	default:
		p.resume()
	}
}

func (p *program) content(name string) *content {
	c := p.names[name]
	if c == nil {
		c = &content{}
		p.names[name] = c
	}
	return c
}

// text makes a line that no other one is like, of a length that is around the
// limits now and then.
func (p *program) text() string {
	p.next++
	size := []int{0, 1, 60, 200, 1000, 4000, 50, 10}[p.rnd.IntN(8)]
	text := fmt.Sprintf("%d-%s", p.next, strings.Repeat("x", size))
	if p.multi {
		for i := range p.rnd.IntN(4) {
			text += fmt.Sprintf("\n\t%d-%d", p.next, i)
		}
	}
	return text
}

// issue notes the lines of w, or of its first part, as some that may come.
func (p *program) issue(w *written, text string) {
	at := 0
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			p.issued[line] = issued{w, at, -1}
		}
		at += len(line) + 1
	}
}

func (p *program) append(name, text string) {
	p.r.write(name, text)
	p.names[name].size += int64(len(text))
}

func (p *program) write(name string, n int) {
	if c := p.names[name]; name == "app.log.1" && (c == nil || c.moved || c.copy) {
		return
	}
	c := p.content(name)
	p.say("write %d lines to %s from %d", n, name, p.next+1)
	if w := c.half; w != nil {
		c.half = nil
		c.lines = append(c.lines, w)
		w.owed = true
		p.written = append(p.written, w)
		p.issue(w, w.text)
		p.append(name, w.text[len(w.half):]+"\n")
	}
	var b strings.Builder
	for range n {
		w := &written{text: p.text(), pos: c.size + int64(b.Len()), owed: true}
		c.lines = append(c.lines, w)
		p.written = append(p.written, w)
		p.issue(w, w.text)
		b.WriteString(w.text + "\n")
	}
	p.append(name, b.String())
}

func (p *program) half(name string) {
	c := p.content(name)
	if c.half != nil {
		return
	}
	w := &written{text: p.text() + "end", pos: c.size}
	w.half = w.text[:len(w.text)-2]
	if p.multi {
		w.half = w.text[:1+p.rnd.IntN(len(w.text)-1)]
		if i := strings.LastIndexByte(w.text, '\n'); i >= 0 && p.rnd.IntN(2) == 0 {
			w.half = w.text[:i+1]
		}
		if i := strings.LastIndexByte(w.half, '\n'); i >= 0 {
			p.issue(w, w.half[:i]) // the rest may come too late
		}
	}
	c.half = w
	p.say("half a line %d to %s", p.next, name)
	p.append(name, w.half)
}

// tear allows for the incomplete line of a file that lost its name.
func (p *program) tear(c *content) {
	if c != nil && c.half != nil {
		c.half.torn = true
		p.issue(c.half, c.half.half)
	}
}

// seen waits until the source could hold the file: what the promise gives it
// two seconds for.
func (p *program) seen(name string) {
	c := p.names[name]
	if c == nil {
		return
	}
	if !p.running {
		p.excuse(c)
		return
	}
	var st unix.Stat_t
	require.NoError(p.t, unix.Stat(p.r.path(name), &st))
	id := inode{uint64(st.Dev), st.Ino}
	born := bornNamed(p.r.path(name)) // a file that is gone had this inode, too
	for range 400 {
		held := false
		_ = p.r.src.call(context.Background(), func() {
			f := p.r.src.files[id]
			held = f != nil && f.born == born && (f.fd >= 0 || f.acked.pos >= c.size)
		})
		if held {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	require.Fail(p.t, "file was not opened in two seconds", name)
}

// begun notes when a file is copied before anything of it was read: nothing
// tells then that the copy is one, and what is read right now comes twice.
func (p *program) begun(c *content) {
	if !p.running {
		return
	}
	var st unix.Stat_t
	require.NoError(p.t, unix.Stat(p.r.path("app.log"), &st))
	read := false
	_ = p.r.src.call(context.Background(), func() {
		f := p.r.src.files[inode{uint64(st.Dev), st.Ino}]
		read = f != nil && f.read.pos > 0 && f.fd >= 0 && p.r.src.stands(f)
	})
	for _, w := range c.lines {
		w.anew = w.anew || !read
	}
}

// stall notes that copying a file took so long that the copy was quiet for
// rotate_wait, which here is short: it is taken for a file of its own.
func (p *program) stall(c *content) {
	for _, w := range c.lines {
		w.anew = true
	}
}

// excuse forgives what is in c and nowhere else.
func (p *program) excuse(c *content) {
	for _, w := range c.lines {
		for _, other := range p.names {
			if other != c {
				for _, o := range other.lines {
					if o == w {
						goto kept
					}
				}
			}
		}
		w.owed = false
	kept:
	}
}

func (p *program) rotate() {
	p.say("rotate")
	p.seen("app.log.3")
	p.tear(p.names["app.log.3"])
	p.unname("app.log.3")
	for i := 3; i > 0; i-- {
		from, to := names[i-1], names[i]
		if p.names[from] == nil {
			continue
		}
		p.r.rename(from, to)
		p.names[to] = p.names[from]
		delete(p.names, from)
	}
	if c := p.names["app.log.1"]; c != nil && c.half != nil && strings.HasSuffix(c.half.half, "\n") {
		p.goOn(c)
	}
	if p.rnd.IntN(2) == 0 {
		p.write("app.log", 1)
	}
}

// goOn writes the rest of the event at the end of c to the next file.
func (p *program) goOn(c *content) {
	p.say("go on in app.log")
	w := c.half
	c.half, c.moved = nil, true
	begun := &written{text: strings.TrimSuffix(w.half, "\n"), owed: true}
	rest := &written{text: w.text[len(w.half):], owed: true}
	p.written = append(p.written, begun, rest)
	c.lines = append(c.lines, begun)
	next := p.content("app.log")
	next.lines = append(next.lines, rest)
	p.issue(w, w.text)
	at := int64(0)
	for line := range strings.SplitSeq(rest.text, "\n") {
		i := p.issued[line]
		i.other = at
		p.issued[line] = i
		at += int64(len(line)) + 1
	}
	p.append("app.log", rest.text+"\n")
}

func (p *program) copyTruncate() {
	c := p.names["app.log"]
	if c == nil || c.half != nil {
		return
	}
	p.say("copytruncate")
	p.begun(c)
	p.seen("app.log.3")
	p.tear(p.names["app.log.3"])
	p.unname("app.log.3")
	for i := 3; i > 1; i-- {
		from, to := names[i-1], names[i]
		if p.names[from] != nil {
			p.r.rename(from, to)
			p.names[to] = p.names[from]
			delete(p.names, from)
		}
	}
	b, err := os.ReadFile(p.r.path("app.log"))
	require.NoError(p.t, err)
	copied := *c
	copied.known, copied.cut, copied.copy = false, nil, true
	p.names["app.log.1"] = &copied
	step := 1 << 20
	if p.rnd.IntN(2) == 0 {
		step = 1024 + p.rnd.IntN(3000)
	}
	longest, last := time.Duration(0), time.Now()
	for len(b) > 0 {
		n := min(step, len(b))
		p.r.write("app.log.1", string(b[:n]))
		b = b[n:]
		longest, last = max(longest, time.Since(last)), time.Now()
		time.Sleep(time.Duration(p.rnd.IntN(1000)) * time.Microsecond)
	}
	if copied.size == 0 {
		p.r.write("app.log.1", "")
	}
	require.NoError(p.t, os.Truncate(p.r.path("app.log"), 0))
	if longest = max(longest, time.Since(last)); longest > 10*time.Millisecond {
		p.stall(c)
	}
	p.names["app.log"] = &content{}
	p.names["app.log"].cut = append(c.cut, c.lines...)
	p.copied = true
	if p.rnd.IntN(2) == 0 {
		p.write("app.log", 1+p.rnd.IntN(10))
	}
}

func (p *program) truncate() {
	c := p.names["app.log"]
	if c == nil {
		return
	}
	p.say("truncate")
	p.tear(c)
	p.excuse(c)
	require.NoError(p.t, os.Truncate(p.r.path("app.log"), 0))
	for name, other := range p.names {
		if other == c {
			p.names[name] = &content{}
		}
	}
	// All names of one file hold the same.
	p.names["app.log"] = &content{cut: c.cut}
}

func (p *program) delete(name string) {
	if p.names[name] == nil {
		return
	}
	p.say("delete %s", name)
	p.seen(name)
	p.tear(p.names[name])
	require.NoError(p.t, os.Remove(p.r.path(name)))
	p.unname(name)
}

// unname forgets a name. If it was the last one of its file, that is kept by
// the source's handle alone, for as long as the source runs.
func (p *program) unname(name string) {
	if c := p.names[name]; c != nil {
		p.deleted = append(p.deleted, c)
		delete(p.names, name)
		p.vanish(c)
	}
}

// vanish takes note that a file is gone. If that was while the source was
// stopped, or it was stopped then, and the file had been copied and cut before,
// and the source had no time to find its copy, nothing tells the copy from a
// file of its own: what was handed out of it comes again under another id.
func (p *program) vanish(c *content) {
	p.vanished = append(p.vanished, c.cut...)
	if !p.running {
		p.forgetCut()
	}
}

func (p *program) forgetCut() {
	for _, w := range p.vanished {
		w.anew = true
	}
	p.vanished = nil
}

// moveAway gives a file a name that no pattern matches.
func (p *program) moveAway(name string) {
	c := p.names[name]
	if c == nil || !p.running && !c.known {
		return
	}
	p.say("move %s away", name)
	if p.running {
		p.seen(name)
	}
	p.tear(c)
	p.next++
	p.r.rename(name, fmt.Sprintf("old-%d", p.next))
	delete(p.names, name)
	p.away = append(p.away, c)
}

// pack does what gzip does, which needs a moment.
func (p *program) pack(name string) {
	const packed = "app.log.gz"
	c := p.names[name]
	if c == nil {
		return
	}
	p.say("pack %s", name)
	if p.names[packed] != nil {
		p.seen(packed)
		require.NoError(p.t, os.Remove(p.r.path(packed)))
		p.unname(packed)
	}
	p.tear(c)
	text, err := os.ReadFile(p.r.path(name))
	require.NoError(p.t, err)
	b := gzipped(p.t, string(text))
	half := p.rnd.IntN(len(b))
	p.r.write(packed, string(b[:half]))
	time.Sleep(time.Duration(p.rnd.IntN(3000)) * time.Microsecond)
	p.r.write(packed, string(b[half:]))
	require.NoError(p.t, os.Remove(p.r.path(name)))
	delete(p.names, name)
	p.names[packed] = c
	p.vanish(c)
}

// files describes what the source knows of its files.
func (r *rig) files() (text string) {
	_ = r.src.call(context.Background(), func() {
		for _, f := range r.src.files {
			text += fmt.Sprintf("%s %s size %d read %d acked %d fd %d busy %t queued %t want %t gone %t last %t checked %t suspect %t orphan %t packed %+v\n",
				f.path, f.key(), f.size, f.read.pos, f.acked.pos, f.fd, f.busy, f.queued, f.want, f.gone, f.last, f.checked,
				r.src.suspects[f] != nil, f.orphan, f.packed)
		}
	})
	return text
}

// link gives a file a second name for a moment.
func (p *program) link() {
	if p.names["app.log"] == nil {
		return
	}
	p.say("link")
	require.NoError(p.t, os.Link(p.r.path("app.log"), p.r.path("app.log.link")))
	time.Sleep(time.Duration(p.rnd.IntN(3000)) * time.Microsecond)
	require.NoError(p.t, os.Remove(p.r.path("app.log.link")))
}

func (p *program) start() {
	p.say("start")
	p.running = true
	p.r.start()
}

func (p *program) toggle() {
	if !p.running {
		p.start()
		return
	}
	p.resume()
	p.running = false
	for _, c := range p.deleted {
		p.excuse(c)
	}
	p.deleted = nil
	p.forgetCut()
	if p.rnd.IntN(2) == 0 {
		p.say("stop")
		p.markKnown()
		p.r.end()
		return
	}
	p.say("kill")
	for _, c := range p.away {
		p.excuse(c) // the checkpoint may not know it yet
	}
	p.away = nil
	p.killed = true
	_ = p.r.src.call(context.Background(), func() {
		p.r.src.crashing = true
		p.r.src.keeper.killed.Store(p.rnd.IntN(2) == 0) // in a write, or between two
	})
	p.r.kill()
}

// markKnown notes what the source follows now, and will know again.
func (p *program) markKnown() {
	_ = p.r.src.call(context.Background(), func() {
		for name, c := range p.names {
			var st unix.Stat_t
			require.NoError(p.t, unix.Stat(p.r.path(name), &st))
			f := p.r.src.files[inode{uint64(st.Dev), st.Ino}]
			c.known = f != nil && (f.fd < 0 || p.r.src.stands(f))
		}
	})
}

func (p *program) pause() {
	if p.released != nil || !p.running {
		return
	}
	p.say("pause")
	p.released = make(chan struct{})
	p.r.mu.Lock()
	p.r.gate = p.released
	p.r.mu.Unlock()
}

func (p *program) resume() {
	if p.released == nil {
		return
	}
	p.say("resume")
	p.r.mu.Lock()
	p.r.gate = nil
	p.r.mu.Unlock()
	close(p.released)
	p.released = nil
}

// lines returns the lines of all events that came.
func (p *program) lines() (lines []got) {
	for _, l := range p.r.all() {
		for i, text := range strings.Split(l.text, "\n") {
			if i > 0 && !strings.HasPrefix(text, "\t") {
				p.t.Errorf("%q begins an event inside another", text[:min(len(text), 40)])
			}
			lines = append(lines, got{text: text, path: l.path, file: l.file, pos: l.pos})
			l.pos += int64(len(text)) + 1
		}
	}
	return lines
}

func (p *program) check() {
	missing := func() (list []string) {
		have := map[string]bool{}
		for _, l := range p.lines() {
			have[l.text] = true
		}
		for _, w := range p.written {
			for line := range strings.SplitSeq(w.text, "\n") {
				if w.owed && !have[line] {
					list = append(list, line[:min(len(line), 20)])
				}
			}
		}
		return list
	}
	var list []string
	for range 1200 {
		if list = missing(); len(list) == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if len(list) > 0 {
		p.t.Errorf("seed %d: %d lines are missing: %v\n%+v\n%s", p.seed, len(list), list, p.r.src.Stats(), p.r.files())
		return
	}
	p.running = false
	p.r.end()
	times := map[string]int{}
	ids := map[string]string{}
	var anew []string
	for _, l := range p.lines() {
		w := p.issued[l.text]
		if w.written == nil {
			p.t.Errorf("%q at %d of %s was never written", l.text[:min(len(l.text), 40)], l.pos, l.path)
			continue
		}
		if pos := w.pos + int64(w.at); pos != l.pos && w.other != l.pos {
			p.t.Errorf("%q is at %d, not at %d", l.text[:min(len(l.text), 40)], pos, l.pos)
		}
		times[l.text]++
		// A repeat has the same id, which hides it: what comes under another
		// one is a second document.
		id := fmt.Sprintf("%d of %s", l.pos, l.file)
		if first, again := ids[l.text]; again && first != id && w.other < 0 && !w.anew {
			anew = append(anew, fmt.Sprintf("%q came as %s and as %s, %s", l.text[:min(len(l.text), 40)], first, id, l.path))
		}
		ids[l.text] = id
	}
	// A loaded machine stops the source and the copying at any point, here with
	// milliseconds between all steps: in a few of ten thousand programs that
	// makes a copy which nothing tells from a file.
	if len(anew) > 0 && renamedAnew.Add(1) > 1+int64(*programs/2000) {
		p.t.Errorf("seed %d: under another id:\n%s", p.seed, strings.Join(anew, "\n"))
	} else if len(anew) > 0 {
		p.t.Logf("seed %d: under another id:\n%s", p.seed, strings.Join(anew, "\n"))
	}
	// What was acked behind a nacked batch comes again after a stop.
	if !p.killed && !p.copied && p.r.nack == nil {
		for text, n := range times {
			if n > 1 {
				p.t.Errorf("%q came %d times", text[:min(len(text), 40)], n)
			}
		}
	}
}
