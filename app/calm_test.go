package app

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsGivenBackAfterWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collections := func() (n uint32) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.NumForcedGC
		}
		var done atomic.Uint64
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- giveBack(done.Load)(ctx) }()
		step := func(bytes uint64) (freed bool) {
			before := collections()
			synctest.Wait()
			done.Add(bytes)
			time.Sleep(calmEvery)
			synctest.Wait()
			return collections() > before
		}
		require.True(t, step(0), "after the start")
		require.False(t, step(calmBytes/2))
		require.False(t, step(busyBytes+1))
		require.False(t, step(busyBytes+1))
		require.False(t, step(calmBytes), "not calm yet")
		require.True(t, step(0))
		require.False(t, step(0), "once")
		cancel()
		require.NoError(t, <-ended)
	})
}
