package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

// Canary is one that etcd holds.
type Canary struct {
	// Document is the name of the document that it stands for.
	Document string
	// Revision is etcd's revision of its put.
	Revision int64
	// Config is nil when Err says why it cannot be read.
	Config *config.Canary
	Err    error
}

// Counts are of one process, over all its inputs or routes.
type Counts struct {
	// Lines or records that were handled.
	Lines uint64 `json:"lines"`
	// Errors are attempts that failed.
	Errors uint64 `json:"errors"`
	// Refused are lines or records that were poisoned or dropped.
	Refused uint64 `json:"refused"`
}

// Minus returns what was counted since before.
func (c Counts) Minus(before Counts) Counts {
	return Counts{c.Lines - before.Lines, c.Errors - before.Errors, c.Refused - before.Refused}
}

// Plus returns the sum.
func (c Counts) Plus(more Counts) Counts {
	return Counts{c.Lines + more.Lines, c.Errors + more.Errors, c.Refused + more.Refused}
}

// Figures are what a rule compares.
type Figures struct {
	ErrorsPerMinute float64 `json:"errors_per_minute"`
	// RefusedShare is between 0 and 1.
	RefusedShare float64 `json:"refused_share"`
	// LagSeconds is the age of the oldest line that is behind, 0 when it is not known.
	LagSeconds float64 `json:"lag_seconds"`
}

// Subject is a process that was given a canary, as it was before.
type Subject struct {
	// Name is what it reports as.
	Name string `json:"name"`
	// Started says which process it was.
	Started time.Time `json:"started"`
	// Ready says that it did its work.
	Ready bool `json:"ready"`
	// Counts at that time, and Figures of the minutes before.
	Counts Counts  `json:"counts"`
	Before Figures `json:"before"`
}

// Ends of canaries.
const (
	Promoted  = "promoted"
	Cancelled = "cancelled"
	// TakenBack is by the rule, Ended by the time.
	TakenBack = "taken back"
	Ended     = "ended"
)

// Outcome is what became of a canary.
type Outcome struct {
	Document string `json:"document"`
	// Revision is the canary's, Promoted that of the document that it became.
	Revision int64 `json:"revision"`
	Promoted int64 `json:"promoted,omitempty"`
	// How it ended, and why, in words.
	How    string `json:"how"`
	Reason string `json:"reason"`
	// Node is the process that the rule failed for, with its figures.
	Node   string   `json:"node,omitempty"`
	Before *Figures `json:"before,omitempty"`
	Under  *Figures `json:"under,omitempty"`
	// Author and Message are the canary's, By is who ended it.
	Author  string    `json:"author,omitempty"`
	Message string    `json:"message,omitempty"`
	By      string    `json:"by"`
	Begun   time.Time `json:"begun,omitzero"`
	At      time.Time `json:"at"`
}

// What only those who end canaries read is apart from what each process does.
func (s *Store) subjectsKey(document string) string {
	return s.cfg.Key("canary-state/subjects/" + document)
}
func (s *Store) outcomeKey(document string) string {
	return s.cfg.Key("canary-state/outcome/" + document)
}
func guardKey(cfg *config.Etcd) string { return cfg.Key("canary-state/guard") }

// CanaryHistory is the name by which History knows the canaries of a document:
// each beginning with its bytes, and each end.
func CanaryHistory(document string) string { return "canary/" + document }

// ErrNoCanary says that a canary is not there, or not any more.
var ErrNoCanary = errors.New("there is no such canary any more")

// CanaryError says that there is a canary of the document already.
type CanaryError struct{ Document string }

// Error says what to do about it.
func (e *CanaryError) Error() string {
	return fmt.Sprintf("there is a canary of %s already; promote it, or take it back: logferry config canary --cancel --document %[1]s", e.Document)
}

// Canaries returns all that there are, by document.
func (s *Store) Canaries(ctx context.Context) ([]Canary, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	prefix := s.cfg.CanaryKey("")
	answer, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read the canaries: %w", explain(err))
	}
	var list []Canary
	for _, kv := range answer.Kvs {
		c := Canary{Document: strings.TrimPrefix(string(kv.Key), prefix), Revision: kv.ModRevision}
		c.Config, c.Err = config.ParseCanary(string(kv.Key), c.Document, kv.Value)
		list = append(list, c)
	}
	return list, nil
}

// Subjects returns the processes that a canary was given to, as they were before.
func (s *Store) Subjects(ctx context.Context, c Canary) ([]Subject, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := s.subjectsKey(c.Document)
	answer, err := s.client.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, explain(err))
	}
	if len(answer.Kvs) == 0 || answer.Kvs[0].ModRevision != c.Revision {
		return nil, ErrNoCanary
	}
	var list []Subject
	if err := json.Unmarshal(answer.Kvs[0].Value, &list); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return list, nil
}

