package index

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
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
	// Rescued counts refused documents that are searchable in another form.
	Rescued int64
	// Requests counts _bulk requests, Bytes what they sent, compressed.
	Requests, Bytes int64
	// Queued is the number of records that no request has yet, InFlight the
	// number of requests under way.
	Queued, InFlight int64
	// Latency is the time that requests take, averaged over the last few.
	Latency time.Duration
	// Window is how much may be under way at once, in full requests, and
	// MaxBytes the size of a body, as the control law has it now.
	Window   float64
	MaxBytes int64
	// Held says why documents wait that the sink refuses whatever is in them;
	// empty when none does.
	Held string
	// HeldIndices are those that refuse everything while others of the route
	// are served, by name, and at most 20 of HeldCount.
	HeldIndices []HeldIndex
	HeldCount   int
	// LastError is the last reason why a document was not stored, and
	// LastErrorTime when that was; empty when there was none.
	LastError     string
	LastErrorTime time.Time
}

// HeldIndex is an index that refuses whatever it is given.
type HeldIndex struct {
	Index  string
	Reason string
	Since  time.Time
}

const maxHeldListed = 20

type fault struct {
	text string
	time time.Time
}

// counters are written by the bulker and its workers.
type counters struct {
	stored, conflicts, refused, retried atomic.Int64
	rescued                             atomic.Int64
	requests, bytes                     atomic.Int64
	queued, inFlight                    atomic.Int64
	latency                             atomic.Int64 // nanoseconds
	// overhead is the bytes that a body has beyond a record's value, averaged.
	overhead atomic.Int64
	held     atomic.Pointer[string] // why everything waits
	window   atomic.Uint64          // bits of a float64
	maxBytes atomic.Int64
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
		Rescued:  c.rescued.Load(),
		Requests: c.requests.Load(), Bytes: c.bytes.Load(),
		Queued: c.queued.Load(), InFlight: c.inFlight.Load(),
		Latency: time.Duration(c.latency.Load()),
	}
	if held := c.held.Load(); held != nil {
		s.Held = *held
	}
	s.Window, s.MaxBytes = math.Float64frombits(c.window.Load()), c.maxBytes.Load()
	all := b.held.all()
	s.HeldIndices = listHeld(all)
	if s.HeldCount = len(all); s.Held == "" && s.HeldCount > 0 {
		s.Held = fmt.Sprintf("index %q: %s", s.HeldIndices[0].Index, s.HeldIndices[0].Reason)
	}
	if last := c.last.Load(); last != nil {
		s.LastError, s.LastErrorTime = last.text, last.time
	}
	return s
}

func listHeld(all map[string]*held) []HeldIndex {
	names := slices.Sorted(maps.Keys(all))
	list := make([]HeldIndex, min(len(names), maxHeldListed))
	for i := range list {
		h := all[names[i]]
		list[i] = HeldIndex{Index: names[i], Reason: h.err.Err.Error(), Since: h.since}
	}
	return list
}

// measure publishes what Run owns.
func (b *Bulker) measure() {
	b.stats.queued.Store(int64(b.queued.docs))
	b.stats.inFlight.Store(int64(b.busy))
	b.stats.window.Store(math.Float64bits(b.control.window))
	b.stats.maxBytes.Store(int64(b.control.limits(b.plan).bytes))
}

// report publishes what a request says of the sink's state.
func (b *Bulker) report(v *verdicts) {
	var held error
	for _, f := range v.failures {
		if kind := logs.KindOf(f.err); kind != logs.Permanent {
			b.stats.retried.Add(1)
			if kind == logs.Unavailable && held == nil && !ofIndex(f.err) {
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

// ofIndex says whether err speaks of one index.
func ofIndex(err error) bool {
	var held *logs.HeldError
	return errors.As(err, &held)
}
