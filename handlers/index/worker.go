package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/logferry/logferry/handlers/logs"
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

	// maxIdleAnswer is the answer's memory that a resting worker keeps.
	maxIdleAnswer = 1 << 20
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

	body []byte
	docs []documentAt
	x    exchange
	// spoiled says that the transport may still read the body.
	spoiled bool
}

// documentAt is one document of the body at hand.
type documentAt struct {
	ask   *ask
	index int
	end   int // of its bytes in the body
}

func newWorker(c *Client, stats *counters) *worker {
	return &worker{client: c, stats: stats}
}

// work does all of r. It runs in a goroutine of its own, which the bulker awaits.
func (w *worker) work(ctx context.Context, r *request) {
	if w.plan != r.plan {
		w.plan, w.namer = r.plan, r.plan.namer.clone()
	}
	for i := range r.segments {
		w.segment(ctx, &r.segments[i], &r.verdicts)
	}
	w.flush(ctx, &r.verdicts, len(w.docs))
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
		if len(w.body) > w.plan.maxBytes {
			if n := len(w.docs); n > 1 {
				w.flush(ctx, v, n-1)
			}
			if len(w.body) > w.plan.maxBytes {
				w.flush(ctx, v, len(w.docs))
			}
		}
	}
}

// build appends documents from the record at next on, until the body is too
// large or s ends, and returns the next record.
func (w *worker) build(s *segment, next int, v *verdicts) int {
	poll, before, made, values := s.ask.poll, len(w.body), 0, 0
	for ; next < s.to && len(w.body) <= w.plan.maxBytes; next++ {
		place := s.ask.record(next)
		r := &poll.Records[place]
		w.document.read(r, w.plan.route.Parse)
		name, err := w.namer.name(r, w.document.at)
		if err != nil {
			v.refused++
			v.failures = append(v.failures, failure{s.ask, place, err})
			continue
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
	c.conclude()

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
	clear(w.docs[:cap(w.docs)])
	if cap(w.body) > 2*w.plan.maxBytes+1<<20 {
		w.body = nil
	}
	if cap(w.x.packed) > w.plan.maxBytes+1<<20 {
		w.x.packed = nil
	}
	if cap(w.x.answered) > maxIdleAnswer {
		w.x.answered = nil
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

// cut posts a range of documents, in halves and halves of halves when the sink
// cannot take it as a whole.
type cut struct {
	worker   *worker
	verdicts *verdicts

	accepted bool  // some part of it was answered item by item
	singles  []int // places in failures of single documents refused with 400
	held     error // once it is clear that everybody is refused
}

func (c *cut) post(ctx context.Context, from, to int) {
	if c.held != nil {
		c.fail(from, to, c.held)
		return
	}
	w := c.worker
	start := 0
	if from > 0 {
		start = w.docs[from-1].end
	}
	body := w.body[start:w.docs[to-1].end]
	began := time.Now()
	// An answer repeats a document at most once escaped, in a reason.
	a, reusable, err := w.client.bulk(ctx, body, 16<<20+8*int64(len(body)), &w.x)
	w.spoiled = w.spoiled || !reusable
	w.stats.posted(a.sent, time.Since(began))

	tooLarge := errors.Is(err, errTooLong) || to-from > 1 && a.sent >= brokenSize && brokeOff(err)
	switch {
	case err != nil && ctx.Err() != nil:
		c.fail(from, to, errStopped)
		return
	case err != nil && !tooLarge:
		c.fail(from, to, logs.AsUnavailable(fmt.Errorf("post _bulk to %s: %w", a.where, err)))
		return
	case err == nil && a.status == http.StatusOK:
		c.read(&a, from, to)
		return
	}
	if !tooLarge {
		var what whole
		if what, err = judge(&a); what == wholeFailed {
			c.fail(from, to, err)
			return
		}
	}
	if to-from > 1 {
		middle := from + (to-from)/2
		c.post(ctx, from, middle)
		c.post(ctx, middle, to)
		return
	}
	if tooLarge {
		c.fail(from, to, fmt.Errorf("post _bulk to %s: %w", a.where, err))
		return
	}
	c.single(&a, from, err)
}

// brokeOff says whether the sink hung up while a request was being written. One
// that finds a request too large may do so right after its answer, which is
// lost then more often than not.
func brokeOff(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "write" && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// single refuses one document that the sink did not take even alone.
func (c *cut) single(a *answer, i int, err error) {
	if a.status == http.StatusBadRequest {
		c.singles = append(c.singles, len(c.verdicts.failures))
	}
	kind, reason := wholeReason(a.body)
	if reason == "" {
		reason = http.StatusText(a.status)
	}
	d := c.worker.docs[i]
	refusal := &logs.Refusal{Index: c.worker.indexOf(i), Status: a.status, Type: kind, Reason: reason}
	c.verdicts.refused++
	c.verdicts.failures = append(c.verdicts.failures, failure{d.ask, d.index, refusal})
	if !c.accepted && len(c.singles) >= singlesToHold {
		c.held = logs.AsUnavailable(err)
	}
}

// conclude takes back refusals that turned out to be said to everybody.
func (c *cut) conclude() {
	if c.held == nil {
		return
	}
	for _, i := range c.singles {
		c.verdicts.failures[i].err = c.held
		c.verdicts.refused--
	}
}

// read takes the verdicts of an answer to documents from to to.
func (c *cut) read(a *answer, from, to int) {
	w, v := c.worker, c.verdicts
	undo := len(v.failures)
	var conflicts, refusals int64
	err := parseAnswer(a.body, to-from, func(i int, it item) {
		d := w.docs[from+i]
		switch it.verdict() {
		case stored:
		case conflict:
			conflicts++
		case refused:
			refusals++
			v.failures = append(v.failures, failure{d.ask, d.index, it.refusal(w.indexOf(from + i))})
		case retry, hold:
			v.failures = append(v.failures, failure{d.ask, d.index, it.err(w.indexOf(from + i))})
		}
	})
	if err != nil {
		v.failures = v.failures[:undo]
		c.fail(from, to, fmt.Errorf("post _bulk to %s: %w", a.where, err))
		return
	}
	c.accepted = true
	accepted := int64(to - from - (len(v.failures) - undo))
	v.accepted += accepted
	v.refused += refusals
	w.stats.conflicts.Add(conflicts)
	w.stats.stored.Add(accepted - conflicts)
}

// fail lets all documents from from to to fail with err.
func (c *cut) fail(from, to int, err error) {
	for _, d := range c.worker.docs[from:to] {
		c.verdicts.failures = append(c.verdicts.failures, failure{d.ask, d.index, err})
	}
}
