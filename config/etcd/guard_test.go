package etcd

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

// guarding is a guard that runs.
type guarding struct {
	looks atomic.Int64
	fail  atomic.Bool
	log   *logged
	stop  func()
}

func guard(t *testing.T, cfg config.Etcd, name string) *guarding {
	g := &guarding{log: &logged{}}
	judge := func(c Canary, subjects []Subject, members []Member, now time.Time) *Outcome {
		g.looks.Add(1)
		if g.fail.Load() {
			return &Outcome{How: TakenBack, Reason: "it fares worse", Node: subjects[0].Name}
		}
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewGuard(NewLink(cfg), name, judge, slog.New(g.log)).Run(ctx) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(g.stop)
	return g
}

const long = 30 * time.Second

// ends waits until there is no canary, and returns what became of the last one.
func ends(t *testing.T, store *Store) Outcome {
	t.Helper()
	require.Eventually(t, func() bool {
		list, err := store.Canaries(t.Context())
		return err == nil && len(list) == 0
	}, long, 20*time.Millisecond)
	outcomes, err := store.Outcomes(t.Context())
	require.NoError(t, err)
	require.Len(t, outcomes, 1)
	return outcomes[0]
}

func looks(t *testing.T, g *guarding) {
	t.Helper()
	before := g.looks.Load()
	require.Eventually(t, func() bool { return g.looks.Load() > before }, long, 20*time.Millisecond)
}

func TestGuardTakesBackWhatFails(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	g := guard(t, s.config(), "transfer a")
	c := begin(t, store, "new", 0)
	looks(t, g)
	name, err := store.Guard(t.Context())
	require.NoError(t, err)
	require.Equal(t, "transfer a", name)
	g.fail.Store(true)
	o := ends(t, store)
	require.Equal(t, c.Revision, o.Revision)
	require.Equal(t, TakenBack, o.How)
	require.Equal(t, "it fares worse", o.Reason)
	require.Equal(t, "n", o.Node)
	require.Equal(t, "logferry transfer a", o.By)
	require.Equal(t, "ann", o.Author)
	require.Eventually(t, func() bool { return len(g.log.list()) == 1 }, long, 20*time.Millisecond)
	require.Equal(t, []string{"a canary was taken back"}, g.log.list())
}

func TestGuardEndsWhatNobodyPromotes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	guard(t, s.config(), "transfer a")
	// Whoever put it: its time counts, with or without what it is judged by.
	for _, subjects := range []bool{true, false} {
		c := newCanary(t, "agent", "new", 0, 2*time.Second)
		if subjects {
			_, err := store.BeginCanary(t.Context(), c, []Subject{{Name: "n"}})
			require.NoError(t, err)
		} else {
			s.put(canaryKey, encode(c))
		}
		o := ends(t, store)
		require.Equal(t, Ended, o.How)
		require.False(t, time.Now().Before(c.Until))
	}
}

// One guard looks; when it dies, or stops, another one goes on.
func TestGuardsTakeTurns(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	// This one is dead, and its lease runs on.
	s.do(func(ctx context.Context, c *clientv3.Client) {
		lease, err := c.Grant(ctx, int64(guardFor/time.Second))
		require.NoError(t, err)
		_, err = c.Put(ctx, guardKey(&store.cfg), "transfer dead", clientv3.WithLease(lease.ID))
		require.NoError(t, err)
	})
	begin(t, store, "new", 0)
	guards := map[string]*guarding{"transfer a": guard(t, s.config(), "transfer a"), "transfer b": guard(t, s.config(), "transfer b")}
	holder := func() string {
		name, err := store.Guard(t.Context())
		require.NoError(t, err)
		return name
	}
	require.Eventually(t, func() bool { return guards[holder()] != nil }, long, 20*time.Millisecond)
	first := holder()
	other := map[string]string{"transfer a": "transfer b", "transfer b": "transfer a"}[first]
	looks(t, guards[first])
	looks(t, guards[first])
	require.Zero(t, guards[other].looks.Load())
	require.Equal(t, first, holder(), "it stays")

	guards[first].stop()
	looks(t, guards[other])
	guards[other].fail.Store(true)
	require.Equal(t, "logferry "+other, ends(t, store).By)
}

func TestGuardOutlivesEtcd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	g := guard(t, s.config(), "transfer a")
	s.start()
	begin(t, openStore(t, s.config()), "new", 0)
	looks(t, g)
	s.stop()
	time.Sleep(2 * lookEach)
	s.start()
	looks(t, g)
	g.fail.Store(true)
	require.Equal(t, TakenBack, ends(t, openStore(t, s.config())).How)
}

// A canary that cannot be read is left alone and said once; a guard without
// rights says so once. Both look after what they can.
func TestGuardLeavesAlone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	s.put("/logferry/v1/canary/transfer", "{")
	g := guard(t, s.config(), "transfer a")
	begin(t, store, "new", 0)
	looks(t, g)
	looks(t, g)
	require.Equal(t, []string{"a canary cannot be watched over from here"}, g.log.list())
	g.stop()

	s.enableAuth()
	g = guard(t, s.as("ferry"), "transfer b")
	require.Eventually(t, func() bool { return len(g.log.list()) > 0 }, long, 20*time.Millisecond)
	time.Sleep(2 * idleEach)
	require.Len(t, g.log.list(), 1)
	require.Zero(t, g.looks.Load())
}

func TestGuardStopsWhileEtcdIsAbsent(t *testing.T) {
	t.Parallel()
	g := guard(t, newServer(t).config(), "transfer a")
	started := time.Now()
	g.stop()
	require.Less(t, time.Since(started), callTimeout, "a stop does not wait for a call to time out")
}
