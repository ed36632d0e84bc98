package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

// Store reads and writes the live documents, their history and the reports of
// the fleet, for people's commands. Its methods may be called from any
// goroutine; each call to etcd ends after 5 s.
type Store struct {
	cfg    config.Etcd
	client *clientv3.Client
}

// Open returns a Store of the etcd of cfg, or why that cannot be reached. The
// caller closes it. It ends with ctx.
func Open(ctx context.Context, cfg config.Etcd) (*Store, error) {
	if err := reach(ctx, cfg); err != nil {
		return nil, fmt.Errorf("reach etcd: %w", err)
	}
	client, err := Client(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("log in to etcd: %w", explain(err))
	}
	return &Store{cfg, client}, nil
}

// Close gives the connection back.
func (s *Store) Close() error { return s.client.Close() }

// Change is a new form of a document.
type Change struct {
	// Document is its name, as config.CheckDocument wants it.
	Document string
	// Data are its bytes; Delete takes the document away instead.
	Data   []byte
	Delete bool
	// Expect is the revision that the change was made from, 0 for no document.
	Expect int64
	// Author, Message and Time are kept with it.
	Author, Message string
	Time            time.Time
}

// ConflictError says that a document is not at the revision that a change was
// made from. Nothing was written.
type ConflictError struct {
	Document string
	// Expected and Found are revisions; 0 is no document.
	Expected, Found int64
}

// Error names both revisions.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s was changed by somebody else: it is at revision %d, and the change was made from %d", e.Document, e.Found, e.Expected)
}

// Get returns a document as it is now, or nil when it is absent.
func (s *Store) Get(ctx context.Context, document string) (*config.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.client.Get(ctx, s.cfg.Key(document))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", document, explain(err))
	}
	for _, kv := range answer.Kvs {
		return &config.Document{Key: string(kv.Key), Data: kv.Value, Revision: kv.ModRevision}, nil
	}
	return nil, nil
}

// Documents returns the names of the documents that are there, sorted.
func (s *Store) Documents(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var names []string
	for _, r := range []struct {
		key     string
		options []clientv3.OpOption
	}{
		{s.cfg.Key("agent"), nil},
		{s.cfg.Key("agent/"), []clientv3.OpOption{clientv3.WithPrefix()}},
		{s.cfg.SeedKey, nil},
		{s.cfg.Key("transfer"), nil},
	} {
		if r.key == "" {
			continue
		}
		answer, err := s.client.Get(ctx, r.key, append(r.options, clientv3.WithKeysOnly())...)
		if err != nil {
			return nil, fmt.Errorf("list documents: %w", explain(err))
		}
		for _, kv := range answer.Kvs {
			name := strings.TrimPrefix(string(kv.Key), s.cfg.Prefix+"/")
			if string(kv.Key) == s.cfg.SeedKey {
				name = "seed"
			}
			if config.CheckDocument(name) == nil {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// Inputs returns the documents that define inputs, by name: agent, and those of
// labels and nodes.
func (s *Store) Inputs(ctx context.Context) (map[string]*config.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.client.Txn(ctx).Then(
		clientv3.OpGet(s.cfg.Key("agent")),
		clientv3.OpGet(s.cfg.Key("agent/"), clientv3.WithPrefix()),
	).Commit()
	if err != nil {
		return nil, fmt.Errorf("read documents: %w", explain(err))
	}
	docs := map[string]*config.Document{}
	for _, r := range answer.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			name := strings.TrimPrefix(string(kv.Key), s.cfg.Prefix+"/")
			if config.CheckDocument(name) == nil {
				docs[name] = &config.Document{Key: string(kv.Key), Data: kv.Value, Revision: kv.ModRevision}
			}
		}
	}
	return docs, nil
}

// Put writes a change and its entry in the history in one transaction, and
// returns its revision. The error is *ConflictError when the document is not
// at c.Expect; after any other, History says whether it was written.
func (s *Store) Put(ctx context.Context, c Change) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := s.cfg.Key(c.Document)
	if key == "" {
		return 0, errors.New("etcd.seed_key is empty: there is no seed")
	}
	history := s.history(c.Document)
	current, newest, err := s.tip(ctx, key, history)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", c.Document, explain(err))
	}
	if found := revisionOf(current); found != c.Expect {
		return 0, &ConflictError{c.Document, c.Expect, found}
	}
	number, ops := s.change(c, key, history, current, newest)
	answer, err := s.client.Txn(ctx).If(
		clientv3.Compare(clientv3.ModRevision(key), "=", c.Expect),
		clientv3.Compare(clientv3.CreateRevision(history.key(number)), "=", 0),
	).Then(ops...).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", c.Document, explain(err))
	}
	if !answer.Succeeded {
		return 0, conflict(c.Document, c.Expect, answer.Responses[0])
	}
	return answer.Header.Revision, nil
}

func conflict(document string, expected int64, found *etcdserverpb.ResponseOp) error {
	e := &ConflictError{Document: document, Expected: expected}
	for _, kv := range found.GetResponseRange().Kvs {
		e.Found = kv.ModRevision
	}
	return e
}

// change returns what puts a change, and the number of its entry in the history.
func (s *Store) change(c Change, key string, h history, current *config.Document, newest Revision) (int64, []clientv3.Op) {
	number := newest.number
	var ops []clientv3.Op
	if current != nil && newest.Revision != current.Revision {
		// Another program put it: without this, nobody could go back to it.
		number++
		ops = append(ops, h.put(number, Revision{Revision: current.Revision, Message: outside, Data: current.Data}))
	}
	number++
	ops = append(ops, h.put(number, Revision{Author: c.Author, Message: c.Message, Time: c.Time, Deleted: c.Delete, Data: c.Data}))
	if c.Delete {
		ops = append(ops, clientv3.OpDelete(key))
	} else {
		ops = append(ops, clientv3.OpPut(key, string(c.Data)))
	}
	if number > keepRevisions {
		ops = append(ops, h.prune(number-keepRevisions))
	}
	return number, ops
}

// tip returns a document and the newest entry of its history, of one revision.
func (s *Store) tip(ctx context.Context, key string, h history) (*config.Document, Revision, error) {
	answer, err := s.client.Txn(ctx).Then(clientv3.OpGet(key), h.last()).Commit()
	if err != nil {
		return nil, Revision{}, err
	}
	var current *config.Document
	for _, kv := range answer.Responses[0].GetResponseRange().Kvs {
		current = &config.Document{Key: key, Data: kv.Value, Revision: kv.ModRevision}
	}
	for _, kv := range answer.Responses[1].GetResponseRange().Kvs {
		newest, err := h.read(kv)
		return current, newest, err
	}
	return current, Revision{}, nil
}

func revisionOf(doc *config.Document) int64 {
	if doc == nil {
		return 0
	}
	return doc.Revision
}
