package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config/etcd"
)

// waited is what became of a change.
type waited struct {
	Applied    []answerer `json:"applied"`
	Rejected   []rejected `json:"rejected"`
	Unanswered []answerer `json:"unanswered"`
	// Canary are those that have seen it, and run a canary in its place.
	Canary []answerer `json:"canary,omitempty"`
}

type answerer struct {
	Role string `json:"role"`
	Node string `json:"node"`
}

type rejected struct {
	answerer
	Error string `json:"error"`
}

func newWaited() *waited {
	return &waited{Applied: []answerer{}, Rejected: []rejected{}, Unanswered: []answerer{}}
}

// judge sorts the live processes that read a document by their answers.
func judge(members []etcd.Member, key string, revision int64) *waited {
	w := newWaited()
	for _, m := range members {
		var report app.Report
		if !m.Alive || json.Unmarshal(m.Data, &report) != nil || !slices.Contains(report.Keys, key) {
			continue
		}
		p := answerer{m.Role, m.Name}
		switch answer := report.Answered(key, revision); {
		case answer == app.Applied && report.RunsCanary(key):
			w.Canary = append(w.Canary, p)
		case answer == app.Applied:
			w.Applied = append(w.Applied, p)
		case answer == app.Rejected:
			w.Rejected = append(w.Rejected, rejected{p, report.Config.Error})
		default:
			w.Unanswered = append(w.Unanswered, p)
		}
	}
	return w
}

func (w *waited) String() string {
	all := w.all()
	s := fmt.Sprintf("applied by %d of %d", len(w.Applied), all)
	if len(w.Rejected) > 0 {
		s += fmt.Sprintf(", rejected by %d", len(w.Rejected))
	}
	if len(w.Canary) > 0 {
		s += fmt.Sprintf("; a canary stands in its place on %d", len(w.Canary))
	}
	return s
}

func (w *waited) all() int {
	return len(w.Applied) + len(w.Rejected) + len(w.Unanswered) + len(w.Canary)
}

// errRejected says that a change is not in force everywhere.
var errRejected = errors.New("not every process has applied the change")

// await follows the fleet until every live process that reads the document has
// answered, and says what became of the change.
func (c *changing) await(revision int64) (*waited, error) {
	key := c.base.Etcd.Key(c.document)
	return c.follow(func(members []etcd.Member) *waited { return judge(members, key, revision) })
}

// follow waits until nobody's answer is missing.
func (c *changing) follow(judge func([]etcd.Member) *waited) (*waited, error) {
	ctx, cancel := interrupted(c.cmd)
	defer cancel()
	if c.patience > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.patience)
		defer stop()
	}
	progress := c.cmd.ErrOrStderr()
	shows := onTerminal(progress)
	var last *waited
	err := c.store.FollowFleet(ctx, func(members []etcd.Member) bool {
		last = judge(members)
		if shows {
			fmt.Fprintf(progress, "\r\x1b[K%s", last)
		}
		return len(last.Unanswered) == 0
	})
	if shows {
		fmt.Fprint(progress, "\r\x1b[K")
	}
	if last == nil {
		return nil, fmt.Errorf("wait for the fleet: %w", err)
	}
	if *c.output == "text" {
		last.print(c.cmd.OutOrStdout())
	}
	switch {
	case len(last.Unanswered) > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return last, fmt.Errorf("%d did not answer within %s", len(last.Unanswered), c.patience.Round(time.Millisecond))
	case len(last.Unanswered) > 0:
		return last, fmt.Errorf("wait for the fleet: %w", err)
	case len(last.Rejected) > 0:
		return last, errRejected
	}
	return last, nil
}

func (w *waited) print(out io.Writer) {
	if w.all() == 0 {
		fmt.Fprintln(out, "no live process reads it")
		return
	}
	fmt.Fprintln(out, w)
	t := newTable(out, "ROLE", "NODE", "ANSWER")
	for _, p := range w.Rejected {
		t.AppendRow([]any{oneLine(p.Role), oneLine(p.Node), "rejected: " + oneLine(p.Error)})
	}
	for _, p := range w.Unanswered {
		t.AppendRow([]any{oneLine(p.Role), oneLine(p.Node), "no answer yet"})
	}
	if t.Length() > 0 {
		t.Render()
	}
}
