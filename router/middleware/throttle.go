package middleware

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/time/rate"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// throttle holds messages back so that lines and bytes pass at a rate. It
// waits and never drops. It stands in for Watermill's Throttle, which counts
// messages, ignores the context and cannot be changed.
//
// One message waits at a time, in small steps, so that a limit that is lifted
// or raised is felt by all within one step.
type throttle struct {
	lines, bytes *rate.Limiter
	limited      atomic.Bool
	queue        chan struct{} // capacity 1: who holds it waits for tokens
	waited       atomic.Int64  // nanoseconds
}

// A step is a tenth of a second's worth: the default burst, and how long a
// change of the limit may go unnoticed.
const stepsPerSecond = 10

func newThrottle() *throttle {
	return &throttle{
		lines: rate.NewLimiter(rate.Inf, 1),
		bytes: rate.NewLimiter(rate.Inf, 1),
		queue: make(chan struct{}, 1),
	}
}

func (t *throttle) update(s config.Throttle) {
	set(t.lines, s.LinesPerSecond, s.Burst)
	set(t.bytes, float64(s.BytesPerSecond), 0)
	t.limited.Store(s.LinesPerSecond > 0 || s.BytesPerSecond > 0)
}

func set(l *rate.Limiter, perSecond float64, burst int) {
	if perSecond <= 0 {
		l.SetLimit(rate.Inf)
		return
	}
	if burst <= 0 {
		burst = max(1, int(perSecond/stepsPerSecond))
	}
	l.SetBurst(burst)
	l.SetLimit(rate.Limit(perSecond))
}

func (t *throttle) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		if w := logs.WorkOf(msg); w != nil && t.limited.Load() {
			if err := t.wait(msg.Context(), w); err != nil {
				return nil, err
			}
		}
		return next(msg)
	}
}

func (t *throttle) wait(ctx context.Context, w logs.Work) error {
	started := time.Now()
	defer func() { t.waited.Add(int64(time.Since(started))) }()
	select {
	case t.queue <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-t.queue }()
	pending := w.Pending()
	if err := take(ctx, t.lines, pending); err != nil {
		return err
	}
	return take(ctx, t.bytes, int(w.Size()*int64(pending)/int64(max(1, w.Len()))))
}

// take takes n tokens, at most a burst or a step's worth at a time.
func take(ctx context.Context, l *rate.Limiter, n int) error {
	for n > 0 && l.Limit() != rate.Inf {
		step := max(1, min(n, l.Burst(), int(float64(l.Limit())/stepsPerSecond)))
		r := l.ReserveN(time.Now(), step)
		if !r.OK() {
			continue // the burst was lowered just now
		}
		if d := r.Delay(); d > 0 {
			timer := time.NewTimer(d)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				r.Cancel()
				return ctx.Err()
			}
		}
		n -= step
	}
	return nil
}
