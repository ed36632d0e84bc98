// Package middleware is the chain between a source and a stage: how a batch
// is watched, poisoned, retried, held back and throttled. Its order is fixed
// here; the config sets values, never order.
package middleware

import (
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// Settings are the values of one chain. They can change while it runs.
type Settings struct {
	Retry    config.Retry
	Throttle config.Throttle
	Breaker  config.Breaker
	Poison   config.Poison
}

// Options are what a chain keeps for its life.
type Options struct {
	// Name is the input's or the route's, for logs.
	Name string
	// Letters writes refused lines or records to the poison topic.
	Letters Letters
	// ThrottleKey says whose bucket a message's lines are taken from, for each
	// value of throttle.by but all; nil is one bucket.
	ThrottleKey func(by string, w logs.Work) string
	// Timeout bounds one attempt; 0 is no bound, for a stage that bounds its own.
	Timeout time.Duration
	Logger  *slog.Logger
}

// Chain is the chain of one pipeline. Its settings are read at each attempt,
// so that Update takes effect on the next one without stopping a handler.
type Chain struct {
	observe  *observe
	poison   *poison
	retry    *retry
	breaker  *breaker
	throttle *throttle
	timeout  time.Duration
}

// NewChain returns a chain with its first settings.
func NewChain(s Settings, o Options) *Chain {
	c := &Chain{
		observe:  newObserve(o),
		poison:   newPoison(o),
		retry:    newRetry(),
		breaker:  newBreaker(o.Name),
		throttle: newThrottle(o),
		timeout:  o.Timeout,
	}
	c.Update(s)
	return c
}

// Update swaps the settings. It may be called from any goroutine; calls must
// not overlap.
func (c *Chain) Update(s Settings) {
	c.poison.update(s.Poison)
	c.retry.update(s.Retry)
	c.breaker.update(s.Breaker)
	c.throttle.update(s.Throttle)
}

// Middlewares returns the chain, outermost first, as a Watermill router takes
// it:
//
//	observe -> poison -> retry -> breaker -> throttle -> timeout -> recover -> handler
func (c *Chain) Middlewares() []message.HandlerMiddleware {
	list := []message.HandlerMiddleware{
		c.observe.middleware,
		c.poison.middleware,
		c.retry.middleware,
		c.breaker.middleware,
		c.throttle.middleware,
	}
	if c.timeout > 0 {
		list = append(list, timeout(c.timeout))
	}
	return append(list, middleware.Recoverer)
}

// Stats is what a chain has done since it was made.
type Stats struct {
	Messages  uint64 // handled to their end
	Items     uint64 // lines or records of these
	Failures  uint64 // messages that were given back
	Retries   uint64 // attempts after the first
	Waiting   int64  // messages that wait for a retry now
	Poisoned  uint64 // lines or records sent to the poison topic
	Dropped   uint64 // lines or records dropped by on_reject: drop
	Throttled time.Duration
	// ThrottleBuckets are those of throttle.by that are kept.
	ThrottleBuckets int
	Breaker         string // closed | open | half-open
	LastError       string
	LastTime        time.Time // when LastError was seen; zero when there was none
}

// Stats returns a snapshot.
func (c *Chain) Stats() Stats {
	s := Stats{
		Messages:  c.observe.messages.Load(),
		Items:     c.observe.items.Load(),
		Failures:  c.observe.failures.Load(),
		Retries:   c.retry.retries.Load(),
		Waiting:   c.retry.waiting.Load(),
		Poisoned:  c.poison.poisoned.Load(),
		Dropped:   c.poison.dropped.Load(),
		Throttled: time.Duration(c.throttle.waited.Load()),
		Breaker:   c.breaker.state(),

		ThrottleBuckets: c.throttle.buckets(),
	}
	if last := c.retry.last.Load(); last != nil {
		s.LastError, s.LastTime = last.text, last.at
	}
	if last := c.observe.last.Load(); last != nil && last.at.After(s.LastTime) {
		s.LastError, s.LastTime = last.text, last.at
	}
	return s
}

// seen is an error with its time, for status.
type seen struct {
	text string
	at   time.Time
}

func saw(err error) *seen { return &seen{text: err.Error(), at: time.Now()} }
