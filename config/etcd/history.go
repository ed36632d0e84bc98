package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

const (
	// keepRevisions of each document are kept. At 4 KiB of YAML, which shrink
	// to 1 KiB, that is 100 KiB of etcd's 2 GiB for each document.
	keepRevisions = 100

	outside = "put by another program"
)

// Revision is one form that a document had.
type Revision struct {
	// Revision is etcd's revision of the transaction that put it.
	Revision int64 `json:"revision"`
	// Time, Author and Message are what the author's machine and the author
	// said; they are not known when another program put it.
	Time    time.Time `json:"time,omitzero"`
	Author  string    `json:"author"`
	Message string    `json:"message"`
	// Deleted says that from then on there was no document.
	Deleted bool `json:"deleted,omitempty"`
	// Data are the document's bytes.
	Data []byte `json:"-"`

	number int64
}

// history is where the revisions of one document are:
// <prefix>/history/<document>/<number>. They are keys of their own, since etcd
// forgets the earlier values of a key when it compacts. The number counts from
// 1; the revision of an entry is that of its key, since it is put in the same
// transaction as the document.
type history struct{ prefix string }

func (s *Store) history(document string) history {
	return history{s.cfg.Key("history/" + document + "/")}
}

// key has as many digits as an int64 can have, for keys are sorted as text.
func (h history) key(number int64) string { return h.prefix + fmt.Sprintf("%019d", number) }

// all are the entries of this document alone: those of agent/nodes/x begin with
// the same prefix as those of agent, but not with a digit.
func (h history) all() (from string, to clientv3.OpOption) {
	return h.prefix + "0", clientv3.WithRange(h.prefix + ":")
}

func (h history) last() clientv3.Op {
	from, to := h.all()
	return clientv3.OpGet(from, to, clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(1))
}

// prune deletes the entries up to number.
func (h history) prune(number int64) clientv3.Op {
	from, _ := h.all()
	return clientv3.OpDelete(from, clientv3.WithRange(h.key(number+1)))
}

// entry is the form in etcd.
type entry struct {
	Revision
	// Adopted is the revision of a document that another program put; 0 for
	// the revision of the entry itself.
	Adopted int64 `json:"adopted,omitempty"`
	// Gzip are the document's bytes.
	Gzip []byte `json:"gzip"`
}

func (h history) put(number int64, r Revision) clientv3.Op {
	value, err := json.Marshal(entry{Revision: r, Adopted: r.Revision, Gzip: config.Pack(r.Data)})
	if err != nil {
		panic(err)
	}
	return clientv3.OpPut(h.key(number), string(value))
}

func (h history) read(kv *mvccpb.KeyValue) (Revision, error) {
	var e entry
	err := json.Unmarshal(kv.Value, &e)
	if err == nil {
		e.Data, err = config.Unpack(e.Gzip)
	}
	if err == nil {
		e.number, err = strconv.ParseInt(strings.TrimPrefix(string(kv.Key), h.prefix), 10, 64)
	}
	if err != nil {
		return Revision{}, fmt.Errorf("read %s: %w", kv.Key, err)
	}
	e.Revision.Revision = kv.ModRevision
	if e.Adopted != 0 {
		e.Revision.Revision = e.Adopted
	}
	return e.Revision, nil
}

// History returns the revisions of a document that are kept, the newest first.
// A current form that another program has put is among them.
func (s *Store) History(ctx context.Context, document string) ([]Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	h := s.history(document)
	from, to := h.all()
	key := s.cfg.Key(document)
	gets := []clientv3.Op{clientv3.OpGet(from, to, clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))}
	if key != "" {
		gets = append(gets, clientv3.OpGet(key))
	}
	answer, err := s.client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", document, explain(err))
	}
	var revisions []Revision
	for _, kv := range answer.Responses[0].GetResponseRange().Kvs {
		r, err := h.read(kv)
		if err != nil {
			return nil, err
		}
		revisions = append(revisions, r)
	}
	for _, more := range answer.Responses[1:] {
		for _, kv := range more.GetResponseRange().Kvs {
			if len(revisions) == 0 || revisions[0].Revision != kv.ModRevision {
				revisions = slices.Insert(revisions, 0, Revision{Revision: kv.ModRevision, Message: outside, Data: kv.Value})
			}
		}
	}
	return revisions, nil
}

// Revision returns a document as it was at a revision of its history.
func (s *Store) Revision(ctx context.Context, document string, revision int64) (Revision, error) {
	all, err := s.History(ctx, document)
	if err != nil {
		return Revision{}, err
	}
	for _, r := range all {
		if r.Revision == revision {
			return r, nil
		}
	}
	return Revision{}, fmt.Errorf("%s has no revision %d among the last %d; see 'logferry config history %s'", document, revision, keepRevisions, document)
}
