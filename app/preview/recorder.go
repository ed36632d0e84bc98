package preview

import (
	"slices"
	"sync"
	"time"
)

// Count is what an input or route did since it began, and how it is: the
// fields of Series.
type Count struct {
	Name                    string
	Lines, Bytes            uint64
	Backlog                 uint64
	Refused, Failed         uint64
	Requests, LatencyMillis uint64
}

// Recorder makes series of counts. Its methods may be called from any goroutine.
type Recorder struct {
	mu     sync.Mutex
	last   time.Time // of the last Note
	newest int64     // number of the newest bucket since 1970
	first  int64     // of the first
	parts  map[string]*ring
}

// ring has the values of a part by the bucket's number modulo Buckets: 90 steps
// of 7 values are 5 KiB.
type ring struct {
	last   Count
	seen   int64 // the newest bucket in which it was there
	values [Buckets]Count
}

// NewRecorder returns one that knows nothing.
func NewRecorder() *Recorder { return &Recorder{parts: map[string]*ring{}} }

// Note takes the counts of now; what came since the last call is divided among
// the steps that it covers, by time.
func (r *Recorder) Note(now time.Time, counts []Count) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bucket := now.UnixNano() / int64(Step)
	if r.last.IsZero() || !now.After(r.last) || bucket-r.newest >= Buckets {
		r.begin(now, bucket, counts)
		return
	}
	from := r.newest
	for b := from + 1; b <= bucket; b++ {
		for _, p := range r.parts {
			p.values[b%Buckets] = Count{}
		}
	}
	for _, c := range counts {
		p := r.parts[c.Name]
		if p == nil || c.Lines < p.last.Lines || c.Bytes < p.last.Bytes {
			p = &ring{} // it begins again, and what it did so far is not ours to date
			r.parts[c.Name] = p
		} else {
			p.add(c, r.last, now, from, bucket)
		}
		p.values[bucket%Buckets].Backlog, p.values[bucket%Buckets].LatencyMillis = c.Backlog, c.LatencyMillis
		p.last, p.seen = c, bucket
	}
	for name, p := range r.parts {
		if bucket-p.seen >= Buckets {
			delete(r.parts, name)
		}
	}
	r.last, r.newest = now, bucket
}

// begin forgets everything: the clock went back, or nobody noted for too long.
func (r *Recorder) begin(now time.Time, bucket int64, counts []Count) {
	r.parts = map[string]*ring{}
	for _, c := range counts {
		p := &ring{last: c, seen: bucket}
		p.values[bucket%Buckets].Backlog = c.Backlog
		r.parts[c.Name] = p
	}
	r.last, r.newest, r.first = now, bucket, bucket
}

// add divides what came between two times among their buckets.
func (p *ring) add(c Count, last, now time.Time, from, to int64) {
	left, span := c, now.Sub(last)
	left.Lines -= p.last.Lines
	left.Bytes -= p.last.Bytes
	left.Refused -= min(p.last.Refused, c.Refused)
	left.Failed -= min(p.last.Failed, c.Failed)
	left.Requests -= min(p.last.Requests, c.Requests)
	at := last
	for b := from; b <= to; b++ {
		end := time.Unix(0, (b+1)*int64(Step))
		if end.After(now) {
			end = now
		}
		share := func(v *uint64) uint64 {
			part := *v
			if b < to {
				part = uint64(float64(*v) * end.Sub(at).Seconds() / span.Seconds())
			}
			*v -= part
			return part
		}
		v := &p.values[b%Buckets]
		v.Lines += share(&left.Lines)
		v.Bytes += share(&left.Bytes)
		v.Refused += share(&left.Refused)
		v.Failed += share(&left.Failed)
		v.Requests += share(&left.Requests)
		if b > from && b < to {
			v.Backlog = p.last.Backlog
		}
		span -= end.Sub(at)
		at = end
	}
}

// Recording returns the steps that are complete, or nil when there is none.
func (r *Recorder) Recording() *Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Of the first step only a part was seen; the newest is not over.
	from := max(r.first+1, r.newest-Buckets+1)
	steps := int(r.newest - from)
	if r.last.IsZero() || steps < 1 {
		return nil
	}
	rec := &Recording{End: time.Unix(0, r.newest*int64(Step)), Steps: steps}
	for name, p := range r.parts {
		s := Series{Name: name}
		for b := from; b < r.newest; b++ {
			v := &p.values[b%Buckets]
			for i, value := range []uint64{v.Lines, v.Bytes, v.Backlog, v.Refused, v.Failed, v.Requests, v.LatencyMillis} {
				to := s.all()[i].values
				*to = append(*to, value)
			}
		}
		rec.Parts = append(rec.Parts, s)
	}
	slices.SortFunc(rec.Parts, func(a, b Series) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return rec
}
