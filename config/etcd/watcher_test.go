package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

func TestWatcherFollowsPutsAndDeletes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put("/logferry/v1/agent", "a1", "/logferry/v1/agent/nodes/other", "not mine")
	w := watch(t, s.config())
	w.holds(func(d config.Docs) bool {
		return is(d.Agent, "a1") && d.Node == nil && d.Transfer == nil && d.Seed == nil
	})
	require.Equal(t, 1, w.pub.count())

	s.put("/logferry/v1/agent/nodes/n", "n1", "/logferry/v1/transfer", "t1", "/collect_log_conf", "[]")
	w.holds(func(d config.Docs) bool {
		return is(d.Agent, "a1") && is(d.Node, "n1") && is(d.Transfer, "t1") && is(d.Seed, "[]")
	})
	s.do(func(ctx context.Context, c *clientv3.Client) {
		_, err := c.Delete(ctx, "/logferry/v1/agent")
		require.NoError(t, err)
	})
	w.holds(func(d config.Docs) bool { return d.Agent == nil && is(d.Node, "n1") })

	snap, _ := w.Snapshot()
	require.Equal(t, snap.Revision, w.pub.revisions[w.pub.count()-1])
	require.Equal(t, "/logferry/v1/agent/nodes/n", snap.Docs.Node.Key)
	require.Greater(t, snap.Revision, snap.Docs.Revision())
	require.True(t, w.Stats().Connected)
	require.Empty(t, w.log.list())

	// A key that nobody watches is no change, and neither is a status key below the prefix.
	published := w.pub.count()
	s.put("/logferry/v1/status/n", "x", "/logferry/v1/agent/nodes/other", "y", "/logferry/v1/transfer", "t2")
	w.holds(func(d config.Docs) bool { return is(d.Transfer, "t2") })
	require.Equal(t, published+1, w.pub.count())
}

func TestWatcherSeesATransactionWhole(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := watch(t, s.config())
	w.holds(config.Docs.Empty)
	for i := range 50 {
		value := fmt.Sprint(i)
		s.do(func(ctx context.Context, c *clientv3.Client) {
			_, err := c.Txn(ctx).Then(clientv3.OpPut("/logferry/v1/agent", value), clientv3.OpPut("/logferry/v1/transfer", value)).Commit()
			require.NoError(t, err)
		})
		if snap, _ := w.Snapshot(); snap.Docs.Agent != nil {
			require.Equal(t, snap.Docs.Agent.Data, snap.Docs.Transfer.Data)
		}
	}
	w.holds(func(d config.Docs) bool { return is(d.Agent, "49") && is(d.Transfer, "49") })
}

