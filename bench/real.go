package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/logferry/logferry/bench/report"
)

// real measures against a real Kafka and a real Elasticsearch on this machine:
// each half, the whole way, and the limits of both halves; then `logferry up`,
// which has its own servers.
func (b *bench) real(ctx context.Context) (part *report.Part, err error) {
	if b.kafka == "" || b.url == "" || b.bins["logferry-up"] == "" {
		return nil, errors.New("-kafka and -elasticsearch name real ones, and logferry has to be there")
	}
	w := &world{bench: b, servers: map[string]int{}}
	for name, address := range map[string]string{"Kafka": strings.Split(b.kafka, ",")[0], "Elasticsearch": strings.TrimPrefix(b.url, "http://")} {
		if w.servers[name], err = listener(address); err != nil {
			return nil, fmt.Errorf("find the process of %s: %w", name, err)
		}
	}
	if w.broker, err = dial(strings.Split(b.kafka, ",")[0]); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.broker.close()) }()
	if err := w.prepare(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.broker.drop(ctx, w.filled)) }()
	part = &report.Part{Run: report.Run{What: fmt.Sprintf("%s, one partition, bodies without gzip, %d rounds in turn", b.sizes(b.docs), b.rounds)}}
	part.Programs, err = b.eachRound([]subject{
		{name: report.Limit, title: "bare loop of ready-made bodies → Elasticsearch (the limit)", program: "bare"},
		{name: "logferry", title: "Kafka → transfer → Elasticsearch", program: "transfer"},
		{name: "logferry", title: "file → agent → Kafka → transfer → Elasticsearch", program: "way"},
		{name: "logferry up", title: "file → `logferry up`, its search finds them", program: "up"},
		{name: report.Limit, title: "file → plain loop → Kafka (the limit)", program: "plainship"},
		{name: "logferry", title: "file → agent → Kafka", program: "agent"},
	}, func(s subject) (result, error) { return w.runs(ctx, s.program) })
	if err != nil {
		return nil, err
	}
	found, err := w.search(ctx)
	part.Delays = append(part.Delays, found)
	return part, err
}

// search follows lines the whole way until Elasticsearch finds them.
func (w *world) search(ctx context.Context) (row report.Delay, err error) {
	file, err := os.Create(filepath.Join(w.tmp, "search.log"))
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	name := w.fresh()
	if err := w.broker.createTopics(ctx, 1, name); err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, w.drop(ctx, name), w.broker.drop(ctx, name)) }()
	t := task{files: file.Name(), topic: name, topics: []string{name}, broker: w.broker.addr, sink: w.url, index: name}
	var all []*process
	for _, s := range []subject{transfer, agent} {
		p, err := w.launchSubject(s, t)
		if err != nil {
			return row, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		all = append(all, p)
	}
	s := subject{name: "real", title: "file → agent → Kafka → transfer → Elasticsearch, found by its search"}
	return w.follow(ctx, s, appendTo(file), poll(20*time.Millisecond, func(ctx context.Context, from int) ([]int, error) {
		return w.numbers(ctx, name, from)
	}), all...)
}