// BeginCanary puts a canary, with the figures that it will be compared with,
// and returns its revision. The error is *CanaryError when there is one of the
// document, and *ConflictError when the document is not at the canary's base.
func (s *Store) BeginCanary(ctx context.Context, c *config.Canary, subjects []Subject) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, docKey, h := s.cfg.CanaryKey(c.Document), s.cfg.Key(c.Document), s.history(CanaryHistory(c.Document))
	_, newest, err := s.tip(ctx, key, h)
	if err != nil {
		return 0, fmt.Errorf("read the canary of %s: %w", c.Document, explain(err))
	}
	data, err := c.Data()
	if err != nil {
		return 0, err
	}
	number := newest.number + 1
	answer, err := s.client.Txn(ctx).If(
		clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
		clientv3.Compare(clientv3.ModRevision(docKey), "=", c.Base),
		clientv3.Compare(clientv3.CreateRevision(h.key(number)), "=", 0),
	).Then(
		clientv3.OpPut(key, encode(c)),
		clientv3.OpPut(s.subjectsKey(c.Document), encode(subjects)),
		h.put(number, Revision{Author: c.Author, Message: c.Message, Time: c.Begun, Data: data}),
		h.prune(max(number-keepRevisions, 0)),
	).Else(clientv3.OpGet(key, clientv3.WithKeysOnly()), clientv3.OpGet(docKey, clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return 0, fmt.Errorf("write the canary of %s: %w", c.Document, explain(err))
	}
	if answer.Succeeded {
		return answer.Header.Revision, nil
	}
	if len(answer.Responses[0].GetResponseRange().Kvs) > 0 {
		return 0, &CanaryError{c.Document}
	}
	return 0, conflict(c.Document, c.Base, answer.Responses[1])
}

// EndCanary takes a canary away and keeps the outcome, whose Document and
// Revision say which. The error is ErrNoCanary when it is not there any more.
func (s *Store) EndCanary(ctx context.Context, o Outcome) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, h := s.cfg.CanaryKey(o.Document), s.history(CanaryHistory(o.Document))
	_, newest, err := s.tip(ctx, key, h)
	if err != nil {
		return fmt.Errorf("read the canary of %s: %w", o.Document, explain(err))
	}
	answer, err := s.client.Txn(ctx).If(
		clientv3.Compare(clientv3.ModRevision(key), "=", o.Revision),
	).Then(s.end(o, h, newest)...).Commit()
	if err != nil {
		return fmt.Errorf("take back the canary of %s: %w", o.Document, explain(err))
	}
	if !answer.Succeeded {
		return ErrNoCanary
	}
	return nil
}

// end returns what ends a canary; that it is there must be compared.
func (s *Store) end(o Outcome, h history, newest Revision) []clientv3.Op {
	number := newest.number + 1
	message := o.How
	if o.Reason != "" {
		message += ": " + o.Reason
	}
	return []clientv3.Op{
		clientv3.OpDelete(s.cfg.CanaryKey(o.Document)),
		clientv3.OpDelete(s.subjectsKey(o.Document)),
		clientv3.OpPut(s.outcomeKey(o.Document), encode(o)),
		h.put(number, Revision{Author: o.By, Message: message, Time: o.At, Deleted: true}),
		h.prune(max(number-keepRevisions, 0)),
	}
}

// Promote makes a canary the document, byte for byte, and returns its
// revision. The error is ErrNoCanary when the canary is not there any more, and
// *ConflictError when the document was changed since. message is kept in the
// document's history, o as the outcome.
func (s *Store) Promote(ctx context.Context, c Canary, message string, o Outcome) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	data, err := c.Config.Data()
	if err != nil {
		return 0, err
	}
	key, canaryKey := s.cfg.Key(c.Document), s.cfg.CanaryKey(c.Document)
	h, canaries := s.history(c.Document), s.history(CanaryHistory(c.Document))
	current, newest, err := s.tip(ctx, key, h)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", c.Document, explain(err))
	}
	_, last, err := s.tip(ctx, canaryKey, canaries)
	if err != nil {
		return 0, fmt.Errorf("read the canary of %s: %w", c.Document, explain(err))
	}
	number, ops := s.change(Change{Document: c.Document, Data: data, Author: o.By, Message: message, Time: o.At}, key, h, current, newest)
	answer, err := s.client.Txn(ctx).If(
		clientv3.Compare(clientv3.ModRevision(canaryKey), "=", c.Revision),
		clientv3.Compare(clientv3.ModRevision(key), "=", c.Config.Base),
		clientv3.Compare(clientv3.CreateRevision(h.key(number)), "=", 0),
	).Then(append(ops, s.end(o, canaries, last)...)...).Else(
		clientv3.OpGet(canaryKey, clientv3.WithKeysOnly()), clientv3.OpGet(key, clientv3.WithKeysOnly()),
	).Commit()
	if err != nil {
		return 0, fmt.Errorf("promote the canary of %s: %w", c.Document, explain(err))
	}
	if answer.Succeeded {
		return answer.Header.Revision, nil
	}
	kvs := answer.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 || kvs[0].ModRevision != c.Revision {
		return 0, ErrNoCanary
	}
	return 0, conflict(c.Document, c.Config.Base, answer.Responses[1])
}

// Outcomes returns what became of the last canary of each document.
func (s *Store) Outcomes(ctx context.Context) ([]Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.client.Get(ctx, s.outcomeKey(""), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read what became of canaries: %w", explain(err))
	}
	var list []Outcome
	for _, kv := range answer.Kvs {
		var o Outcome
		if err := json.Unmarshal(kv.Value, &o); err != nil {
			return nil, fmt.Errorf("read %s: %w", kv.Key, err)
		}
		list = append(list, o)
	}
	return list, nil
}

// Guard returns the name of who watches over the canaries now, or "".
func (s *Store) Guard(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.client.Get(ctx, guardKey(&s.cfg))
	if err != nil {
		return "", fmt.Errorf("read who watches over canaries: %w", explain(err))
	}
	for _, kv := range answer.Kvs {
		return string(kv.Value), nil
	}
	return "", nil
}

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}
