package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGroupStopsInTheOrderOfThePlan(t *testing.T) {
	var g group
	var order []string
	ctx, cancel := context.WithCancel(context.Background())
	g.untilDone(ctx)
	actor := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name) // each is awaited before the next: no race
			return nil
		}
	}
	g.add(context.Background(), "first", actor("first"), func() error {
		order = append(order, "drain")
		return ErrUnsettled
	})
	g.add(context.Background(), "second", actor("second"), nil)
	g.add(context.Background(), "done early", func(context.Context) error { return nil }, nil)
	cancel()
	require.ErrorIs(t, g.wait(), ErrUnsettled)
	require.Equal(t, []string{"drain", "first", "second"}, order)
}

func TestGroupEndsWithWhatFailed(t *testing.T) {
	var g group
	g.untilDone(context.Background())
	stopped := false
	g.add(context.Background(), "fails", func(context.Context) error { return errors.New("no disk") }, nil)
	g.add(context.Background(), "goes on", func(ctx context.Context) error {
		<-ctx.Done()
		stopped = true
		return nil
	}, nil)
	require.EqualError(t, g.wait(), "fails: no disk")
	require.True(t, stopped)
}

func TestDrainTakesTheWholeTimeoutOnlyWhileThingsMove(t *testing.T) {
	for name, c := range map[string]struct {
		moves bool
		takes time.Duration
	}{
		"a sink that hangs": {false, stallAfter},
		"a slow sink":       {true, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			moved := func() uint64 {
				if c.moves {
					return uint64(time.Since(start))
				}
				return 7
			}
			err := drain(30*time.Second, moved, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
			require.ErrorIs(t, err, ErrUnsettled, name)
			require.InDelta(t, c.takes, time.Since(start), float64(time.Second), name)
		})
	}
	require.NoError(t, drain(time.Minute, func() uint64 { return 0 }, func(context.Context) error { return nil }))
}

func TestWaitForSaysItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := recorder()
		attempts := 0
		w := &waitFor{name: "kafka k:9092", log: log, ping: func(context.Context) error {
			if attempts++; attempts < 10 {
				return errors.New("refused")
			}
			return nil
		}}
		require.NoError(t, w.run(context.Background()))
		require.True(t, w.reached.Load())
		require.Equal(t, []string{
			"WARN cannot reach kafka k:9092; waiting for it, nothing is lost meanwhile",
			"INFO reached kafka k:9092",
		}, lines())
	})
}
