package index

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/logferry/logferry/handlers/logs"
)

// cut posts a range of documents, in halves and halves of halves when the sink
// cannot take it as a whole.
type cut struct {
	worker   *worker
	verdicts *verdicts

	accepted bool     // some part of it was answered item by item
	singles  []single // single documents refused with 400
	held     error    // once it is clear that everybody is refused
}

// single is a document that was refused with 400 for the whole of its request.
type single struct {
	failure, doc int  // places in failures and docs
	early        bool // nothing had been accepted before
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
	took := time.Since(began)
	w.stats.posted(a.sent, took)
	c.verdicts.posts++
	c.verdicts.took = took

	tooLarge := errors.Is(err, errTooLong) || to-from > 1 && a.sent >= brokenSize && brokeOff(err)
	switch {
	case err != nil && ctx.Err() != nil:
		c.fail(from, to, errStopped)
		return
	case err != nil && !tooLarge:
		c.verdicts.busy = c.verdicts.busy || errors.Is(err, errNoAnswer)
		c.fail(from, to, logs.AsUnavailable(fmt.Errorf("post _bulk to %s: %w", a.where, err)))
		return
	case err == nil && a.status == http.StatusOK:
		c.read(&a, from, to)
		return
	}
	if !tooLarge {
		var what whole
		if what, err = judge(&a); what == wholeFailed {
			c.verdicts.busy = c.verdicts.busy || busyStatus(a.status)
			c.fail(from, to, err)
			return
		}
	}
	if to-from > 1 {
		if tooLarge || a.status == http.StatusRequestEntityTooLarge {
			c.verdicts.tooLarge(len(body))
		}
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
		c.singles = append(c.singles, single{len(c.verdicts.failures), i, !c.accepted})
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

// conclude takes back refusals that turned out to be said to everybody: all of
// them when nothing else was said, and those that came before the sink took
// something, unless it says them again.
func (c *cut) conclude(ctx context.Context) {
	v := c.verdicts
	if c.held != nil {
		for _, s := range c.singles {
			v.failures[s.failure].err = c.held
			v.refused--
		}
		return
	}
	doubtful := c.singles
	c.singles = nil
	for i := len(doubtful) - 1; i >= 0; i-- {
		if s := doubtful[i]; s.early && c.accepted {
			v.failures = slices.Delete(v.failures, s.failure, s.failure+1)
			v.refused--
			for j := range c.worker.casualties {
				if casualty := &c.worker.casualties[j]; casualty.failure > s.failure {
					casualty.failure--
				}
			}
			c.post(ctx, s.doc, s.doc+1)
		}
	}
}

// read takes the verdicts of an answer to documents from to to.
func (c *cut) read(a *answer, from, to int) {
	w, v := c.worker, c.verdicts
	undo, casualties := len(v.failures), len(w.casualties)
	var conflicts, refusals int64
	var shut map[string]*logs.HeldError
	busy := false
	err := parseAnswer(a.body, to-from, func(i int, it item) {
		d := w.docs[from+i]
		switch it.verdict() {
		case stored:
		case conflict:
			conflicts++
		case refused:
			refusals++
			if w.plan.rescue && it.rescuable() {
				w.casualties = append(w.casualties, casualty{d, len(v.failures), offender(it.reason)})
			}
			v.failures = append(v.failures, failure{d.ask, d.index, it.refusal(w.indexOf(from + i))})
		case retry:
			busy = busy || it.busy()
			v.failures = append(v.failures, failure{d.ask, d.index, it.err(w.indexOf(from + i))})
		case hold:
			name := w.indexOf(from + i)
			if shut[name] == nil {
				if shut == nil {
					shut = map[string]*logs.HeldError{}
				}
				shut[name] = &logs.HeldError{Part: fmt.Sprintf("index %q", name), Err: errors.New(it.text())}
			}
			v.failures = append(v.failures, failure{d.ask, d.index, shut[name]})
		}
	})
	if err != nil {
		v.failures, w.casualties = v.failures[:undo], w.casualties[:casualties]
		c.fail(from, to, fmt.Errorf("post _bulk to %s: %w", a.where, err))
		return
	}
	c.accepted = true
	v.busy = v.busy || busy
	c.indices(from, to, v.failures[undo:], shut)
	accepted := int64(to - from - (len(v.failures) - undo))
	v.accepted += accepted
	v.refused += refusals
	w.stats.conflicts.Add(conflicts)
	w.stats.stored.Add(accepted - conflicts)
}

// indices notes which indices refused everything, and which of those that are
// asked after a refusal, or that refused some, took a document.
func (c *cut) indices(from, to int, failures []failure, shut map[string]*logs.HeldError) {
	w, v := c.worker, c.verdicts
	for name, err := range shut {
		if v.shut == nil {
			v.shut = map[string]*logs.HeldError{}
		}
		v.shut[name] = err
	}
	if len(w.gate.asking)+len(v.shut) == 0 {
		return
	}
	failed := map[documentAt]bool{}
	for _, f := range failures {
		if logs.KindOf(f.err) != logs.Permanent {
			failed[documentAt{ask: f.ask, index: f.index}] = true
		}
	}
	for i := from; i < to; i++ {
		d := w.docs[i]
		if failed[documentAt{ask: d.ask, index: d.index}] {
			continue
		}
		if name := w.indexOf(i); w.gate.asking[name] || v.shut[name] != nil {
			if v.open == nil {
				v.open = map[string]bool{}
			}
			v.open[name] = true
		}
	}
}

// fail lets all documents from from to to fail with err.
func (c *cut) fail(from, to int, err error) {
	for _, d := range c.worker.docs[from:to] {
		c.verdicts.failures = append(c.verdicts.failures, failure{d.ask, d.index, err})
	}
}