// numbers are those of lines that Elasticsearch finds, from one on.
func (w *world) numbers(ctx context.Context, index string, from int) (found []int, err error) {
	query := fmt.Sprintf(`{"size":1000,"_source":["n"],"query":{"range":{"n":{"gte":%d}}}}`, from)
	text, err := get(ctx, w.url+"/"+index+"/_search?ignore_unavailable=true&source_content_type=application/json&source="+url.QueryEscape(query))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Hits struct {
			Hits []struct {
				Source struct{ N int } `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	err = json.Unmarshal(text, &answer)
	for _, hit := range answer.Hits.Hits {
		found = append(found, hit.Source.N)
	}
	return found, err
}

// world is what the runs with real servers share.
type world struct {
	*bench
	broker  *broker
	servers map[string]int // process ids by name
	file    string
	filled  string // topic that holds the lines
	bodies  string // folder of what the transfer makes of them
	count   int    // of the runs
}

// prepare fills a topic, and records what the transfer makes of it.
func (w *world) prepare(ctx context.Context) (err error) {
	w.file = filepath.Join(w.tmp, "bench.log")
	if err := writeLines(w.file, w.docs, w.size); err != nil {
		return err
	}
	w.filled = w.fresh()
	if _, err := w.ship(ctx, agent, w.filled); err != nil {
		return fmt.Errorf("fill the topic: %w", err)
	}
	if w.bodies, err = os.MkdirTemp(w.tmp, "bodies-"); err != nil {
		return err
	}
	if _, err := w.indexOnce(ctx, transfer, task{broker: w.broker.addr, topics: []string{w.filled}}, w.docs, "-record", w.bodies); err != nil {
		return fmt.Errorf("record bodies: %w", err)
	}
	return nil
}

// fresh is a name for a topic or an index that nobody has.
func (w *world) fresh() string {
	w.count++
	return fmt.Sprintf("bench-%d-%d", time.Now().UnixMilli(), w.count)
}

func (w *world) runs(ctx context.Context, what string) (r result, err error) {
	before, err := w.serverCPU()
	if err != nil {
		return r, err
	}
	name := w.fresh()
	switch what {
	case "bare":
		bare := subject{program: "bare", args: func(_ *bench, t task) ([]string, error) {
			return []string{"-bodies", w.bodies, "-from", topic, "-to", t.index, "-elasticsearch", t.sink}, nil
		}}
		r, err = w.store(ctx, name, bare, "")
	case "transfer":
		r, err = w.store(ctx, name, transfer, w.filled)
	case "plainship":
		if r, err = w.ship(ctx, plainship, name); err == nil {
			err = w.broker.drop(ctx, name)
		}
	case "agent":
		if r, err = w.ship(ctx, agent, name); err == nil {
			err = w.broker.drop(ctx, name)
		}
	case "way":
		r, err = w.whole(ctx, name)
	case "up":
		return w.throughUp(ctx)
	}
	if err != nil {
		return r, err
	}
	after, err := w.serverCPU()
	r.others = map[string]float64{}
	for name, cpu := range after {
		r.others[name] = float64(cpu-before[name]) / float64(r.items)
	}
	return r, err
}

// ship ships the file to a new topic.
func (w *world) ship(ctx context.Context, s subject, name string) (result, error) {
	if err := w.broker.createTopics(ctx, 1, name); err != nil {
		return result{}, err
	}
	p, err := w.launchSubject(s, task{files: w.file, topic: name, broker: w.broker.addr})
	if err != nil {
		return result{}, err
	}
	return finish(ctx, w.broker.arrival(ctx, w.docs, name), p)
}

// store has documents of a topic, or of the bodies, stored in a new index.
func (w *world) store(ctx context.Context, index string, s subject, topic string) (result, error) {
	p, err := w.launchSubject(s, task{broker: w.broker.addr, topics: []string{topic}, sink: w.url, index: index})
	if err != nil {
		return result{}, err
	}
	r, err := finish(ctx, w.indexed(ctx, index), p)
	return r, errors.Join(err, w.drop(ctx, index))
}

// whole goes the whole way at once.
func (w *world) whole(ctx context.Context, name string) (result, error) {
	if err := w.broker.createTopics(ctx, 1, name); err != nil {
		return result{}, err
	}
	t := task{files: w.file, topic: name, topics: []string{name}, broker: w.broker.addr, sink: w.url, index: name}
	second, err := w.launchSubject(transfer, t)
	if err != nil {
		return result{}, err
	}
	first, err := w.launchSubject(agent, t)
	if err != nil {
		return result{}, errors.Join(err, second.stop())
	}
	r, err := finish(ctx, w.indexed(ctx, name), second, first)
	return r, errors.Join(err, w.drop(ctx, name), w.broker.drop(ctx, name))
}

func (w *world) throughUp(ctx context.Context) (result, error) {
	p, search, err := w.up(ctx, w.file)
	if err != nil {
		return result{}, err
	}
	return finish(ctx, counted{want: w.docs, every: 100 * time.Millisecond, own: true, count: func() (int, error) {
		text, err := logsql(ctx, search, "* | stats count() n")
		var answer struct {
			N int `json:"n,string"`
		}
		return answer.N, errors.Join(err, json.Unmarshal(text, &answer))
	}}, p)
}

// indexed waits for documents of an index.
func (w *world) indexed(ctx context.Context, index string) counted {
	return counted{want: w.docs, every: 50 * time.Millisecond, count: func() (int, error) {
		text, err := get(ctx, w.url+"/"+index+"/_stats/indexing?ignore_unavailable=true")
		if err != nil {
			return 0, err
		}
		var answer struct {
			All struct {
				Primaries struct {
					Indexing struct {
						Total int `json:"index_total"`
					} `json:"indexing"`
				} `json:"primaries"`
			} `json:"_all"`
		}
		err = json.Unmarshal(text, &answer)
		return answer.All.Primaries.Indexing.Total, err
	}}
}

func (w *world) drop(ctx context.Context, index string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, w.url+"/"+url.PathEscape(index), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func (w *world) serverCPU() (map[string]time.Duration, error) {
	used := map[string]time.Duration{}
	for name, pid := range w.servers {
		var err error
		if used[name], err = cpuOf(pid); err != nil {
			return nil, err
		}
	}
	return used, nil
}

// listener finds the process that listens on a port of this machine.
func listener(address string) (int, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	inode, err := socketOf(port)
	if err != nil {
		return 0, err
	}
	handles, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, err
	}
	for _, handle := range handles {
		if to, _ := os.Readlink(handle); to == "socket:["+inode+"]" {
			var pid int
			_, err := fmt.Sscanf(handle, "/proc/%d/", &pid)
			return pid, err
		}
	}
	return 0, fmt.Errorf("nobody whom we may look at listens on port %s", port)
}

// socketOf finds the inode of a listening TCP socket.
func socketOf(port string) (string, error) {
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		return "", err
	}
	local := fmt.Sprintf(":%04X", number)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue // a kernel without IPv6
		}
		for line := range strings.Lines(string(text)) {
			// The local address, the remote one, the state (0A listens), and so on.
			if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], local) && f[3] == "0A" {
				return f[9], nil
			}
		}
	}
	return "", fmt.Errorf("nobody listens on port %s", port)
}
