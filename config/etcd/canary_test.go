package etcd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

const canaryKey = "/logferry/v1/canary/agent"

func newCanary(t *testing.T, document, data string, base int64, lasts time.Duration) *config.Canary {
	t.Helper()
	begun := time.Now().UTC().Truncate(time.Second)
	c, err := config.NewCanary(config.Canary{
		Document: document, Base: base, Select: config.Selector{Nodes: []string{"n"}}, Rule: config.DefaultRule(),
		Author: "ann", Message: "try it", Begun: begun, Until: begun.Add(lasts),
	}, []byte(data))
	require.NoError(t, err)
	return c
}

// begin puts a canary of the agents' document for ten minutes.
func begin(t *testing.T, s *Store, data string, base int64) Canary {
	t.Helper()
	c := newCanary(t, "agent", data, base, 10*time.Minute)
	revision, err := s.BeginCanary(t.Context(), c, []Subject{{Name: "n", Ready: true}})
	require.NoError(t, err)
	return Canary{Document: "agent", Revision: revision, Config: c}
}

func end(c Canary, how string) Outcome {
	return Outcome{Document: c.Document, Revision: c.Revision, How: how, Reason: "why", By: "bob", At: time.Now().UTC().Truncate(time.Second)}
}

func TestACanarysLife(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	ctx := t.Context()
	odd := "inputs: []\r\n# \x00\xff\t \n\n"
	base := change(t, store, "agent", odd, 0)
	list, err := store.Canaries(ctx)
	require.NoError(t, err)
	require.Empty(t, list)

	c := begin(t, store, "new", base)
	list, err = store.Canaries(ctx)
	require.NoError(t, err)
	require.Equal(t, []Canary{c}, list)
	subjects, err := store.Subjects(ctx, c)
	require.NoError(t, err)
	require.Equal(t, []Subject{{Name: "n", Ready: true}}, subjects)

	// One at a time, and from what the document is.
	_, err = store.BeginCanary(ctx, newCanary(t, "agent", "other", base, time.Minute), nil)
	require.IsType(t, &CanaryError{}, err)
	require.ErrorContains(t, err, "config canary --cancel --document agent")
	_, err = store.BeginCanary(ctx, newCanary(t, "transfer", "other", 77, time.Minute), nil)
	require.Equal(t, &ConflictError{"transfer", 77, 0}, err)

	// It ends once.
	o := end(c, TakenBack)
	o.Node, o.Under = "n", &Figures{RefusedShare: 0.5}
	require.NoError(t, store.EndCanary(ctx, o))
	require.ErrorIs(t, store.EndCanary(ctx, end(c, Cancelled)), ErrNoCanary)
	_, err = store.Promote(ctx, c, "m", end(c, Promoted))
	require.ErrorIs(t, err, ErrNoCanary)
	_, err = store.Subjects(ctx, c)
	require.ErrorIs(t, err, ErrNoCanary)
	outcomes, err := store.Outcomes(ctx)
	require.NoError(t, err)
	require.Equal(t, []Outcome{o}, outcomes)
	doc, err := store.Get(ctx, "agent")
	require.NoError(t, err)
	require.Equal(t, odd, string(doc.Data))

	// An end of an earlier one does not end the next.
	c = begin(t, store, "newer\x00\xff", base)
	require.ErrorIs(t, store.EndCanary(ctx, o), ErrNoCanary)
	revision, err := store.Promote(ctx, c, "it is good", end(c, Promoted))
	require.NoError(t, err)
	doc, err = store.Get(ctx, "agent")
	require.NoError(t, err)
	require.Equal(t, "newer\x00\xff", string(doc.Data))
	require.Equal(t, revision, doc.Revision)
	list, err = store.Canaries(ctx)
	require.NoError(t, err)
	require.Empty(t, list)

	// All of it is in the histories; the way back is to the byte.
	history, err := store.History(ctx, "agent")
	require.NoError(t, err)
	require.Len(t, history, 2)
	require.Equal(t, "it is good", history[0].Message)
	require.Equal(t, odd, string(history[1].Data))
	change(t, store, "agent", string(history[1].Data), revision)
	doc, err = store.Get(ctx, "agent")
	require.NoError(t, err)
	require.Equal(t, odd, string(doc.Data))
	var words []string
	history, err = store.History(ctx, CanaryHistory("agent"))
	require.NoError(t, err)
	for _, r := range history {
		words = append(words, fmt.Sprintf("%s %q %t", r.Message, r.Data, r.Deleted))
	}
	require.Equal(t, []string{`promoted: why "" true`, `try it "newer\x00\xff" false`, `taken back: why "" true`, `try it "new" false`}, words)
	names, err := store.Documents(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"agent"}, names)
}

func TestTheHistoryOfCanariesIsBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	for i := range keepRevisions {
		c := begin(t, store, fmt.Sprint(i), 0)
		require.NoError(t, store.EndCanary(t.Context(), end(c, Cancelled)))
	}
	history, err := store.History(t.Context(), CanaryHistory("agent"))
	require.NoError(t, err)
	require.Len(t, history, keepRevisions)
	require.Equal(t, "99", string(history[1].Data))
}

// Whoever is first, a put or a promotion: the other one is told, and changes nothing.
func TestAPromotionAndAPutAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	base, promoted := int64(0), 0
	for i := range 40 {
		c := begin(t, store, fmt.Sprint("canary ", i), base)
		var wait sync.WaitGroup
		var put, promotion int64
		var putErr, promoteErr error
		wait.Go(func() {
			time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond) // a promotion reads more before it writes
			put, putErr = store.Put(t.Context(), Change{Document: "agent", Data: []byte(fmt.Sprint("put ", i)), Expect: base})
		})
		wait.Go(func() { promotion, promoteErr = store.Promote(t.Context(), c, "m", end(c, Promoted)) })
		wait.Wait()
		doc, err := store.Get(t.Context(), "agent")
		require.NoError(t, err)
		if promoteErr == nil {
			promoted++
			require.IsType(t, &ConflictError{}, putErr)
			require.Equal(t, fmt.Sprint("canary ", i), string(doc.Data))
			base = promotion
		} else {
			require.NoError(t, putErr)
			require.Equal(t, &ConflictError{"agent", base, put}, promoteErr)
			require.Equal(t, fmt.Sprint("put ", i), string(doc.Data))
			base = put
			require.NoError(t, store.EndCanary(t.Context(), end(c, Cancelled)))
		}
		require.Equal(t, base, doc.Revision)
	}
	t.Logf("%d of 40 promotions were first", promoted)
}

func TestWatcherReadsCanaries(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	w := watch(t, s.config())
	w.holds(config.Docs.Empty)
	c := begin(t, store, "new", 0)
	w.holds(func(d config.Docs) bool { return len(d.Canaries) == 1 && d.Canaries[0].Revision == c.Revision })
	s.put(canaryKey, "\x00\xff"+strings.Repeat("x", 1400<<10))
	w.holds(func(d config.Docs) bool { return len(d.Canaries) == 1 && d.Canaries[0].Revision != c.Revision })
	published := w.pub.count()
	// What it is judged by concerns nobody else, and neither do other canaries.
	s.put("/logferry/v1/canary-state/subjects/agent", "x", "/logferry/v1/canary/agent/labels/a=b", "x")
	s.do(func(ctx context.Context, client *clientv3.Client) {
		_, err := client.Delete(ctx, canaryKey)
		require.NoError(t, err)
	})
	w.holds(config.Docs.Empty)
	require.Equal(t, published+1, w.pub.count())
}

// A canary that cannot be read is shown, and can be taken away.
func TestAFaultyCanaryIsTakenAway(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	for _, key := range []string{"agent", "agents", "seed", "agent/nodes/n"} {
		s.put("/logferry/v1/canary/"+key, "{}")
	}
	list, err := store.Canaries(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 4)
	for _, c := range list {
		require.ErrorContains(t, c.Err, "is not a canary")
		require.NoError(t, store.EndCanary(t.Context(), end(c, Cancelled)))
	}
	list, err = store.Canaries(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}

// A document of nearly a megabyte fits, as long as it shrinks.
func TestALargeCanary(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	large := strings.Repeat("# a comment\n", 80<<10)
	c := begin(t, store, large, 0)
	_, err := store.Promote(t.Context(), c, "m", end(c, Promoted))
	require.NoError(t, err)
	doc, err := store.Get(t.Context(), "agent")
	require.NoError(t, err)
	require.Equal(t, large, string(doc.Data))
}

func TestMembersByName(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	var names []string
	s.do(func(ctx context.Context, c *clientv3.Client) {
		for i := range 120 {
			name := fmt.Sprintf("n%03d", i)
			names = append(names, name)
			key := statusKey("/logferry/v1", "agent", name)
			if i%2 == 1 {
				key = lastKey("/logferry/v1", "agent", name)
			}
			_, err := c.Put(ctx, key, name)
			require.NoError(t, err)
		}
	})
	members, err := store.Members(t.Context(), "agent", append(names, "absent"))
	require.NoError(t, err)
	require.Len(t, members, 120)
	require.Equal(t, Member{"agent", "n003", false, []byte("n003")}, members[3])
	require.True(t, members[4].Alive)
	members, err = store.Members(t.Context(), "agent", nil)
	require.NoError(t, err)
	require.Empty(t, members)
}
