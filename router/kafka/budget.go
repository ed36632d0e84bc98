package kafka

import (
	"context"
	"sync/atomic"
)

// budget bounds the memory of what was fetched and is not settled. Anybody adds
// and frees; one goroutine waits for room.
type budget struct {
	max  int64
	used atomic.Int64
	room chan struct{} // a nudge
}

func newBudget(limit int64) *budget {
	return &budget{max: limit, room: make(chan struct{}, 1)}
}

func (b *budget) add(n int64) { b.used.Add(n) }

func (b *budget) free(n int64) {
	if b.used.Add(-n) < b.max {
		select {
		case b.room <- struct{}{}:
		default:
		}
	}
}

// wait returns nil when there is room, or ctx's error.
func (b *budget) wait(ctx context.Context) error {
	for b.used.Load() >= b.max {
		select {
		case <-b.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
