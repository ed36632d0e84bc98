package router

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

func lines(n, size int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%08d %s", i, strings.Repeat("x", size))
	}
	return out
}

// TestSlowSinkBoundsMemory has two routes, one of whose indices hangs, and four
// times as many bytes waiting as may be under way. What is held stays in the
// bound, and the other route goes on.
func TestSlowSinkBoundsMemory(t *testing.T) {
	b := newBench(t, "slow", "well")
	hang := make(chan struct{})
	release := sync.OnceFunc(func() { close(hang) })
	defer release()
	b.sink.play("slow", script{whole: func(w http.ResponseWriter, docs []document) {
		<-hang
		sinkOf(w).answer(w, docs)
	}})
	const records, size, bound = 3200, 10_000, 8 << 20
	for range 10 {
		b.produce("slow", lines(records/10, size)...)
	}
	transfer := b.transfer(TransferOptions{MaxInFlightBytes: bound}, testRoute("slow", "poison"), testRoute("well", "poison"))
	require.Eventually(t, func() bool { return transfer.Stats()["slow"].Bulker.InFlight > 0 }, soon, time.Millisecond)

	// One fetch, of at most 1 MiB of a partition and what else came with it, may
	// come on top of what a share allows; and what the client holds ready.
	const above = 4 << 20
	var most int64
	for i := range 20 {
		b.produce("well", fmt.Sprint("line ", i))
		require.Eventually(t, func() bool {
			stored, _ := b.sink.count("well")
			most = max(most, transfer.memory.records.Used())
			return stored == i+1
		}, soon, time.Millisecond, "a route is not stopped by another")
	}
	require.LessOrEqual(t, most, int64(bound*3/4+above))
	require.Greater(t, most, int64(bound/4), "and the bound is used")
	stats := transfer.Stats()["slow"]
	require.LessOrEqual(t, stats.Bulker.InFlight, int64(2), "a quarter of the bound is for bodies")
	require.GreaterOrEqual(t, stats.Subscriber.LagSeconds, 0.0)

	release()
	require.Eventually(t, func() bool {
		stored, _ := b.sink.count("slow")
		return stored == records
	}, soon, 5*time.Millisecond)
	require.Eventually(t, func() bool { return transfer.memory.records.Used() == 0 }, soon, 5*time.Millisecond)
}

// TestShutdownWhileTheSinkHangs: a drain takes its time and no more, nothing is
// committed by guess, and the next start stores each line once.
func TestShutdownWhileTheSinkHangs(t *testing.T) {
	b := newBench(t, "web")
	hang := make(chan struct{})
	release := sync.OnceFunc(func() { close(hang) })
	defer release()
	b.sink.play("web", script{whole: func(_ http.ResponseWriter, _ []document) { <-hang }})
	b.produce("web", lines(100, 10)...)
	const limit = 300 * time.Millisecond
	transfer := b.transfer(TransferOptions{DrainTimeout: limit}, testRoute("web", "poison"))
	require.Eventually(t, func() bool { return transfer.Stats()["web"].Bulker.InFlight > 0 }, soon, time.Millisecond)
	start := time.Now()
	require.ErrorIs(t, transfer.Drain(context.Background()), context.DeadlineExceeded)
	require.GreaterOrEqual(t, time.Since(start), limit)
	stopped := make(chan struct{})
	go func() {
		transfer.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(soon / 2):
		t.Fatal("it does not stop while the sink hangs")
	}
	require.Equal(t, int64(-1), b.committed("web", "web"))

	release()
	b.sink.play("web", script{})
	again := b.transfer(TransferOptions{}, testRoute("web", "poison"))
	require.Eventually(t, func() bool {
		stored, _ := b.sink.count("web")
		return stored == 100
	}, soon, 5*time.Millisecond)
	require.NoError(t, again.Drain(context.Background()))
	require.EqualValues(t, 100, b.committed("web", "web"))
}

// TestSinkThatIsNotThere: records wait for as long as it takes, and none of them
// is poison.
func TestSinkThatIsNotThere(t *testing.T) {
	b := newBench(t, "web")
	address := b.sink.Listener.Addr().String()
	b.sink.Close()
	b.produce("web", lines(10, 10)...)
	transfer := b.transfer(TransferOptions{}, testRoute("web", "poison"))
	require.Eventually(t, func() bool {
		s := transfer.Stats()["web"]
		return strings.Contains(s.Bulker.Held, "connection refused") && s.Chain.Breaker != "closed" && s.Chain.Retries > 5
	}, soon, time.Millisecond)
	require.Equal(t, int64(-1), b.committed("web", "web"))

	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	s := &http.Server{Handler: b.sink}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	defer func() {
		require.NoError(t, s.Close())
		<-served
	}()
	require.Eventually(t, func() bool { return transfer.Stats()["web"].Subscriber.Records == 10 }, soon, 5*time.Millisecond)
	require.Zero(t, transfer.Stats()["web"].Chain.Poisoned)
	require.NoError(t, transfer.Drain(context.Background()))
}

// TestHeldIndexOfARoute has a route of several indices, one of which is
// read-only: the others get all of theirs, up to the window of a partition.
func TestHeldIndexOfARoute(t *testing.T) {
	b := newBench(t, "sick", "well")
	b.sink.play("sick", every(item(403, "cluster_block_exception", "index [sick] blocked by: [FORBIDDEN/8/index write (api)];")))
	route := testRoute("all", "poison")
	route.Topics, route.Index = []string{"sick", "well"}, "{topic}"
	route.Breaker.OpenFor = config.Duration(50 * time.Millisecond)
	b.produce("sick", lines(50, 10)...)
	transfer := b.transfer(TransferOptions{}, route)
	for i := range 10 {
		b.produce("well", lines(100, i)...)
		require.Eventually(t, func() bool {
			stored, _ := b.sink.count("well")
			return stored == 100*(i+1)
		}, soon, time.Millisecond)
	}
	stats := transfer.Stats()["all"]
	require.Equal(t, "closed", stats.Chain.Breaker)
	require.Equal(t, 1, stats.Bulker.HeldCount)
	require.Equal(t, "sick", stats.Bulker.HeldIndices[0].Index)
	require.Equal(t, int64(-1), b.committed("all", "sick"))

	b.sink.play("sick", script{})
	require.Eventually(t, func() bool {
		stored, _ := b.sink.count("sick")
		return stored == 50 && transfer.Stats()["all"].Bulker.HeldCount == 0
	}, soon, 5*time.Millisecond)
	require.NoError(t, transfer.Drain(context.Background()))
	require.EqualValues(t, 50, b.committed("all", "sick"))
	require.EqualValues(t, 1000, b.committed("all", "well"))
}
