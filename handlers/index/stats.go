package index

import (
	"sync/atomic"
	"time"

	"github.com/logferry/logferry/handlers/logs"
)

// Stats is what a bulker did and how it is.
type Stats struct {
	// Stored counts documents that are new in an index, Conflicts those that
	// an earlier attempt had stored, Refused those given to the poison queue,
	// and Retried each time a document was not taken and had to wait, whether
	// its caller tries again or not.
	Stored, Conflicts, Refused, Retried int64
	// Requests counts _bulk requests, Bytes what they sent, compressed.
	Requests, Bytes int64
	// Queued is the number of records that no request has yet, InFlight the
	// number of requests under way.
	Queued, InFlight int64
	// Latency is the time that requests take, averaged over the last few.
	Latency time.Duration
	// Held says why documents wait that the sink refuses whatever is in them;
	// empty when none does.
	Held string
	// LastError is the last reason why a document was not stored, and
	// LastErrorTime when that was; empty when there was none.
	LastError     string
	LastErrorTime time.Time
}

type fault struct {
	text string
	time time.Time
}

// counters are written by the bulker and its workers.
type counters struct {
	stored, conflicts, refused, retried atomic.Int64
	requests, bytes                     atomic.Int64
	queued, inFlight                    atomic.Int64
	latency                             atomic.Int64 // nanoseconds
	// overhead is the bytes that a body has beyond a record's value, averaged.
	overhead atomic.Int64
	held     atomic.Pointer[string]
	last     atomic.Pointer[fault]
}

// firstOverhead is the guess before any document was made.
const firstOverhead = 300

// learn averages over the last few requests; a lost update does no harm.
func (c *counters) learn(overhead int) {
	c.overhead.Store(max((c.overhead.Load()*7+int64(overhead))/8, 1))
}

func (c *counters) posted(bytes int, took time.Duration) {
	c.requests.Add(1)
	c.bytes.Add(int64(bytes))
	if old := c.latency.Load(); old > 0 {
		took = time.Duration((old*7 + int64(took)) / 8)
	}
	c.latency.Store(int64(took))
}

// Stats returns a snapshot; from any goroutine.
func (b *Bulker) Stats() Stats {
	c := &b.stats
	s := Stats{
		Stored: c.stored.Load(), Conflicts: c.conflicts.Load(), Refused: c.refused.Load(), Retried: c.retried.Load(),
		Requests: c.requests.Load(), Bytes: c.bytes.Load(),
		Queued: c.queued.Load(), InFlight: c.inFlight.Load(),
		Latency: time.Duration(c.latency.Load()),
	}
	if held := c.held.Load(); held != nil {
		s.Held = *held
	}
	if last := c.last.Load(); last != nil {
		s.LastError, s.LastErrorTime = last.text, last.time
	}
	return s
}

// measure publishes what Run owns.
func (b *Bulker) measure() {
	b.stats.queued.Store(int64(b.queued.docs))
	b.stats.inFlight.Store(int64(b.busy))
}

// report publishes what a request says of the sink's state.
func (b *Bulker) report(v *verdicts) {
	var held error
	for _, f := range v.failures {
		if kind := logs.KindOf(f.err); kind != logs.Permanent {
			b.stats.retried.Add(1)
			if kind == logs.Unavailable && held == nil {
				held = f.err
			}
		}
	}
	if n := len(v.failures); n > 0 {
		b.stats.last.Store(&fault{v.failures[n-1].err.Error(), time.Now()})
	}
	switch {
	case held != nil:
		text := held.Error()
		b.stats.held.Store(&text)
	case v.accepted > 0 && !b.guard.holding:
		b.stats.held.Store(nil)
	}
}
