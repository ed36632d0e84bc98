package pipeline

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/app/embedded"
)

// inTopic returns how many records a topic has.
func (w *world) inTopic(topic string) func() int {
	w.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.MetadataMinAge(10*time.Millisecond), kgo.MetadataMaxAge(50*time.Millisecond))
	require.NoError(w.t, err)
	w.t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	return func() int {
		ends, err := admin.ListEndOffsets(context.Background(), topic)
		require.NoError(w.t, err)
		n := 0
		ends.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				n += int(o.Offset)
			}
		})
		return n
	}
}

// hold waits until each count has grown at want a second, within 5%, for 10 s,
// and never more than that. A machine that is busy with other things may not get
// so far, however long it is given: then a part of want is enough here, and how
// exact the throttle is its own test shows, whose clock no machine slows down.
func hold(t *testing.T, want float64, counts map[string]func() int) {
	t.Helper()
	const window = 10 * time.Second
	type mark struct {
		at time.Time
		n  int
	}
	first, last := map[string]mark{}, map[string]mark{}
	for name, count := range counts {
		eventually(t, "the first of "+name, func() bool { return count() > 0 })
	}
	for name, count := range counts {
		first[name] = mark{time.Now(), count()}
		last[name] = first[name]
	}
	rate := func(from, to mark) float64 { return float64(to.n-from.n) / to.at.Sub(from.at).Seconds() }
	for range 4 {
		time.Sleep(window)
		for name, count := range counts {
			now := mark{time.Now(), count()}
			got := rate(last[name], now)
			t.Logf("%s: %.1f a second of %.0f", name, got, want)
			require.LessOrEqual(t, rate(first[name], now), 1.05*want, name)
			last[name] = now
			if got > 0.95*want && got < 1.05*want {
				delete(counts, name)
			}
		}
		if len(counts) == 0 {
			return
		}
	}
	for name, count := range counts {
		require.Greater(t, rate(first[name], mark{time.Now(), count()}), want/5, name)
	}
}

// TestThrottlesHold: an input's files share its limit, of lines and of bytes,
// and a route holds its own above a topic that is full already.
func TestThrottlesHold(t *testing.T) {
	w := newWorld(t)
	counts := map[string]func() int{}
	var inputs, routes strings.Builder
	for name, throttle := range map[string]string{
		"lines": "{lines_per_second: 1000}",
		"bytes": "{bytes_per_second: 200KB}", // with its newline a line has 200
	} {
		lines := numbered("line", 0, 20_000)
		for i := range lines {
			lines[i] += strings.Repeat(".", 199-len(lines[i]))
		}
		for i := range 3 {
			w.append(fmt.Sprintf("%s-%d.log", name, i), lines...)
		}
		fmt.Fprintf(&inputs, "    - {name: %[1]s, paths: ['%[2]s/%[1]s*.log'], topic: %[1]s, throttle: %[3]s}\n", name, w.dir, throttle)
		counts["input, "+name] = w.inTopic(name)
	}
	w.append("full.log", numbered("line", 0, 100_000)...)
	fmt.Fprintf(&inputs, "    - {name: full, paths: ['%s/full.log'], topic: full, key: none}\n", w.dir)
	for name, route := range map[string]string{
		"lines":        "throttle: {lines_per_second: 1000}",
		"small-bulks":  "throttle: {lines_per_second: 1000}, batch: {max_docs: 100}",
		"by-partition": "throttle: {lines_per_second: 500, by: partition}", // there are two
	} {
		fmt.Fprintf(&routes, "    - {name: %[1]s, topics: [full], group: %[1]s, index: %[1]s, %[2]s}\n", name, route)
		counts["route, "+name] = func() int { return w.elastic.len(name) }
	}
	w.agent(w.file("agent.yml", "agent:\n  inputs:\n"+inputs.String()))
	inTopic := w.inTopic("full")
	eventually(t, "the topic", func() bool { return inTopic() == 100_000 })
	w.transfer(w.file("transfer.yml", "transfer:\n  routes:\n"+routes.String()))
	hold(t, 1000, counts)
	require.Zero(t, w.elastic.repeats())
}

