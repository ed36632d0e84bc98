package middleware

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/sony/gobreaker"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// breaker stops asking a sink that fails: after breaker.failures in a row all
// attempts fail at once until breaker.open_for has passed, then one probes. It
// stands in for Watermill's CircuitBreaker, whose settings are frozen, and
// which takes a refused record and a shutdown for a failure of the sink.
type breaker struct {
	name     string
	settings config.Breaker // owned by update
	current  atomic.Pointer[gobreaker.TwoStepCircuitBreaker]
}

func newBreaker(name string) *breaker { return &breaker{name: name} }

func (b *breaker) update(s config.Breaker) {
	if b.current.Load() != nil && s == b.settings {
		return
	}
	b.settings = s
	b.current.Store(gobreaker.NewTwoStepCircuitBreaker(gobreaker.Settings{
		Name:        b.name,
		MaxRequests: 1,
		Timeout:     s.OpenFor.D(),
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return s.Failures > 0 && int(c.ConsecutiveFailures) >= s.Failures
		},
	}))
}

func (b *breaker) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		done, err := b.current.Load().Allow()
		if err != nil {
			return nil, logs.AsUnavailable(fmt.Errorf("breaker of %q: %w", b.name, err))
		}
		settled := false
		defer func() { done(settled) }() // a panic counts as a failure
		out, err := next(msg)
		settled = err == nil || stopped(msg, err) || !sinkFailed(err)
		return out, err
	}
}

// sinkFailed says whether err speaks of the sink rather than of some records or
// of one of its parts, which has a breaker of its own.
func sinkFailed(err error) bool {
	var batch *logs.BatchError
	if errors.As(err, &batch) && len(batch.Failures()) > 0 {
		for _, f := range batch.Failures() {
			if logs.KindOf(f.Err) == logs.Unavailable && !ofPart(f.Err) {
				return true
			}
		}
		return false
	}
	return logs.KindOf(err) != logs.Permanent && !ofPart(err)
}

func (b *breaker) state() string { return b.current.Load().State().String() }
