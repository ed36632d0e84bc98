package middleware

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// retry asks the stage again until all that can pass has passed. It stands in
// for Watermill's Retry, whose settings are frozen when a handler starts,
// whose hooks skip intervals, and which knows one kind of error only.
//
// It returns at once when something was refused for good, so that the poison
// middleware outside can settle it and come back for the rest, and when the
// message's context ended. A success of any message of the pipeline wakes all
// that wait: after an outage nobody sits out a long interval. What waits for one
// part of the sink is not woken: others pass all the time.
type retry struct {
	settings atomic.Pointer[config.Retry]
	retries  atomic.Uint64
	waiting  atomic.Int64
	last     atomic.Pointer[seen]

	mu        sync.Mutex
	recovered chan struct{} // closed and replaced at the first success after a failure
	failing   bool
}

func newRetry() *retry { return &retry{recovered: make(chan struct{})} }

func (r *retry) update(s config.Retry) { r.settings.Store(&s) }

func (r *retry) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		var (
			pause   *backoff.ExponentialBackOff
			started time.Time
		)
		for {
			wake := r.gate()
			out, err := next(msg)
			if err == nil {
				r.succeeded()
				return out, nil
			}
			refused, rest := refusals(err)
			if stopped(msg, err) || len(refused) > 0 {
				return nil, err
			}
			r.failed(err)
			s := r.settings.Load()
			if pause == nil {
				pause, started = backoff.NewExponentialBackOff(), time.Now()
			}
			if gaveUp(s, started, rest) {
				return nil, giveUp(msg, err)
			}
			if onlyParts(err) {
				wake = nil
			}
			if !r.wait(msg, wake, s.MinBackoff.D(), interval(pause, s, err)) {
				return nil, err
			}
		}
	}
}

// interval takes the next interval under the settings of now; a sink that said
// when to come back is taken at its word, up to max_backoff.
func interval(pause *backoff.ExponentialBackOff, s *config.Retry, err error) time.Duration {
	pause.InitialInterval, pause.MaxInterval = s.MinBackoff.D(), s.MaxBackoff.D()
	pause.Multiplier, pause.RandomizationFactor = s.Multiplier, s.Jitter
	next := max(pause.NextBackOff(), time.Millisecond)
	var told interface{ RetryAfter() time.Duration }
	if errors.As(err, &told) {
		next = max(next, min(told.RetryAfter(), s.MaxBackoff.D()))
	}
	return next
}

// wait blocks for the pause, or until the pipeline recovered, but for least at
// the least: what is held while others pass must not come back with each of
// them. It returns false when the message's context ended.
func (r *retry) wait(msg *message.Message, wake <-chan struct{}, least, pause time.Duration) bool {
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	least = min(least, pause)
	early := time.NewTimer(least)
	defer early.Stop()
	select {
	case <-early.C:
	case <-msg.Context().Done():
		return false
	}
	late := time.NewTimer(pause - least)
	defer late.Stop()
	select {
	case <-late.C:
	case <-wake:
	case <-msg.Context().Done():
		return false
	}
	r.retries.Add(1)
	return true
}

func (r *retry) gate() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recovered
}

func (r *retry) failed(err error) {
	r.last.Store(saw(err))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = true
}

func (r *retry) succeeded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing {
		r.failing = false
		close(r.recovered)
		r.recovered = make(chan struct{})
	}
}

// gaveUp says whether give_up_after has passed for errors that it covers.
func gaveUp(s *config.Retry, started time.Time, rest logs.Kind) bool {
	return s.GiveUpAfter > 0 && rest != logs.Unavailable && time.Since(started) >= s.GiveUpAfter.D()
}

// giveUp turns what failed into refusals.
func giveUp(msg *message.Message, err error) error {
	refusal := func(err error) error {
		return &logs.Refusal{Type: "retries_exhausted", Reason: err.Error()}
	}
	var batch *logs.BatchError
	if errors.As(err, &batch) && len(batch.Failures()) > 0 {
		given := &logs.BatchError{}
		for _, f := range batch.Failures() {
			given.Failed(f.Index, refusal(f.Err))
		}
		return given
	}
	return refusal(err)
}
