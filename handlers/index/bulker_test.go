package index

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func index(t testing.TB, b *Bulker, p *logs.Poll) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := b.Index(ctx, p)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	return err
}

func TestIndexStoresAndSettles(t *testing.T) {
	s := newSink(t)
	b := startBulker(t, testClient(t, s.URL), testRoute())
	p := makePoll(numbered(0, 250)...)
	require.NoError(t, index(t, b, p))
	require.Zero(t, p.Pending())
	require.Equal(t, 250, s.count())
	for _, n := range s.requests {
		require.LessOrEqual(t, n, 100)
	}

	again := makePoll(numbered(0, 250)...)
	require.NoError(t, index(t, b, again), "a conflict is success")
	require.Zero(t, again.Pending())
	require.Equal(t, 250, s.count())
	stats := b.Stats()
	require.Equal(t, int64(250), stats.Stored)
	require.Equal(t, int64(250), stats.Conflicts)
	require.Empty(t, stats.LastError)
}

func TestIndexSendsOnlyPending(t *testing.T) {
	s := newSink(t)
	b := startBulker(t, testClient(t, s.URL), testRoute())
	p := makePoll(numbered(0, 10)...)
	for i := range 9 {
		p.Settle(i)
	}
	require.NoError(t, index(t, b, p))
	require.Equal(t, 1, s.count())
	require.NoError(t, index(t, b, p))
	require.Equal(t, []int{1}, s.requests)
}

func TestIndexGathersPolls(t *testing.T) {
	s := newSink(t)
	block := make(chan struct{})
	s.set(func(http.ResponseWriter, *http.Request, []doc) bool { <-block; return false }, nil)
	route := testRoute()
	route.Batch.MaxWait = config.Duration(time.Hour)
	b := startBulker(t, testClient(t, s.URL), route)

	var all sync.WaitGroup
	ask := func(from, n int) {
		all.Go(func() {
			p := makePoll(numbered(from, n)...)
			for i := range p.Records {
				p.Records[i].Meta.File = fmt.Appendf(nil, "file %d", from)
			}
			require.NoError(t, index(t, b, p))
		})
	}
	ask(0, 1) // is sent at once, since nothing is under way
	under := func(n int) func() bool {
		return func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.active == n
		}
	}
	require.Eventually(t, under(1), 5*time.Second, time.Millisecond)
	for i := range 10 {
		ask(1000+10*i, 10) // waits until it is full
	}
	require.Eventually(t, under(2), 5*time.Second, time.Millisecond)
	for i := range 5 {
		ask(2000+10*i, 10)
	}
	require.Eventually(t, func() bool { return b.Stats().Queued == 50 }, 5*time.Second, time.Millisecond)
	close(block)
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, []int{1, 100, 50}, s.requests)
	require.Equal(t, 2, s.most)
}

func TestIndexBoundsBodies(t *testing.T) {
	s := newSink(t)
	route := testRoute()
	route.Batch.MaxBytes = 8 << 10
	b := startBulker(t, testClient(t, s.URL), route)
	lines := numbered(0, 200)
	lines[50] = strings.Repeat("\x01", 5000) // escaped, six times as long: beyond the limit alone
	lines[60] = strings.Repeat("x", 7000)
	require.NoError(t, index(t, b, makePoll(lines...)))
	require.Equal(t, 200, s.count())
	over := 0
	for i, size := range s.sizes {
		if size > 8<<10 {
			over++
			require.Equal(t, 1, s.requests[i])
		}
	}
	require.Equal(t, 1, over)
}

func TestIndexLeavesWithItsContext(t *testing.T) {
	s := newSink(t)
	hang := make(chan struct{})
	s.set(func(_ http.ResponseWriter, r *http.Request, _ []doc) bool { <-hang; return false }, nil)
	defer close(hang)
	b := startBulker(t, testClient(t, s.URL), testRoute())
	p := makePoll(numbered(0, 10)...)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.Index(ctx, p), context.DeadlineExceeded)
	require.Equal(t, 10, p.Pending())
	clear(p.Records) // its owner may use it for something else now
}

