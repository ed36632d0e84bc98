package logs

import (
	"context"
	"sync/atomic"
)

// Turn keeps batches of one file in order while several are in flight. The
// follower makes a turn for each batch from the turn of the batch before it.
// Whoever publishes awaits the turn, hands all records to the client, and
// calls Sent; the follower calls Settled when the message was acked.
//
// The first attempt waits until the batch before was sent, so that batches
// enter the client in the file's order and still share the wire. A later
// attempt waits until the batch before is settled, so that a retry cannot
// overtake an earlier retry. When some of a batch fails, the batch after it
// waits too, even for its first attempt: what failed comes again and must not
// be overtaken.
type Turn struct {
	prev    *Turn
	sent    chan struct{}
	settled chan struct{}
	failed  atomic.Bool
	// owned by the goroutine that handles the batch
	retry bool // some of the batch was sent before
	held  bool // more of it will be sent
	gone  bool // sent is closed
}

// NewTurn returns the turn after prev, which is nil for the first one.
func NewTurn(prev *Turn) *Turn {
	return &Turn{prev: prev, sent: make(chan struct{}), settled: make(chan struct{})}
}

// Await blocks until the batch may be sent, or until ctx ends, and returns
// ctx's error then. Only the goroutine that handles the batch calls it.
func (t *Turn) Await(ctx context.Context) error {
	if t == nil || t.prev == nil {
		return nil
	}
	if !t.retry {
		if err := t.wait(ctx, t.prev.sent); err != nil {
			return err
		}
		if !t.prev.failed.Load() {
			return nil
		}
	}
	return t.wait(ctx, t.prev.settled)
}

// AwaitSettled blocks until the batch before is settled, for records that take
// another way to the broker and so could overtake it there. Otherwise as Await.
func (t *Turn) AwaitSettled(ctx context.Context) error {
	if t == nil || t.prev == nil {
		return nil
	}
	return t.wait(ctx, t.prev.settled)
}

// wait returns nil once gate or the batch before is settled.
func (t *Turn) wait(ctx context.Context, gate <-chan struct{}) error {
	select {
	case <-gate:
		return nil
	default:
	}
	select {
	case <-gate:
		return nil
	case <-t.prev.settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Failed says that some of the batch was not acknowledged. Any goroutine may
// call it, and should do so as soon as it knows.
func (t *Turn) Failed() {
	if t != nil {
		t.failed.Store(true)
	}
}

// Hold says whether more of the batch will be sent: while it does, Sent lets
// nobody pass. Only the goroutine that handles the batch calls it.
func (t *Turn) Hold(more bool) {
	if t != nil {
		t.held = more
	}
}

// Sent says that all records of the batch were handed to the client, in order.
// Only the goroutine that handles the batch calls it; again after a retry.
func (t *Turn) Sent() {
	if t == nil {
		return
	}
	t.retry = true
	if !t.held && !t.gone {
		t.gone = true
		close(t.sent)
	}
}

// Settled says that the batch was acked. The follower calls it once, after the
// handler has finished with the batch.
func (t *Turn) Settled() {
	close(t.settled)
	t.prev = nil
}
