package middleware

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

const (
	// A step is a tenth of a second's worth: the default burst, and the most
	// that passes at once of what had to wait.
	stepsPerSecond = 10
	// maxBuckets of one limit are kept beside those in use, about 1 MiB.
	maxBuckets = 4096
)

// limit is one setting of a throttle with its buckets, by key.
type limit struct {
	config.Throttle
	changed chan struct{} // closed when another setting is in force

	mu      sync.Mutex
	buckets map[string]*bucket
}

// bucket holds the tokens of one key. It begins empty, so that neither a change
// of the setting nor a key that comes again lets more pass.
type bucket struct {
	queue        chan struct{} // capacity 1: who holds it waits for tokens
	lines, bytes *rate.Limiter
	users        int // guarded by the limit's mutex
}

func newLimit(s config.Throttle) *limit {
	return &limit{Throttle: s, changed: make(chan struct{}), buckets: map[string]*bucket{}}
}

func newBucket(s config.Throttle) *bucket {
	return &bucket{
		queue: make(chan struct{}, 1),
		lines: newLimiter(s.LinesPerSecond, s.Burst),
		bytes: newLimiter(float64(s.BytesPerSecond), 0),
	}
}

func newLimiter(perSecond float64, burst int) *rate.Limiter {
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	if burst <= 0 {
		burst = max(1, int(perSecond/stepsPerSecond))
	}
	l := rate.NewLimiter(rate.Limit(perSecond), burst)
	l.AllowN(time.Now(), burst)
	return l
}

// enter returns the bucket of key, which is kept until leave.
func (l *limit) enter(key string) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			l.forget()
		}
		b = newBucket(l.Throttle)
		l.buckets[key] = b
	}
	b.users++
	return b
}

func (l *limit) leave(b *bucket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.users--
}

// forget drops half of the buckets, of those that nobody waits at; what waits is
// no more than the messages in flight.
func (l *limit) forget() {
	for key, b := range l.buckets {
		if b.users == 0 {
			delete(l.buckets, key)
		}
		if len(l.buckets) <= maxBuckets/2 {
			return
		}
	}
}

// errChanged says that a limit is no longer in force.
var errChanged = errors.New("the limit has changed")

// take waits for the tokens of the next part of w, which begins at item from
// and ends before to.
func (b *bucket) take(ctx context.Context, changed <-chan struct{}, w logs.Work, from int) (to int, more bool, err error) {
	select {
	case b.queue <- struct{}{}:
	case <-changed:
		return 0, false, errChanged
	case <-ctx.Done():
		return 0, false, ctx.Err()
	}
	defer func() { <-b.queue }()
	to, lines, bytes, more := b.part(w, from)
	if err := wait(ctx, changed, b.lines, lines); err != nil {
		return 0, false, err
	}
	return to, more, wait(ctx, changed, b.bytes, bytes)
}

// part says where the next part of w ends, what it costs, and whether more is
// pending behind it.
func (b *bucket) part(w logs.Work, from int) (to, lines, bytes int, more bool) {
	mostLines, mostBytes := atOnce(b.lines), atOnce(b.bytes)
	for to = from; to < w.Len(); to++ {
		if w.Settled(to) {
			continue
		}
		size := int(w.SizeOf(to))
		if lines > 0 && (lines >= mostLines || bytes+size > mostBytes) {
			return to, lines, bytes, true
		}
		lines++
		bytes += size
	}
	return to, lines, bytes, false
}

// atOnce returns how many tokens a part may cost.
func atOnce(l *rate.Limiter) int {
	if l.Limit() == rate.Inf {
		return int(^uint(0) >> 1)
	}
	return max(1, int(float64(l.Limit())/stepsPerSecond), int(l.Tokens()))
}

// wait takes n tokens, at most a burst at a time.
func wait(ctx context.Context, changed <-chan struct{}, l *rate.Limiter, n int) error {
	if l.Limit() == rate.Inf {
		return nil
	}
	for n > 0 {
		step := min(n, l.Burst())
		n -= step
		d := l.ReserveN(time.Now(), step).Delay()
		if d <= 0 {
			continue
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-changed:
			timer.Stop()
			return errChanged
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return nil
}
