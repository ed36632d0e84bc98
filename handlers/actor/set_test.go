package actor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/actor"
)

func TestSetStartsAgainWhatFailedAndStopsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failures, runs atomic.Int32
		s := actor.NewSet(func(key string, err error) {
			require.Equal(t, "a", key)
			failures.Add(1)
		})
		require.True(t, s.Start("a", func(ctx context.Context) error {
			if runs.Add(1) < 4 {
				return errors.New("not yet")
			}
			<-ctx.Done()
			return ctx.Err()
		}))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, 4, runs.Load())
		require.EqualValues(t, 3, failures.Load())
		require.False(t, s.Start("a", nil), "the key is taken")

		s.Stop("a")
		select {
		case <-s.Done("a"):
		default:
			t.Fatal("not ended")
		}
		require.EqualValues(t, 3, failures.Load(), "a stop is no failure")
	})
}

func TestSetForgetsAChildThatEnded(t *testing.T) {
	s := actor.NewSet(func(string, error) {})
	require.True(t, s.Start("a", func(context.Context) error { return nil }))
	<-s.Done("a")
	require.True(t, s.Start("a", func(ctx context.Context) error { <-ctx.Done(); return nil }))
	require.True(t, s.Start("b", func(ctx context.Context) error { <-ctx.Done(); return nil }))
	s.StopAll()
	<-s.Done("b")
}
