package index

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBodiesBoundAllRoutes gives three bulkers one bound that two full requests
// fill, and a sink that hangs.
func TestBodiesBoundAllRoutes(t *testing.T) {
	s := newSink(t)
	hang := make(chan struct{})
	s.set(func(http.ResponseWriter, *http.Request, []doc) bool { <-hang; return false }, nil)
	shared := NewBodies(2 << 20)
	client := testClient(t, s.URL)
	var bulkers []*Bulker
	for range 3 {
		b, err := NewBulker(client, testRoute(), BulkerOptions{Bodies: shared})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			require.NoError(t, <-ended)
		})
		bulkers = append(bulkers, b)
	}
	big := make([]byte, 200_000)
	for i := range big {
		big[i] = 'x'
	}
	var all sync.WaitGroup
	for i, b := range bulkers {
		for j := range 3 {
			all.Go(func() {
				lines := make([]string, 6)
				for k := range lines {
					lines[k] = fmt.Sprintf("%d %d %d %s", i, j, k, big)
				}
				require.NoError(t, index(t, b, makePoll(lines...)))
			})
		}
	}
	under := func() (requests, queued int64) {
		for _, b := range bulkers {
			stats := b.Stats()
			requests += stats.InFlight
			queued += stats.Queued
		}
		return requests, queued
	}
	require.Eventually(t, func() bool {
		requests, queued := under()
		return requests == 2 && queued == 3*3*6-2*6
	}, 5*time.Second, time.Millisecond)
	close(hang)
	all.Wait()
	require.Equal(t, 3*3*6, s.count())
	for _, size := range s.sizes {
		require.LessOrEqual(t, size, 2<<20)
	}
	require.Zero(t, shared.used)
}

func TestOneBodyMayBeLargerThanTheBound(t *testing.T) {
	b := NewBodies(10)
	require.True(t, b.take(100))
	require.False(t, b.take(1))
	b.free(100)
	require.True(t, b.take(1))
}