func TestWatcherCoalescesABurst(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := watch(t, s.config())
	w.holds(config.Docs.Empty)
	const writers, each = 10, 1000
	began := time.Now()
	s.do(func(ctx context.Context, c *clientv3.Client) {
		var wait sync.WaitGroup
		for n := range writers {
			wait.Go(func() {
				for i := range each {
					if _, err := c.Put(ctx, agentKey, fmt.Sprint(n, " ", i)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wait.Wait()
		_, err := c.Put(ctx, agentKey, "last")
		require.NoError(t, err)
	})
	w.holds(func(d config.Docs) bool { return is(d.Agent, "last") })
	// However long the burst takes here, there is one for each time of gathering.
	require.LessOrEqual(t, w.pub.count(), int(time.Since(began)/gather)+1)
	require.True(t, slices.IsSorted(w.pub.revisions))
}

// Whatever a value is, it is read, refused by name, and the good one stands in.
func TestWatcherReadsAnyValue(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	good := `inputs: [{name: a, paths: [a], topic: a}]`
	s.put(agentKey, good)
	cfg := s.config()
	w := watch(t, cfg)
	w.holds(func(d config.Docs) bool { return is(d.Agent, good) })
	before, _ := w.Snapshot()
	base, err := config.Parse("file", []byte("etcd: {}"))
	require.NoError(t, err)
	for name, value := range map[string]string{
		"huge":   "inputs: # " + strings.Repeat("x", 1400<<10),
		"binary": "\x00\xff\x80inputs",
		"deep":   strings.Repeat("[", 100_000),
		"empty":  "inputs: [{}]",
	} {
		s.put(agentKey, value)
		w.holds(func(d config.Docs) bool { return is(d.Agent, value) })
		snap, _ := w.Snapshot()
		c, used, err := config.Resolve(base, snap.Docs, before.Docs)
		require.ErrorContains(t, err, agentKey, name)
		require.Equal(t, before.Docs, used)
		require.Equal(t, "a", c.Agent.Inputs[0].Name)
	}
}

// Documents of labels are read like the others, and those of other labels are not.
func TestWatcherReadsTheDocumentsOfLabels(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := watch(t, s.config())
	w.holds(config.Docs.Empty)
	s.put("/logferry/v1/agent/labels/zone=other", "not mine", "/logferry/v1/agent/labels/zone=z", "mine")
	w.holds(func(d config.Docs) bool { return len(d.Labels) == 1 && is(d.Labels[0], "mine") })
}

func TestWatcherWithoutSeed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put("/collect_log_conf", "[]", "/logferry/v1/agent", "a1")
	cfg := s.config()
	cfg.SeedKey = ""
	w := watch(t, cfg)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a1") })
	snap, _ := w.Snapshot()
	require.Nil(t, snap.Docs.Seed)
}

func TestWatcherStartsBeforeEtcd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	w := watch(t, s.config())
	require.Eventually(t, func() bool { return len(w.log.list()) > 0 }, 15*time.Second, 5*time.Millisecond)
	_, ok := w.Snapshot()
	require.False(t, ok)
	stats := w.Stats()
	require.False(t, stats.Connected)
	require.Contains(t, stats.LastError, "connection refused")

	s.start()
	s.put("/collect_log_conf", "[]")
	w.holds(func(d config.Docs) bool { return is(d.Seed, "[]") })
	require.Len(t, w.log.list(), 1)
	require.True(t, w.Stats().Connected)
}

// The watcher must not resume at a revision that is compacted, nor wait for it.
func TestWatcherOutlivesCompactionWhileAway(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put("/logferry/v1/agent", "a1", "/logferry/v1/transfer", "t1")
	w := watch(t, s.config())
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a1") })

	// The watcher knows only the old address, so it is away while the other one is served.
	old := s.addr
	s.stop()
	s.addr = freeAddr(t)
	s.start()
	s.do(func(ctx context.Context, c *clientv3.Client) {
		_, err := c.Delete(ctx, "/logferry/v1/agent")
		require.NoError(t, err)
		for i := range 20 {
			_, err := c.Put(ctx, "/logferry/v1/transfer", fmt.Sprint(i))
			require.NoError(t, err)
		}
		answer, err := c.Get(ctx, "x")
		require.NoError(t, err)
		_, err = c.Compact(ctx, answer.Header.Revision, clientv3.WithCompactPhysical())
		require.NoError(t, err)
	})
	s.stop()
	s.addr = old
	s.start()
	w.holds(func(d config.Docs) bool { return d.Agent == nil && is(d.Transfer, "19") })
	s.put("/logferry/v1/agent", "a2")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a2") })
	require.Positive(t, w.Stats().Reconnects)
}

func TestWatcherOutlivesARestart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put("/logferry/v1/agent", "a1")
	w := watch(t, s.config())
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a1") })
	s.stop()
	require.Eventually(t, func() bool { return !w.Stats().Connected }, 15*time.Second, 5*time.Millisecond)
	published := w.pub.count()
	s.start()
	require.Eventually(t, func() bool { return w.Stats().Connected }, 15*time.Second, 5*time.Millisecond)
	require.Equal(t, published, w.pub.count(), "nothing has changed")
	s.put("/logferry/v1/agent", "a2")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a2") })
}

// An etcd that lost its data keeps the config, until somebody puts another.
func TestWatcherOutlivesLostData(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for i := range 30 {
		s.put("/logferry/v1/agent", fmt.Sprint(i))
	}
	w := watch(t, s.config())
	w.holds(func(d config.Docs) bool { return is(d.Agent, "29") })
	before, _ := w.Snapshot()
	s.wipe()
	s.start()
	require.Eventually(t, func() bool {
		snap, _ := w.Snapshot()
		return snap.Revision < before.Revision
	}, 15*time.Second, 5*time.Millisecond)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "29") })

	s.put("/logferry/v1/agent", "new")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "new") })
	s.do(func(ctx context.Context, c *clientv3.Client) {
		_, err := c.Delete(ctx, "/logferry/v1/agent")
		require.NoError(t, err)
	})
	w.holds(config.Docs.Empty)
}

func TestWatcherStopsWhileEtcdIsAbsent(t *testing.T) {
	t.Parallel()
	w := watch(t, newServer(t).config())
	started := time.Now()
	w.stop()
	require.Less(t, time.Since(started), callTimeout, "a stop does not wait for a call to time out")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	_, err := New(NewLink(config.Etcd{}), config.Keys{}, nil, nil)
	require.Error(t, err)
}

// The look each minute finds what the watch did not tell, and has nothing sent
// that is known.
func TestWatcherComparesWithWhatItKnows(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put(agentKey, "a1", "/logferry/v1/transfer", "t1")
	pub := &publisher{}
	w, err := New(NewLink(s.config()), testKeys(s.config()), pub, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	s.do(func(ctx context.Context, c *clientv3.Client) {
		require.NoError(t, w.read(ctx, c))
		before, _ := w.Snapshot()
		s.put("/elsewhere", "x")
		require.NoError(t, w.compare(ctx, c))
		after, _ := w.Snapshot()
		require.Same(t, before.Docs.Agent, after.Docs.Agent, "not read again")
		require.Greater(t, after.Revision, before.Revision)
		require.Equal(t, 1, pub.count())

		for i, change := range []func() error{
			func() error { _, err := c.Put(ctx, agentKey, "a1"); return err }, // the same, but another revision
			func() error { _, err := c.Put(ctx, "/logferry/v1/agent/nodes/n", "n1"); return err },
			func() error { _, err := c.Delete(ctx, "/logferry/v1/transfer"); return err },
		} {
			require.NoError(t, change())
			require.NoError(t, w.compare(ctx, c))
			require.Equal(t, i+2, pub.count())
		}
		snap, _ := w.Snapshot()
		require.True(t, is(snap.Docs.Agent, "a1") && is(snap.Docs.Node, "n1") && snap.Docs.Transfer == nil)
	})
}
