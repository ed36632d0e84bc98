package logs

import "context"

// Turn keeps batches of one file in order while several are in flight. The
// follower makes a turn for each batch from the turn of the batch before it.
// Whoever publishes awaits the turn, hands all records to the client, and
// calls Sent; the follower calls Settled when the message was acked.
//
// The first attempt waits until the batch before was sent, so that batches
// enter the client in the file's order and still share the wire. A later
// attempt waits until the batch before is settled, so that a retry cannot
// overtake an earlier retry.
type Turn struct {
	prev    *Turn
	sent    chan struct{}
	settled chan struct{}
	retry   bool
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
	gate := t.prev.sent
	if t.retry {
		gate = t.prev.settled
	}
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

// Sent says that all records of the batch were handed to the client, in order.
// Only the goroutine that handles the batch calls it; again after a retry.
func (t *Turn) Sent() {
	if t == nil || t.retry {
		return
	}
	t.retry = true
	close(t.sent)
}

// Settled says that the batch was acked. The follower calls it once, after the
// handler has finished with the batch.
func (t *Turn) Settled() {
	close(t.settled)
	t.prev = nil
}
