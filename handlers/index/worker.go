package index

import (
	"bytes"
	"context"
	"sync"
)

const (
	actionHead = `{"create":{"_index":"`
	actionID   = `","_id":"`
	actionTail = "\"}}\n"

	// singlesToHold is how many single documents may be refused with status
	// 400 for the whole body, none having been taken, before that is held to
	// be said to everybody.
	singlesToHold = 4

	// brokenSize is the size of a request, in bytes, from which on a connection
	// that breaks while it is written may mean that it is too large.
	brokenSize = 256 << 10

	// maxIdle is what a resting worker keeps of the memory for an answer, or
	// for a line whose UTF-8 it repaired.
	maxIdle = 1 << 20
)

// worker builds and posts one request at a time. It keeps its memory between
// requests, about twice max_bytes.
type worker struct {
	client *Client
	stats  *counters

	document   document
	identifier identifier
	namer      *namer
	plan       *plan
	maxBytes   int // of a body
	gate       *gate

	body []byte
	docs []documentAt
	// casualties are documents that were refused and are to be rescued.
	casualties []casualty

	x exchange
	// spoiled says that the transport may still read the body.
	spoiled bool
}

// documentAt is one document of the body at hand.
type documentAt struct {
	ask   *ask
	index int
	end   int // of its bytes in the body
}

// workers are those at rest, of all bulkers: what a quiet route does not use is
// free for a busy one, or for the collector.
var workers sync.Pool

func getWorker(c *Client, stats *counters) *worker {
	w, ok := workers.Get().(*worker)
	if !ok {
		w = new(worker)
	}
	w.client, w.stats = c, stats
	return w
}

// work does all of r. It runs in a goroutine of its own, which the bulker awaits.
func (w *worker) work(ctx context.Context, r *request) {
	if w.plan != r.plan {
		w.plan, w.namer = r.plan, r.plan.namer.clone()
	}
	w.maxBytes, w.gate = r.maxBytes, &r.gate
	for i := range r.segments {
		w.segment(ctx, &r.segments[i], &r.verdicts)
	}
	w.flush(ctx, &r.verdicts, len(w.docs))
	w.rescue(ctx, &r.verdicts)
	w.rest()
}

// segment appends the documents of s to the body, and posts the body each time
// it is full.
func (w *worker) segment(ctx context.Context, s *segment, v *verdicts) {
	for next := s.from; next < s.to; {
		s.ask.reading.RLock()
		if s.ask.left {
			s.ask.reading.RUnlock()
			return
		}
		next = w.build(s, next, v)
		s.ask.reading.RUnlock()
		if len(w.body) > w.maxBytes {
			if n := len(w.docs); n > 1 {
				w.flush(ctx, v, n-1)
			}
			if len(w.body) > w.maxBytes {
				w.flush(ctx, v, len(w.docs))
			}
		}
	}
}

// build appends documents from the record at next on, until the body is too
// large or s ends, and returns the next record.
func (w *worker) build(s *segment, next int, v *verdicts) int {
	poll, before, made, values := s.ask.poll, len(w.body), 0, 0
	for ; next < s.to && len(w.body) <= w.maxBytes; next++ {
		place := s.ask.record(next)
		r := &poll.Records[place]
		w.document.read(r, w.plan.route.Parse)
		name, err := w.namer.name(r, w.document.at)
		if err != nil {
			v.refused++
			v.failures = append(v.failures, failure{s.ask, place, err})
			continue
		}
		if w.gate.held != nil {
			if err := w.gate.closed(name); err != nil {
				v.failures = append(v.failures, failure{s.ask, place, err})
				continue
			}
		}
		body := append(w.body, actionHead...)
		body = append(body, name...)
		body = append(body, actionID...)
		body = w.identifier.append(body, r, w.document.place)
		body = append(body, actionTail...)
		body = append(w.document.append(body), '\n')
		w.body = body
		w.docs = append(w.docs, documentAt{s.ask, place, len(body)})
		made++
		values += len(r.Value)
	}
	if made > 0 {
		w.stats.learn((len(w.body) - before - values) / made)
	}
	return next
}

// flush posts the first n documents of the body, and moves what is behind them
// to its beginning.
func (w *worker) flush(ctx context.Context, v *verdicts, n int) {
	if n == 0 {
		return
	}
	c := cut{worker: w, verdicts: v}
	c.post(ctx, 0, n)
	c.conclude(ctx)

	end := w.docs[n-1].end
	rest := w.body[end:]
	if w.spoiled {
		w.body, w.spoiled = nil, false
	}
	w.body = append(w.body[:0], rest...)
	w.docs = append(w.docs[:0], w.docs[n:]...)
	for i := range w.docs {
		w.docs[i].end -= end
	}
}

// rest forgets what it need not keep between requests.
func (w *worker) rest() {
	w.client, w.stats, w.gate = nil, nil, nil
	clear(w.docs[:cap(w.docs)])
	clear(w.casualties[:cap(w.casualties)])
	w.casualties = w.casualties[:0] // a rescue's own are given up
	if cap(w.body) > 2*w.plan.maxBytes+1<<20 {
		w.body = nil
	}
	if cap(w.x.packed) > w.plan.maxBytes+1<<20 {
		w.x.packed = nil
	}
	if cap(w.x.answered) > maxIdle {
		w.x.answered = nil
	}
	if cap(w.document.clean) > maxIdle {
		w.document.clean = nil
	}
}

// indexOf reads the name of a document's index back from its action.
func (w *worker) indexOf(i int) string {
	start := len(actionHead)
	if i > 0 {
		start += w.docs[i-1].end
	}
	name, _, _ := bytes.Cut(w.body[start:], []byte{'"'})
	return string(name)
}
