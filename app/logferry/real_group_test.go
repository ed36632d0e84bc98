//go:build real

package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/app/oracle"
)

// slowElastic stands before Elasticsearch, waits before each request that is
// sent on, and says how many there were.
type slowElastic struct {
	*httptest.Server
	pause    atomic.Int64 // time.Duration
	requests atomic.Int64
}

func newSlowElastic(w *realWorld, pause time.Duration) *slowElastic {
	w.t.Helper()
	target, err := url.Parse(w.elastic)
	require.NoError(w.t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	s := &slowElastic{}
	s.pause.Store(int64(pause))
	s.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		select {
		case <-time.After(time.Duration(s.pause.Load())):
			proxy.ServeHTTP(rw, r)
		case <-r.Context().Done():
		}
	}))
	w.t.Cleanup(s.Close)
	return s
}

// produce puts n lines of a ledger into the partitions of a topic in turn.
func (w *realWorld) produce(ledger *oracle.Ledger, topic string, n int) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	require.NoError(w.t, err)
	defer cl.Close()
	first := ledger.Claim(n)
	records := make([]*kgo.Record, 0, n)
	for id := first; id < first+n; id++ {
		records = append(records, &kgo.Record{Value: ledger.Append(nil, id)})
	}
	require.NoError(w.t, cl.ProduceSync(w.t.Context(), records...).FirstErr())
	ledger.Owe(first, n)
}

func route(topic, more string) string {
	return fmt.Sprintf("transfer: {routes: [{name: a, topics: [%[1]s], index: %[1]s, group: %[1]s%s}]}\n", topic, more)
}

// TestRealZombie stops a transfer in the middle of its work until the group has
// given its partitions to another one, and lets it go on as if nothing had been.
func TestRealZombie(t *testing.T) {
	w := newRealWorld(t)
	topic := "zombie" + w.suffix
	w.topic(topic, 4)
	w.index(topic)
	ledger := oracle.NewLedger(oracle.Text{Run: "zombie", Buffer: 180})
	slow := newSlowElastic(w, 300*time.Millisecond)
	batch := ", batch: {max_docs: 200, in_flight: 2}"
	zombie := w.start("transfer", w.configFor("zombie.yml", slow.URL, route(topic, batch)))
	w.produce(ledger, topic, 20_000)
	eventually(t, "some documents", func() bool { return w.count(topic, "") > 500 })
	require.NoError(t, zombie.cmd.Process.Signal(syscall.SIGSTOP))
	stopped := w.count(topic, "")
	require.Less(t, stopped, 20_000, "it is in the middle of its work")

	other := w.start("transfer", w.config("other.yml", route(topic, "")))
	eventually(t, "the other has taken over", func() bool { return w.count(topic, "") > stopped+5000 })
	require.NoError(t, zombie.cmd.Process.Signal(syscall.SIGCONT))
	slow.pause.Store(0)
	w.produce(ledger, topic, 20_000)
	require.Equal(t, 40_000, ledger.Owed())
	w.requireExactlyOnce(ledger, topic, topic)

	// It found out, and works on: alone, it has all partitions.
	require.Equal(t, 0, other.stop())
	before := slow.requests.Load()
	w.produce(ledger, topic, 1000)
	w.requireExactlyOnce(ledger, topic, topic)
	require.Greater(t, slow.requests.Load(), before)
	require.Equal(t, 0, zombie.stop())
	require.EqualValues(t, 0, w.lag(topic, topic), "what is committed is the end of each partition")
}

// TestRealRebalanceStorm has three transfers of which one is killed, or stopped
// in good order, every few seconds and comes back, while the sink is slow.
func TestRealRebalanceStorm(t *testing.T) {
	w := newRealWorld(t)
	rounds, lines := 10, 60_000
	if testing.Short() {
		rounds, lines = 4, 20_000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	topic := "rebalance" + w.suffix
	w.topic(topic, 6)
	w.index(topic)
	ledger := oracle.NewLedger(oracle.Text{Run: "rebalance", Buffer: 180})
	slow := newSlowElastic(w, 150*time.Millisecond)
	files := make([]string, 3)
	transfers := make([]*process, 3)
	for i := range transfers {
		files[i] = w.configFor(fmt.Sprintf("t%d.yml", i), slow.URL, route(topic, ", batch: {max_docs: 500, in_flight: 2}"))
		transfers[i] = w.start("transfer", files[i])
	}
	stalled, last, since := time.Duration(0), 0, time.Now()
	look := func() {
		if n, err := w.tryCount(topic, ""); err == nil && n != last {
			last, since = n, time.Now()
		}
		stalled = max(stalled, time.Since(since))
	}
	for range rounds {
		w.produce(ledger, topic, lines/rounds)
		for until := time.Now().Add(time.Duration(2+rnd.IntN(4)) * time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
			look()
		}
		i := rnd.IntN(3)
		if rnd.IntN(3) == 0 {
			require.Equal(t, 0, transfers[i].stop())
		} else {
			transfers[i].kill()
		}
		transfers[i] = w.start("transfer", files[i])
	}
	w.requireExactlyOnce(ledger, topic, topic)
	t.Logf("the longest time without a document was %s", stalled)
	require.Less(t, stalled, 60*time.Second, "twice the session timeout")
	for _, p := range transfers {
		require.Equal(t, 0, p.stop())
	}
	require.EqualValues(t, 0, w.lag(topic, topic))
}
