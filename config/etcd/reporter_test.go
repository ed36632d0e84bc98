package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

// startReporter runs a reporter of the role agent until stop, or the test's
// end; set changes what it reports.
func startReporter(t *testing.T, cfg config.Etcd, node, first string) (set func(string), stop func()) {
	t.Helper()
	return startReporterOver(t, NewLink(cfg), node, first)
}

func startReporterOver(t *testing.T, link *Link, node, first string) (set func(string), stop func()) {
	t.Helper()
	var report atomic.Value
	report.Store(first)
	changed := make(chan struct{}, 1)
	r := NewReporter(link, "agent", node, func(w Words) []byte {
		text := report.Load().(string)
		switch w {
		case Last:
			text += " last"
		case Stopped:
			text += " stopped"
		}
		return []byte(text)
	}, changed, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	set = func(text string) {
		report.Store(text)
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return set, stop
}

func reporter(t *testing.T, cfg config.Etcd, node, first string) (set func(string)) {
	t.Helper()
	set, _ = startReporter(t, cfg, node, first)
	return set
}

func describe(members []Member) string {
	var lines []string
	for _, m := range members {
		state := "gone"
		if m.Alive {
			state = "alive"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %s", m.Role, m.Name, state, m.Data))
	}
	return strings.Join(lines, "\n")
}

// fleetIs waits until the fleet is as the lines say.
func fleetIs(t *testing.T, s *Store, lines ...string) {
	t.Helper()
	var got string
	ok := func() bool {
		members, err := s.Fleet(t.Context())
		got = describe(members)
		return err == nil && got == strings.Join(lines, "\n")
	}
	for deadline := time.Now().Add(45 * time.Second); !ok() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	require.Equal(t, strings.Join(lines, "\n"), got)
}

func TestReporterLivesAndLeavesLastWords(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	set, stop := startReporter(t, s.config(), "n", "one")
	fleetIs(t, store, "agent n alive one")
	set("two")
	fleetIs(t, store, "agent n alive two")
	stop()
	fleetIs(t, store, "agent n gone two stopped")

	// Another of the same name goes on with the lease of the last words.
	reporter(t, s.config(), "n", "three")
	fleetIs(t, store, "agent n alive three")
	s.do(func(ctx context.Context, c *clientv3.Client) {
		leases, err := c.Leases(ctx)
		require.NoError(t, err)
		require.Len(t, leases.Leases, 2)
	})
}

// What is not news is not written, and what comes in a burst is written once.
func TestReporterWritesLittle(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	set := reporter(t, s.config(), "n", "one")
	fleetIs(t, store, "agent n alive one")
	revision := func() (r int64) {
		s.do(func(ctx context.Context, c *clientv3.Client) {
			answer, err := c.Get(ctx, "x")
			require.NoError(t, err)
			r = answer.Header.Revision
		})
		return r
	}
	before := revision()
	for range 100 {
		set("one")
		time.Sleep(time.Millisecond)
	}
	time.Sleep(2 * atMostEach)
	require.Equal(t, before, revision())
	for i := range 100 {
		set(fmt.Sprint(i))
		time.Sleep(time.Millisecond)
	}
	fleetIs(t, store, "agent n alive 99")
	require.LessOrEqual(t, revision()-before, int64(3))
}

// What is asked for again and again is not put off again and again.
func TestReporterIsNotPutOff(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	set := reporter(t, s.config(), "n", "0")
	fleetIs(t, store, "agent n alive 0")
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			set(fmt.Sprint(i))
			time.Sleep(time.Millisecond)
		}
	})
	defer asking.Wait()
	defer cancel()
	seen := map[string]bool{}
	require.Eventually(t, func() bool {
		members, err := store.Fleet(ctx)
		if err == nil && len(members) == 1 {
			seen[string(members[0].Data)] = true
		}
		return len(seen) > 4
	}, 4*usual, 10*time.Millisecond, "more of them than come by themselves")
}

// The key of a process that died goes with its lease; its last words stay.
func TestReporterThatIsKilled(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	cfg := s.config()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client, err := Client(ctx, cfg)
	require.NoError(t, err)
	defer client.Close()
	r := NewReporter(NewLink(cfg), "agent", "n", func(w Words) []byte { return fmt.Append(nil, "words ", w) }, nil, slog.New(slog.DiscardHandler))
	require.NoError(t, r.lease(ctx, client))
	require.NoError(t, r.write(ctx, client, r.report(Current)))
	fleetIs(t, store, "agent n alive words 0")
	_, err = client.Revoke(ctx, r.alive) // what etcd does after 15 s
	require.NoError(t, err)
	fleetIs(t, store, "agent n gone words 1")
}

// Two processes of one node's name are both seen.
func TestReportersOfOneName(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	set := reporter(t, s.config(), "n", "first")
	fleetIs(t, store, "agent n alive first")
	reporter(t, s.config(), "n", "second")
	fleetIs(t, store, "agent n alive second")
	set("still here")
	require.Eventually(t, func() bool {
		members, err := store.Fleet(t.Context())
		return err == nil && len(members) == 2 && string(members[0].Data) == "second" &&
			strings.HasPrefix(members[1].Name, "n@") && string(members[1].Data) == "still here"
	}, 30*time.Second, 10*time.Millisecond)
}

func TestReporterOutlivesEtcd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	set := reporter(t, s.config(), "n", "one")
	s.start()
	store := openStore(t, s.config())
	fleetIs(t, store, "agent n alive one")
	s.stop()
	set("two")
	s.start()
	fleetIs(t, store, "agent n alive two")
	// Without its data etcd does not know the leases.
	s.wipe()
	s.start()
	fleetIs(t, store, "agent n alive two")
}

// etcd is away for longer than the leases live: that is said once, the documents
// stay, and afterwards all is as it was.
func TestEtcdIsAwayForLong(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put(agentKey, "a")
	link := NewLink(s.config())
	w := watchOver(t, link)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a") })
	set, _ := startReporterOver(t, link, "n", "one")
	fleetIs(t, openStore(t, s.config()), "agent n alive one")
	s.stop()
	time.Sleep(minAlive + 2*time.Second)
	require.False(t, w.Stats().Connected)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a") })
	require.Len(t, w.log.list(), 1)
	set("two")
	s.start()
	fleetIs(t, openStore(t, s.config()), "agent n alive two")
	s.put(agentKey, "b")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "b") })
	require.Len(t, w.log.list(), 1)
}

func TestReporterStopsWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, stop := startReporter(t, s.config(), "n", "one")
	fleetIs(t, openStore(t, s.config()), "agent n alive one")
	s.stop()
	started := time.Now()
	stop()
	require.Less(t, time.Since(started), callTimeout)
}

func TestFollowFleet(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	set, stop := startReporter(t, s.config(), "n", "one")
	seen := make(chan string, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- store.FollowFleet(ctx, func(members []Member) bool {
			seen <- describe(members)
			return describe(members) == "agent n gone enough stopped"
		})
	}()
	until := func(want string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for got := ""; got != want; {
			select {
			case got = <-seen:
			case <-deadline:
				t.Fatalf("the fleet is %q, not %q", got, want)
			}
		}
	}
	until("agent n alive one")
	set("two")
	until("agent n alive two")
	// Through a restart of etcd.
	s.stop()
	s.start()
	set("enough")
	until("agent n alive enough")
	stop()
	until("agent n gone enough stopped")
	require.NoError(t, <-done)

	cancel()
	require.ErrorIs(t, store.FollowFleet(ctx, func([]Member) bool { return false }), context.Canceled)
}
