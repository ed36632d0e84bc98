package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

const blocked = "index [sick] blocked by: [FORBIDDEN/8/index write (api)];"

// refuse lets one index refuse everything.
func refuse(name string) func(doc) string {
	return func(d doc) string {
		if d.Index == name {
			return itemText(403, "cluster_block_exception", blocked)
		}
		return ""
	}
}

// spread returns a poll whose records go to the indices in turn.
func spread(file string, n int, indices ...string) *logs.Poll {
	p := makePoll(numbered(0, n)...)
	for i := range p.Records {
		p.Records[i].Topic = indices[i%len(indices)]
		p.Records[i].Meta.File = []byte(file)
	}
	return p
}

// TestHeldIndexLeavesOthersAlone: an index that refuses everything is asked
// once each open_for, its documents wait, and others of the same polls are
// stored meanwhile.
func TestHeldIndexLeavesOthersAlone(t *testing.T) {
	s := newSink(t)
	s.set(nil, refuse("sick"))
	var said bytes.Buffer
	route := testRoute()
	route.Index, route.Breaker.OpenFor = "{topic}", config.Duration(time.Hour)
	b, err := NewBulker(testClient(t, s.URL), route, BulkerOptions{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	defer stop()

	for i := range 5 {
		p := spread(fmt.Sprint("file ", i), 30, "sick", "well", "fine")
		err := index(t, b, p)
		require.Equal(t, map[logs.Kind]int{logs.Unavailable: 10}, verdictsOf(err))
		var held *logs.HeldError
		require.ErrorAs(t, err, &held)
		require.Equal(t, `index "sick"`, held.Part)
		require.Equal(t, 20*(i+1), s.count())
		require.Equal(t, 10, p.Pending())
	}
	require.Equal(t, []int{30, 20, 20, 20, 20}, s.requests, "the held index is not asked again")
	stats := b.Stats()
	require.Equal(t, 1, stats.HeldCount)
	require.Equal(t, "sick", stats.HeldIndices[0].Index)
	require.Contains(t, stats.HeldIndices[0].Reason, blocked)
	require.Contains(t, stats.Held, blocked)

	s.set(nil, nil)
	only := spread("only", 10, "sick")
	require.Error(t, index(t, b, only))
	for _, h := range b.held.all() {
		h.next.Store(0) // open_for has passed
	}
	require.NoError(t, index(t, b, only))
	require.Zero(t, b.Stats().HeldCount)
	require.Empty(t, b.Stats().Held)
	stop()
	require.Equal(t, 1, strings.Count(said.String(), "an index refuses documents"))
	require.Equal(t, 1, strings.Count(said.String(), "an index takes documents again"))
}

func TestHeldIndexIsAskedByOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{err: &logs.HeldError{Part: `index "x"`, Err: errors.New("no")}}
		h.next.Store(time.Now().Add(time.Second).UnixNano())
		all := map[string]*held{"x": h}
		first := gate{held: all, pause: time.Second}
		require.Error(t, first.closed([]byte("x")))
		require.NoError(t, first.closed([]byte("y")))
		time.Sleep(time.Second)
		require.NoError(t, first.closed([]byte("x")), "it asks")
		require.NoError(t, first.closed([]byte("x")), "with all its documents")
		second := gate{held: all, pause: time.Second}
		require.Error(t, second.closed([]byte("x")), "and nobody else does")
		time.Sleep(time.Second)
		require.NoError(t, second.closed([]byte("x")))
	})
}

func TestManyHeldIndicesAreBounded(t *testing.T) {
	s := newSink(t)
	s.set(nil, func(d doc) string { return itemText(404, "index_not_found_exception", "no such index ["+d.Index+"]") })
	route := testRoute()
	route.Index, route.Batch.MaxDocs = "{topic}", 5000
	b := startBulker(t, testClient(t, s.URL), route)
	var names []string
	for i := range maxHeld + 500 {
		names = append(names, fmt.Sprintf("index-%04d", i))
	}
	p := spread("f", len(names), names...)
	require.Equal(t, len(names), verdictsOf(index(t, b, p))[logs.Unavailable])
	stats := b.Stats()
	require.Equal(t, maxHeld, stats.HeldCount)
	require.Len(t, stats.HeldIndices, maxHeldListed)
	s.set(nil, nil)
	require.NoError(t, index(t, b, p))
	require.Zero(t, b.Stats().HeldCount)
}
