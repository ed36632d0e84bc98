package kafka

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBudgetAloneIsWhole(t *testing.T) {
	s := NewBudget(100).join()
	s.add(99)
	require.False(t, s.full())
	s.add(1)
	require.True(t, s.full())
}

func TestBudgetLeavesEachItsPart(t *testing.T) {
	b := NewBudget(120)
	greedy, second, third := b.join(), b.join(), b.join()
	for !greedy.full() {
		greedy.add(1)
	}
	require.EqualValues(t, 20+60, greedy.inUse(), "its part, and all that is common")
	for _, s := range []*share{second, third} {
		require.False(t, s.full())
		s.add(19)
		require.False(t, s.full())
		s.add(1)
		require.True(t, s.full())
	}
	require.EqualValues(t, 120, b.Used())

	third.leave()
	require.False(t, second.full(), "two have larger parts than three")
	third.free(20)
	require.EqualValues(t, 100, b.Used())
}

func TestBudgetWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		one, two := b.join(), b.join()
		one.add(75)
		two.add(25)
		require.True(t, two.full())
		got := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { got <- two.wait(ctx) }()
		synctest.Wait()
		require.Empty(t, got)
		one.free(1)
		require.NoError(t, <-got, "what others free is room too")

		two.add(1)
		go func() { got <- two.wait(ctx) }()
		time.Sleep(time.Hour)
		require.Empty(t, got)
		cancel()
		require.ErrorIs(t, <-got, context.Canceled)
	})
}
