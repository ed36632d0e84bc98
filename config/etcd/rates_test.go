package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ratesReporter reports something new each time that it is nudged, and rates.
func ratesReporter(t *testing.T, r *Reporter) (stop func()) {
	r.AlsoRates(func() []byte { return []byte("rates of " + r.node) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

func newsEach(n *atomic.Int64) func(Words) []byte {
	return func(Words) []byte { return fmt.Append(nil, "report ", n.Add(1)) }
}

// TestRatesComeAndGoWithTheirProcess: they are written beside a report, and
// leave with it.
func TestRatesComeAndGoWithTheirProcess(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	changed := make(chan struct{}, 1)
	var news atomic.Int64
	stop := ratesReporter(t, NewReporter(NewLink(s.config()), "agent", "n", newsEach(&news), changed, slog.New(slog.DiscardHandler)))
	rates := func() string {
		select {
		case changed <- struct{}{}:
		default:
		}
		all, err := store.Rates(t.Context(), "agent")
		require.NoError(t, err)
		return fmt.Sprint(len(all), string(all["n"]))
	}
	require.Eventually(t, func() bool { return rates() == "1rates of n" }, 30*time.Second, 50*time.Millisecond)
	members, err := store.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, members, 1, "they are no process of their own")
	stop()
	require.Equal(t, "0", rates())
	other, err := store.Rates(t.Context(), "transfer")
	require.NoError(t, err)
	require.Empty(t, other)
}

// TestARoleWithoutRates: a process that may report and not write rates reports.
func TestARoleWithoutRates(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.enableAuth()
	c, err := Client(t.Context(), s.as("root"))
	require.NoError(t, err)
	defer c.Close()
	for _, prefix := range []string{"/logferry/v1/status/", "/logferry/v1/last/"} {
		_, err = c.RoleGrantPermission(t.Context(), "ferry", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
		require.NoError(t, err)
	}
	var news atomic.Int64
	changed := make(chan struct{}, 1)
	stop := ratesReporter(t, NewReporter(NewLink(s.as("ferry")), "agent", "n", newsEach(&news), changed, slog.New(slog.DiscardHandler)))
	defer stop()
	var first string
	require.Eventually(t, func() bool {
		select {
		case changed <- struct{}{}:
		default:
		}
		answer, err := c.Get(t.Context(), statusKey("/logferry/v1", "agent", "n"))
		require.NoError(t, err)
		if len(answer.Kvs) == 0 {
			return false
		}
		now := string(answer.Kvs[0].Value)
		if first == "" {
			first = now
		}
		return now != first
	}, 60*time.Second, 50*time.Millisecond, "a second report")
}
