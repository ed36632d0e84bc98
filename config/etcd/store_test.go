package etcd

import (
	"context"
	cryptorand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

func openStore(t *testing.T, cfg config.Etcd) *Store {
	t.Helper()
	// The client ends with its context: it must outlive the test's own.
	store, err := Open(context.WithoutCancel(t.Context()), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// change puts data as a document that is at a revision.
func change(t *testing.T, s *Store, document, data string, expect int64) int64 {
	t.Helper()
	revision, err := s.Put(t.Context(), Change{Document: document, Data: []byte(data), Expect: expect, Author: "a", Message: data})
	require.NoError(t, err)
	return revision
}

func TestStoreKeepsEveryRevisionByte(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	ctx := t.Context()
	doc, err := store.Get(ctx, "agent")
	require.NoError(t, err)
	require.Nil(t, doc)

	now := time.Now().UTC().Truncate(time.Second)
	forms := []string{"one", "two\r\n\x00\xff", "", "four"}
	var revisions []int64
	last := int64(0)
	for _, form := range forms {
		last, err = store.Put(ctx, Change{Document: "agent", Data: []byte(form), Expect: last, Author: "ann", Message: "m " + form[:min(3, len(form))], Time: now})
		require.NoError(t, err)
		revisions = append(revisions, last)
	}
	// Documents whose names begin like another's have histories of their own.
	change(t, store, "agent/nodes/1", "of a node", 0)
	change(t, store, "agent/labels/a=b", "of a label", 0)
	change(t, store, "seed", "[]", 0)

	doc, err = store.Get(ctx, "agent")
	require.NoError(t, err)
	require.Equal(t, last, doc.Revision, "an entry has the revision of its document")
	require.Equal(t, "four", string(doc.Data))

	// etcd forgets what it was, we do not.
	s.do(func(ctx context.Context, c *clientv3.Client) {
		answer, err := c.Get(ctx, "x")
		require.NoError(t, err)
		_, err = c.Compact(ctx, answer.Header.Revision, clientv3.WithCompactPhysical())
		require.NoError(t, err)
	})
	history, err := store.History(ctx, "agent")
	require.NoError(t, err)
	require.Len(t, history, 4)
	for i, r := range history {
		want := len(forms) - 1 - i
		require.Equal(t, revisions[want], r.Revision)
		require.Equal(t, forms[want], string(r.Data))
		require.Equal(t, "ann", r.Author)
		require.Equal(t, now, r.Time)
	}
	r, err := store.Revision(ctx, "agent", revisions[1])
	require.NoError(t, err)
	require.Equal(t, forms[1], string(r.Data))
	_, err = store.Revision(ctx, "agent", 1_000_000)
	require.ErrorContains(t, err, "no revision 1000000")

	names, err := store.Documents(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"agent", "agent/labels/a=b", "agent/nodes/1", "seed"}, names)
}

func TestStoreDeletesAndBringsBack(t *testing.T) {
	t.Parallel()
	store := openStore(t, startServer(t).config())
	first := change(t, store, "transfer", "one", 0)
	gone, err := store.Put(t.Context(), Change{Document: "transfer", Delete: true, Expect: first})
	require.NoError(t, err)
	doc, err := store.Get(t.Context(), "transfer")
	require.NoError(t, err)
	require.Nil(t, doc)
	history, err := store.History(t.Context(), "transfer")
	require.NoError(t, err)
	require.True(t, history[0].Deleted)
	require.Equal(t, gone, history[0].Revision)
	change(t, store, "transfer", "one", 0)
	history, err = store.History(t.Context(), "transfer")
	require.NoError(t, err)
	require.Len(t, history, 3)
}

// What another program puts is no conflict to come, and can be gone back to.
func TestStoreAdoptsWhatAnotherProgramPut(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	s.put(agentKey, "by etcdctl")
	history, err := store.History(t.Context(), "agent")
	require.NoError(t, err)
	require.Len(t, history, 1)
	require.Equal(t, outside, history[0].Message)
	revision := history[0].Revision

	second := change(t, store, "agent", "ours", revision)
	s.put(agentKey, "by etcdctl again")
	doc, err := store.Get(t.Context(), "agent")
	require.NoError(t, err)
	change(t, store, "agent", "ours again", doc.Revision)
	history, err = store.History(t.Context(), "agent")
	require.NoError(t, err)
	var forms []string
	for _, r := range history {
		forms = append(forms, string(r.Data))
	}
	require.Equal(t, []string{"ours again", "by etcdctl again", "ours", "by etcdctl"}, forms)
	require.Equal(t, second, history[2].Revision)
	r, err := store.Revision(t.Context(), "agent", revision)
	require.NoError(t, err)
	require.Equal(t, "by etcdctl", string(r.Data))
}

func TestStoreKeepsTheLastHundred(t *testing.T) {
	t.Parallel()
	store := openStore(t, startServer(t).config())
	last := int64(0)
	for i := range keepRevisions + 20 {
		last = change(t, store, "agent", fmt.Sprint(i), last)
	}
	history, err := store.History(t.Context(), "agent")
	require.NoError(t, err)
	require.Len(t, history, keepRevisions)
	require.Equal(t, "20", string(history[keepRevisions-1].Data))
}

// Of many who change a document at once, each change is made from the one
// before it, and none is lost.
func TestStoreOfManyWriters(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const writers, each = 4, 10
	var conflicts atomic.Int64
	var wait sync.WaitGroup
	for range writers {
		store := openStore(t, s.config())
		wait.Go(func() {
			for done := 0; done < each; {
				doc, err := store.Get(t.Context(), "agent")
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(rand.N(5 * time.Millisecond))
				var before []byte
				if doc != nil {
					before = doc.Data
				}
				_, err = store.Put(t.Context(), Change{Document: "agent", Data: append(before, 'x'), Expect: revisionOf(doc)})
				if _, conflict := err.(*ConflictError); conflict {
					conflicts.Add(1)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				done++
			}
		})
	}
	wait.Wait()
	doc, err := openStore(t, s.config()).Get(t.Context(), "agent")
	require.NoError(t, err)
	require.Len(t, doc.Data, writers*each)
	require.Positive(t, conflicts.Load())
}

func TestStoreSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	revision := change(t, store, "agent", "one", 0)
	_, err := store.Put(t.Context(), Change{Document: "agent", Data: []byte("two"), Expect: revision - 1})
	require.Equal(t, &ConflictError{"agent", revision - 1, revision}, err)
	random := make([]byte, 800<<10) // does not shrink
	_, err = cryptorand.Read(random)
	require.NoError(t, err)
	_, err = store.Put(t.Context(), Change{Document: "agent", Data: random, Expect: revision})
	require.ErrorContains(t, err, "too large")

	noSeed := s.config()
	noSeed.SeedKey = ""
	_, err = openStore(t, noSeed).Put(t.Context(), Change{Document: "seed", Data: []byte("[]")})
	require.ErrorContains(t, err, "seed_key is empty")

	cfg := s.config()
	cfg.Endpoints = []string{"127.0.0.1:1"}
	_, err = Open(t.Context(), cfg)
	require.ErrorContains(t, err, "connection refused")
}