func TestRunStopsWhileTheSinkHangs(t *testing.T) {
	s := newSink(t)
	hang := make(chan struct{})
	s.set(func(http.ResponseWriter, *http.Request, []doc) bool { <-hang; return false }, nil)
	defer close(hang)
	route := testRoute()
	route.Batch.InFlight = 1
	b, err := NewBulker(testClient(t, s.URL), route, BulkerOptions{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	answers := make(chan error, 3)
	for i := range 3 {
		go func() { answers <- b.Index(context.Background(), makePoll(numbered(i, 150)...)) }()
	}
	require.Eventually(t, func() bool { return b.Stats().InFlight == 1 }, 5*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	for range 3 {
		require.Equal(t, logs.Stopped, logs.KindOf(<-answers))
	}
	require.Equal(t, logs.Stopped, logs.KindOf(b.Index(context.Background(), makePoll("x"))))
	require.Error(t, b.Update(context.Background(), testRoute()))
}

func TestUpdate(t *testing.T) {
	s := newSink(t)
	b := startBulker(t, testClient(t, s.URL), testRoute())
	require.NoError(t, index(t, b, makePoll("a")))
	route := testRoute()
	route.Index = "Bad Name"
	require.Error(t, b.Update(context.Background(), route))
	require.NoError(t, index(t, b, makePoll("b")))
	route.Index = "other"
	require.NoError(t, b.Update(context.Background(), route))
	require.NoError(t, index(t, b, makePoll("c")))
	names := map[string]int{}
	for key := range s.stored {
		name, _, _ := strings.Cut(key, "/")
		names[name]++
	}
	require.Equal(t, map[string]int{"web_log": 2, "other": 1}, names)
}

// verdictsOf counts the kinds of a poll's failures.
func verdictsOf(err error) map[logs.Kind]int {
	kinds := map[logs.Kind]int{}
	var batch *logs.BatchError
	if errors.As(err, &batch) {
		for _, f := range batch.Failures() {
			kinds[logs.KindOf(f.Err)]++
		}
	}
	return kinds
}

// TestFaults gives ten documents to a sink that does something to them, then
// to the same sink in good health, and counts.
func TestFaults(t *testing.T) {
	answer := func(status int, body string) func(http.ResponseWriter, *http.Request, []doc) bool {
		return func(w http.ResponseWriter, _ *http.Request, _ []doc) bool {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	only := func(bad string, item string) func(doc) string {
		return func(d doc) string {
			if d.message() == bad {
				return item
			}
			return ""
		}
	}
	elastic := func(kind, reason string) string {
		return fmt.Sprintf(`{"error":{"root_cause":[],"type":%q,"reason":%q},"status":0}`, kind, reason)
	}
	for name, test := range map[string]struct {
		script func(http.ResponseWriter, *http.Request, []doc) bool
		judge  func(doc) string

		all    logs.Kind // of the whole error, when nothing is stored
		stored int
		kinds  map[logs.Kind]int
		text   string
	}{
		"reset": {script: func(w http.ResponseWriter, _ *http.Request, _ []doc) bool {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
			return true
		}, all: logs.Unavailable, text: "post _bulk to http://"},
		"401":                {script: answer(401, elastic("security_exception", "unable to authenticate user")), all: logs.Unavailable, text: "unable to authenticate"},
		"403":                {script: answer(403, elastic("security_exception", "action is unauthorized")), all: logs.Unavailable, text: "unauthorized"},
		"404":                {script: answer(404, elastic("index_not_found_exception", "no such index")), all: logs.Unavailable, text: "no such index"},
		"moved":              {script: answer(302, "<a href=x>"), all: logs.Unavailable},
		"429":                {script: answer(429, elastic("es_rejected_execution_exception", "rejected execution")), all: logs.Transient, text: "rejected execution"},
		"500":                {script: answer(500, "oops"), all: logs.Transient, text: "500 Internal Server Error: oops"},
		"503":                {script: answer(503, ""), all: logs.Transient, text: "503"},
		"html":               {script: answer(200, "<html><body>Welcome to \x1b[31mnginx</body></html>"), all: logs.Transient, text: "Welcome to [31mnginx"},
		"empty":              {script: answer(200, ""), all: logs.Transient, text: "cannot be read"},
		"no items":           {script: answer(200, `{"took":3}`), all: logs.Transient, text: "no items"},
		"fewer items":        {script: answer(200, `{"errors":false,"items":[`+strings.Repeat(`{"create":{"status":201}},`, 8)+`{"create":{"status":201}}]}`), all: logs.Transient, text: "9 items for 10"},
		"more items":         {script: answer(200, `{"errors":false,"items":[`+strings.Repeat(`{"create":{"status":201}},`, 10)+`{"create":{"status":201}}]}`), all: logs.Transient, text: "11 items for 10"},
		"cut":                {script: answer(200, `{"errors":false,"items":[`+strings.Repeat(`{"create":{"status":201}},`, 9)+`{"create":{"sta`), all: logs.Transient},
		"items without word": {script: answer(200, `{"items":[{},{},{},{},{},{},{},{},{},{}]}`), all: logs.Transient},
		"400 for everybody":  {script: answer(400, elastic("parsing_exception", "no")), all: logs.Unavailable, text: "400"},
		"400 for one": {script: func(w http.ResponseWriter, _ *http.Request, docs []doc) bool {
			for _, d := range docs {
				if d.message() == "line 0" {
					return answer(400, elastic("x_content_parse_exception", "line 0 it is"))(w, nil, nil)
				}
			}
			return false
		}, stored: 9, kinds: map[logs.Kind]int{logs.Permanent: 1}, text: "line 0 it is"},
		"413": {script: func(w http.ResponseWriter, _ *http.Request, docs []doc) bool {
			return len(docs) > 3 && answer(413, "")(w, nil, nil)
		}, stored: 10},
		"413 for one": {script: func(w http.ResponseWriter, _ *http.Request, docs []doc) bool {
			for _, d := range docs {
				if d.message() == "line 7" {
					return answer(413, "")(w, nil, nil)
				}
			}
			return false
		}, stored: 9, kinds: map[logs.Kind]int{logs.Permanent: 1}, text: "Request Entity Too Large"},
		"mapping conflict":    {judge: only("line 3", itemText(400, "mapper_parsing_exception", "failed to parse field [code]")), stored: 9, kinds: map[logs.Kind]int{logs.Permanent: 1}, text: "failed to parse field"},
		"429 for one":         {judge: only("line 3", itemText(429, "es_rejected_execution_exception", "rejected")), stored: 9, kinds: map[logs.Kind]int{logs.Transient: 1}},
		"503 for one":         {judge: only("line 3", itemText(503, "unavailable_shards_exception", "primary shard is not active")), stored: 9, kinds: map[logs.Kind]int{logs.Transient: 1}},
		"read only":           {judge: only("line 3", itemText(403, "cluster_block_exception", "index [web_log] blocked by: [FORBIDDEN/8/index write (api)];")), stored: 9, kinds: map[logs.Kind]int{logs.Unavailable: 1}, text: "index write (api)"},
		"disk full":           {judge: only("line 3", itemText(429, "cluster_block_exception", "disk usage exceeded flood-stage watermark")), stored: 9, kinds: map[logs.Kind]int{logs.Unavailable: 1}},
		"item 403":            {judge: only("line 3", itemText(403, "security_exception", "current license is non-compliant")), stored: 9, kinds: map[logs.Kind]int{logs.Unavailable: 1}},
		"index missing":       {judge: only("line 3", itemText(404, "index_not_found_exception", "no such index [web_log] and [action.auto_create_index] is [false]")), stored: 9, kinds: map[logs.Kind]int{logs.Unavailable: 1}},
		"index closed":        {judge: only("line 3", itemText(400, "index_closed_exception", "closed")), stored: 9, kinds: map[logs.Kind]int{logs.Unavailable: 1}},
		"shard limit":         {judge: only("line 3", itemText(400, "validation_exception", "this action would add [2] shards, but this cluster currently has [1000]/[1000] maximum normal shards open;")), stored: 9, kinds: map[logs.Kind]int{logs.Unavailable: 1}},
		"failure store":       {judge: only("line 3", `{"create":{"status":201,"failure_store":"used"}}`), stored: 9, kinds: map[logs.Kind]int{logs.Permanent: 1}},
		"item without status": {judge: only("line 3", `{"create":{}}`), stored: 9, kinds: map[logs.Kind]int{logs.Transient: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t)
			s.set(test.script, test.judge)
			b := startBulker(t, testClient(t, s.URL), testRoute())
			p := makePoll(numbered(0, 10)...)
			err := index(t, b, p)
			require.Equal(t, test.stored, s.count())
			require.Equal(t, 10-test.stored, p.Pending(), "just what was stored is settled")
			if test.stored < 10 {
				require.Error(t, err)
				require.Contains(t, err.Error(), test.text)
				require.Contains(t, b.Stats().LastError, test.text)
			}
			if test.stored == 0 {
				require.Equal(t, test.all, logs.KindOf(err), err)
			} else if test.kinds != nil {
				require.Equal(t, test.kinds, verdictsOf(err))
			}
			for _, n := range s.requests {
				require.NotZero(t, n)
			}

			s.set(nil, nil)
			before := len(s.requests)
			require.NoError(t, index(t, b, p))
			require.Equal(t, 10, s.count())
			again := 0
			for _, n := range s.requests[before:] {
				again += n
			}
			require.Equal(t, 10-test.stored, again, "only what failed is sent again")
			require.Empty(t, b.Stats().Held)
		})
	}
}

// TestRefusalsThatEndInBetween: a sink that refuses every request for a moment
// makes no document poison, though it takes some of the same request later.
func TestRefusalsThatEndInBetween(t *testing.T) {
	for refusals := 1; refusals < 8; refusals++ {
		s := newSink(t)
		left := refusals
		s.set(func(w http.ResponseWriter, _ *http.Request, docs []doc) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if left--; left < 0 {
				return false
			}
			w.WriteHeader(http.StatusBadRequest)
			return true
		}, func(d doc) string {
			if d.message() == "line 9" {
				return itemText(400, "mapper_parsing_exception", "failed to parse")
			}
			return ""
		})
		route := testRoute()
		route.Poison.OnReject = "rescue"
		b := startBulker(t, testClient(t, s.URL), route)
		p := makePoll(numbered(0, 10)...)
		p.Records[9].Value = []byte(`{"message":"line 9","bad":1}`)
		err := index(t, b, p)
		for ; logs.KindOf(err) == logs.Unavailable; err = index(t, b, p) {
			require.Empty(t, verdictsOf(err)[logs.Permanent], err)
		}
		require.Equal(t, map[logs.Kind]int{logs.Permanent: 1}, verdictsOf(err), "after %d", refusals)
		require.Equal(t, 9, s.count())
	}
}

func TestConnectionRefused(t *testing.T) {
	s := newSink(t)
	url := s.URL
	s.Close()
	b := startBulker(t, testClient(t, url), testRoute())
	p := makePoll("a", "b")
	err := index(t, b, p)
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	require.ErrorContains(t, err, "post _bulk to "+url)
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, 2, p.Pending())
	require.Contains(t, b.Stats().Held, "connection refused")
}

func TestHangingRequestsEnd(t *testing.T) {
	s := newSink(t)
	hang := make(chan struct{})
	defer close(hang)
	s.set(func(http.ResponseWriter, *http.Request, []doc) bool { <-hang; return false }, nil)
	c := testClient(t, s.URL)
	c.timeout = 50 * time.Millisecond
	b := startBulker(t, c, testRoute())
	p := makePoll("a")
	err := index(t, b, p)
	require.Equal(t, logs.Unavailable, logs.KindOf(err), "a sink that hangs is no verdict and no stop")
	require.ErrorContains(t, err, "no answer within 50ms")
	require.Equal(t, 1, p.Pending())
}

// TestTooLargeAndGone has a sink that refuses large requests and hangs up
// without reading them, so that its answer rarely arrives.
func TestTooLargeAndGone(t *testing.T) {
	s := newSink(t)
	const limit = 1 << 20
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength <= limit {
			s.ServeHTTP(w, r)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = conn.Write([]byte("HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			_ = conn.Close()
		}
	}))
	t.Cleanup(front.Close)
	route := testRoute()
	route.Batch.MaxBytes = 32 << 20
	b := startBulker(t, testClient(t, front.URL), route)
	lines := make([]string, 60)
	for i := range lines {
		lines[i] = fmt.Sprintf("%d %s", i, strings.Repeat("x", 250_000))
	}
	p := makePoll(lines...)
	for index(t, b, p) != nil {
	}
	require.Equal(t, 60, s.count())
}

func TestRetryAfterReachesTheCaller(t *testing.T) {
	s := newSink(t)
	s.set(func(w http.ResponseWriter, _ *http.Request, _ []doc) bool {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}, nil)
	b := startBulker(t, testClient(t, s.URL), testRoute())
	err := index(t, b, makePoll("a"))
	var pause interface{ RetryAfter() time.Duration }
	require.ErrorAs(t, err, &pause)
	require.Equal(t, 7*time.Second, pause.RetryAfter())
}

func TestGuardHoldsAndHeals(t *testing.T) {
	s := newSink(t)
	s.set(nil, func(doc) string { return itemText(400, "strict_dynamic_mapping_exception", "not allowed") })
	b := startBulker(t, testClient(t, s.URL), testRoute())
	bad := makePoll(numbered(0, 100)...)
	err := index(t, b, bad)
	require.Equal(t, map[logs.Kind]int{logs.Unavailable: 100}, verdictsOf(err), "no flood of letters")
	require.ErrorContains(t, err, "holding, 100 of the last 100 documents were refused: status 400: strict_dynamic_mapping_exception: not allowed")
	require.Contains(t, b.Stats().Held, "holding")

	s.set(nil, func(d doc) string {
		if d.message() == "line 5" {
			return itemText(400, "mapper_parsing_exception", "bad")
		}
		return ""
	})
	for from := 1000; verdictsOf(err)[logs.Permanent] == 0; from += 100 {
		require.Less(t, from, 2000)
		require.NoError(t, index(t, b, makePoll(numbered(from, 100)...)))
		err = index(t, b, bad)
	}
	require.Equal(t, map[logs.Kind]int{logs.Permanent: 1}, verdictsOf(err))
	require.Equal(t, 1, bad.Pending())
}

func TestFirstBadLinesAreNotHeld(t *testing.T) {
	s := newSink(t)
	s.set(nil, func(doc) string { return itemText(400, "mapper_parsing_exception", "bad") })
	b := startBulker(t, testClient(t, s.URL), testRoute())
	require.Equal(t, map[logs.Kind]int{logs.Permanent: 1}, verdictsOf(index(t, b, makePoll("x"))))
}

func TestForbiddenIndexIsARefusal(t *testing.T) {
	s := newSink(t)
	route := testRoute()
	route.Index = "{topic}"
	b, err := NewBulker(testClient(t, s.URL), route, BulkerOptions{AllowedIndices: []string{"shop_*"}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	p := makePoll("a", "b")
	p.Records[1].Topic = "shop_log"
	err = index(t, b, p)
	require.Equal(t, map[logs.Kind]int{logs.Permanent: 1}, verdictsOf(err))
	require.ErrorContains(t, err, `allowed_indices does not list "web_log"`)
	require.Equal(t, 1, s.count())
	cancel()
	require.NoError(t, <-ended)
}

func TestManyCallersLoseNothing(t *testing.T) {
	s := newSink(t)
	turn := 0
	s.set(func(w http.ResponseWriter, _ *http.Request, docs []doc) bool {
		s.mu.Lock()
		turn++
		now := turn
		s.mu.Unlock()
		switch now % 7 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		case 3:
			for _, d := range docs {
				s.keep(d)
			}
			fmt.Fprint(w, `{"errors":false,"items":[`)
			return true
		}
		return false
	}, nil)
	route := testRoute()
	route.Batch.MaxDocs = 37
	route.Batch.InFlight = 4
	b := startBulker(t, testClient(t, s.URL), route)
	var all sync.WaitGroup
	for from := range 20 {
		all.Go(func() {
			p := makePoll(numbered(from*1000, 90)...)
			for i := range p.Records {
				p.Records[i].Meta.File = fmt.Appendf(nil, "file %d", from)
			}
			for index(t, b, p) != nil {
			}
			require.Zero(t, p.Pending())
		})
	}
	all.Wait()
	require.Equal(t, 20*90, s.count())
	require.LessOrEqual(t, s.most, 4)
}