// live is a world with an etcd of its own.
func (w *world) live() (put func(document, text string), connect string) {
	w.t.Helper()
	server, err := embedded.StartEtcd(embedded.EtcdOptions{Dir: filepath.Join(w.dir, "etcd"), Addr: "127.0.0.1:0", Logger: w.log})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, server.Close()) })
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Endpoint()}, DialTimeout: 5 * time.Second})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, etcd.Close()) })
	return func(document, text string) {
		_, err := etcd.Put(context.Background(), "/logferry/v1/"+document, text)
		require.NoError(w.t, err)
	}, fmt.Sprintf("\netcd: {endpoints: [%s]}\nagent: {allowed_paths: ['%s']}\n", server.Endpoint(), w.dir)
}

// TestAChangedThrottleIsInForceAtOnce: lines that would wait for minutes go on
// as soon as the limit is lifted, of an input and of a route, and wait again
// when there is one.
func TestAChangedThrottleIsInForceAtOnce(t *testing.T) {
	w := newWorld(t)
	put, connect := w.live()
	agent := func(throttle string) {
		put("agent", fmt.Sprintf("inputs: [{name: web, paths: ['%s/*.log'], topic: web_log, throttle: {%s}}]", w.dir, throttle))
	}
	transfer := func(throttle string) {
		put("transfer", "routes: [{name: web, topics: [web_log], index: web, batch: {max_wait: 10ms}, throttle: {"+throttle+"}}]")
	}
	// At this rate batches of thousands of lines wait when the limit falls.
	agent("lines_per_second: 100000")
	transfer("lines_per_second: 0.01")
	lines := numbered("line", 0, 60_000)
	for i := range 4 {
		w.append(fmt.Sprintf("%d.log", i), lines[i*15_000:(i+1)*15_000]...)
	}
	w.agent(w.file("agent.yml", connect))
	w.transfer(w.file("transfer.yml", connect))
	inTopic := w.inTopic("web_log")
	eventually(t, "the first", func() bool { return inTopic() > 0 })

	// felt measures the time from a put until something comes.
	felt := func(what string, put func(), since int, count func() int) {
		start := time.Now()
		put()
		eventually(t, what, func() bool { return count() > since })
		// By the limit before, it would have been an hour.
		t.Logf("%s: %s after the put", what, time.Since(start).Round(time.Millisecond))
	}
	agent("lines_per_second: 0.01")
	var stands int
	eventually(t, "a stop", func() bool {
		before := inTopic()
		time.Sleep(300 * time.Millisecond)
		stands = inTopic()
		return stands == before
	})
	require.Less(t, stands, len(lines))
	inIndex := func() int { return w.elastic.len("web") }
	require.LessOrEqual(t, inIndex(), 1)

	for range 3 {
		stands = inTopic()
		felt("a limit of lines that is raised", func() { agent("lines_per_second: 1000") }, stands, inTopic)
		agent("bytes_per_second: 1")
		eventually(t, "a stop", func() bool {
			before := inTopic()
			time.Sleep(300 * time.Millisecond)
			return inTopic()-before < 2
		})
	}
	stands = inTopic()
	felt("a limit of bytes that is lifted", func() { agent("") }, stands+1000, inTopic)
	felt("a route's limit that is lifted", func() { transfer("") }, inIndex()+1000, inIndex)
	w.exactly("web", lines)
	require.Zero(t, w.elastic.repeats())
}

// TestAQuietFileBesideANoisyOne: the noisy one has lines for an hour. By path
// each has its own limit; without, they share, and the quiet one is not behind
// all that the noisy one has in hand.
func TestAQuietFileBesideANoisyOne(t *testing.T) {
	for _, by := range []string{"path", "all"} {
		t.Run(by, func(t *testing.T) {
			w := newWorld(t)
			w.append("noisy.log", numbered("noisy", 0, 200_000)...)
			w.agent(w.file("agent.yml", fmt.Sprintf(`
agent: {inputs: [{name: web, paths: ['%s/*.log'], topic: '{path.name}', throttle: {lines_per_second: 100, by: %s}}]}
`, w.dir, by)))
			noisy := w.inTopic("noisy")
			eventually(t, "the noisy file's first", func() bool { return noisy() > 0 })
			w.append("quiet.log", numbered("quiet", 0, 100)...)
			before := noisy()
			quiet := w.inTopic("quiet")
			eventually(t, "the quiet file's lines", func() bool { return quiet() == 100 })
			// Side by side it is as many, and a few more until it was found.
			require.Less(t, noisy()-before, 3000)
		})
	}
}
