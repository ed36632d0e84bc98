package middleware

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// throttle holds lines back so that they and their bytes pass at a rate. It
// waits and never drops. It stands in for Watermill's Throttle, which counts
// messages, ignores the context and cannot be changed.
//
// A message that holds more than a step's worth passes in parts, each when its
// tokens are there; whoever waits takes turns, part by part. Batches of a file
// wait for each other first, so that each file has one in line. A change of the
// limit wakes all that wait.
type throttle struct {
	current atomic.Pointer[limit] // nil: there is none
	keyOf   func(by string, w logs.Work) string
	waited  atomic.Int64 // nanoseconds
}

func newThrottle(o Options) *throttle {
	t := &throttle{keyOf: o.ThrottleKey}
	if t.keyOf == nil {
		t.keyOf = func(string, logs.Work) string { return "" }
	}
	return t
}

func (t *throttle) update(s config.Throttle) {
	old := t.current.Load()
	switch {
	case old != nil && old.Throttle == s:
		return
	case s.LinesPerSecond > 0 || s.BytesPerSecond > 0:
		t.current.Store(newLimit(s))
	default:
		t.current.Store(nil)
	}
	if old != nil {
		close(old.changed)
	}
}

func (t *throttle) buckets() int {
	l := t.current.Load()
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets)
}

func (t *throttle) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		w := logs.WorkOf(msg)
		if w == nil || w.Pending() == 0 || t.current.Load() == nil {
			return next(msg)
		}
		return nil, t.release(msg, w, next)
	}
}

// release lets w pass, in parts where it must.
func (t *throttle) release(msg *message.Message, w logs.Work, next message.HandlerFunc) error {
	ctx := msg.Context()
	var turn *logs.Turn
	if b, ok := w.(*logs.Batch); ok {
		// Tokens are for those who can go: what waits for its turn would let
		// theirs pile up.
		turn = b.Turn
		if err := turn.Await(ctx); err != nil {
			return err
		}
	}
	defer turn.Hold(false)
	for from := 0; ; {
		to, more, err := t.take(ctx, w, from)
		switch {
		case err != nil:
			return err
		case from == 0 && !more:
			_, err := next(msg)
			return err
		}
		turn.Hold(more)
		if err := pass(msg, ctx, w, from, to, next); err != nil || !more {
			return err
		}
		from = to
	}
}

// pass hands a part of w to the stage.
func pass(msg *message.Message, ctx context.Context, w logs.Work, from, to int, next message.HandlerFunc) error { //nolint:revive // ctx is the message's
	part := logs.PartOf(w, from, to)
	msg.SetContext(ctx)
	logs.Attach(msg, part)
	defer msg.SetContext(ctx)
	_, err := next(msg)
	for i := range part.Len() {
		if err == nil || part.Settled(i) {
			w.Settle(from + i)
		}
	}
	return ofWhole(err, part, from)
}

// ofWhole makes an error about a part, which begins at item from of the whole,
// one about the whole.
func ofWhole(err error, part logs.Work, from int) error {
	var batch *logs.BatchError
	if errors.As(err, &batch) && len(batch.Failures()) > 0 {
		moved := logs.NewBatchError(batch.Cause)
		for _, f := range batch.Failures() {
			moved.Failed(from+f.Index, f.Err)
		}
		return moved
	}
	if logs.KindOf(err) != logs.Permanent {
		return err
	}
	refused := logs.NewBatchError(err)
	for i := range part.Len() {
		if !part.Settled(i) {
			refused.Failed(from+i, err)
		}
	}
	return refused
}

// take waits until items from from to to-1 may pass, and says whether more of w
// is to come behind them.
func (t *throttle) take(ctx context.Context, w logs.Work, from int) (to int, more bool, err error) {
	started := time.Now()
	defer func() { t.waited.Add(int64(time.Since(started))) }()
	for {
		l := t.current.Load()
		if l == nil {
			return w.Len(), false, nil
		}
		b := l.enter(t.keyOf(l.By, w))
		to, more, err = b.take(ctx, l.changed, w, from)
		l.leave(b)
		if !errors.Is(err, errChanged) {
			return to, more, err
		}
	}
}
