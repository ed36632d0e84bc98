package index

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// simulation is a sink in virtual time: it serves up to capacity requests at
// once, each document takes perDoc, and what is more it refuses with 429.
type simulation struct {
	mu       sync.Mutex
	capacity int
	perDoc   time.Duration
	padding  int // of lines, bytes
	tooLarge int // bytes from which on a body is answered with 413

	active   int
	most     int
	refused  int
	docs     int
	requests []int // documents of each
}

func (s *simulation) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_ = r.Body.Close()
	n := strings.Count(string(body), "\n") / 2
	s.mu.Lock()
	s.requests = append(s.requests, n)
	busy, tooLarge, perDoc := s.active >= s.capacity, s.tooLarge > 0 && len(body) >= s.tooLarge, s.perDoc
	if busy || tooLarge {
		s.refused++
		s.mu.Unlock()
		if tooLarge {
			return answerOf(413, ""), nil
		}
		time.Sleep(time.Millisecond)
		return answerOf(429, `{"error":{"type":"es_rejected_execution_exception","reason":"full"}}`), nil
	}
	s.active++
	s.most = max(s.most, s.active)
	s.mu.Unlock()
	select {
	case <-time.After(time.Duration(n) * perDoc):
	case <-r.Context().Done():
		err = r.Context().Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	s.docs += n
	item := `{"create":{"status":201}}`
	return answerOf(200, `{"errors":false,"items":[`+strings.Repeat(item+",", n-1)+item+`]}`), err
}

func answerOf(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// simulated runs f with a bulker of a full queue: callers ask again and again
// until ctx ends.
func simulated(t *testing.T, s *simulation, batch config.Batch, f func(t *testing.T, b *Bulker)) {
	synctest.Test(t, func(t *testing.T) {
		u, err := url.Parse("http://sink")
		require.NoError(t, err)
		api, err := elastictransport.NewClient(elastictransport.WithURLs(u), elastictransport.WithDisableRetry(),
			elastictransport.WithTransport(s), elastictransport.WithInterceptors(prepare))
		require.NoError(t, err)
		route := testRoute()
		route.Batch = batch
		b, err := NewBulker(&Client{api: api, timeout: time.Minute, addresses: []string{"sink"}}, route, BulkerOptions{})
		require.NoError(t, err)
		running, stop := context.WithCancel(context.Background())
		asking, leave := context.WithCancel(context.Background())
		var all sync.WaitGroup
		all.Go(func() { require.NoError(t, b.Run(running)) })
		for caller := range 40 {
			all.Go(func() {
				for n := 0; asking.Err() == nil; n++ {
					p := makePoll(numbered(0, 20)...)
					for i := range p.Records {
						p.Records[i].Value = append(p.Records[i].Value, make([]byte, s.padding)...)
						p.Bytes += int64(s.padding)
						p.Records[i].Meta.File = fmt.Appendf(nil, "%d %d", caller, n)
					}
					for b.Index(asking, p) != nil && asking.Err() == nil {
						time.Sleep(100 * time.Millisecond) // as the chain's retry does
					}
				}
			})
		}
		defer func() {
			leave()
			stop()
			all.Wait()
			require.NoError(t, api.Close(context.Background()))
		}()
		f(t, b)
	})
}

func (s *simulation) since(f func()) (docs, refused int) {
	s.mu.Lock()
	docs, refused = s.docs, s.refused
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.docs - docs, s.refused - refused
}

var simBatch = config.Batch{MaxDocs: 20, MaxBytes: 10 << 20, MaxWait: config.Duration(20 * time.Millisecond), InFlight: 16}

// TestControlReachesWhatTheSinkTakes: the window settles where the sink's
// capacity is, refusals are few, and what it could serve is mostly served.
func TestControlReachesWhatTheSinkTakes(t *testing.T) {
	for _, capacity := range []int{1, 3, 8, 100} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			s := &simulation{capacity: capacity, perDoc: 50 * time.Millisecond}
			simulated(t, s, simBatch, func(t *testing.T, b *Bulker) {
				time.Sleep(30 * time.Second)
				const seconds = 120
				docs, refused := s.since(func() { time.Sleep(seconds * time.Second) })
				can := min(capacity, 16) * seconds * 20
				require.Greater(t, docs, can*65/100)
				require.Less(t, refused*20, can/5, "documents refused, of those it could take")
				s.mu.Lock()
				require.LessOrEqual(t, s.most, 16)
				s.mu.Unlock()
				if capacity > 16 {
					require.InDelta(t, 16, b.Stats().Window, 0.01)
					require.Zero(t, refused)
				}
			})
		})
	}
}

func TestControlFallsAndRecovers(t *testing.T) {
	s := &simulation{capacity: 100, perDoc: 50 * time.Millisecond}
	simulated(t, s, simBatch, func(t *testing.T, b *Bulker) {
		time.Sleep(time.Minute)
		require.InDelta(t, 16, b.Stats().Window, 0.01)

		s.mu.Lock()
		s.capacity = 0
		s.mu.Unlock()
		time.Sleep(5 * time.Second)
		require.InDelta(t, smallestWindow, b.Stats().Window, 0.01)
		s.mu.Lock()
		before := len(s.requests)
		s.mu.Unlock()
		time.Sleep(5 * time.Second)
		s.mu.Lock()
		require.Greater(t, len(s.requests), before, "one request at least is under way")
		for _, n := range s.requests[before:] {
			require.LessOrEqual(t, n, 2, "and a small one")
		}
		s.capacity = 100
		s.mu.Unlock()
		time.Sleep(4 * time.Minute)
		require.InDelta(t, 16, b.Stats().Window, 0.01)
	})
}

func TestControlTakesNoRequestFromASinkThatIsSlow(t *testing.T) {
	s := &simulation{capacity: 100, perDoc: 50 * time.Millisecond}
	simulated(t, s, simBatch, func(t *testing.T, b *Bulker) {
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.perDoc = 500 * time.Millisecond
		s.mu.Unlock()
		time.Sleep(20 * time.Second)
		slow := b.Stats().Window
		require.Less(t, slow, 15.0)
		require.GreaterOrEqual(t, slow, 1.0)
		time.Sleep(5 * time.Minute)
		require.InDelta(t, 16, b.Stats().Window, 0.01, "slow for good is the new measure")
	})
}

func TestControlRemembersASizeThatIsTooLarge(t *testing.T) {
	s := &simulation{capacity: 100, perDoc: 50 * time.Millisecond, padding: 300, tooLarge: 20_000}
	simulated(t, s, simBatch, func(t *testing.T, b *Bulker) {
		time.Sleep(20 * time.Second)
		require.Less(t, b.Stats().MaxBytes, int64(10<<20))
		docs, refused := s.since(func() { time.Sleep(15 * time.Second) })
		require.Positive(t, docs)
		require.Zero(t, refused)

		route := b.plan.route
		route.Batch.MaxDocs = 19
		require.NoError(t, b.Update(context.Background(), route))
		_, refused = s.since(func() { time.Sleep(15 * time.Second) })
		require.Positive(t, refused, "new settings are tried")
	})
}

// TestControlRules states the law without a sink.
func TestControlRules(t *testing.T) {
	start := time.Now()
	ok := outcome{began: start, size: 1, taken: true}
	c := newControl()
	c.note(ok, start, 2, false, 16)
	require.InDelta(t, firstWindow, c.window, 0, "nothing waits, so nothing says that more would fit")
	for range 10 {
		c.note(ok, start, 2, true, 16)
	}
	require.InDelta(t, 12, c.window, 0, "slow start")

	busy := outcome{began: start, size: 1, busy: true}
	at := start.Add(time.Second)
	c.note(busy, at, 10, true, 16)
	require.InDelta(t, 5, c.window, 0, "half of what was under way")
	c.note(busy, at.Add(time.Millisecond), 9, true, 16)
	require.InDelta(t, 5, c.window, 0, "once for all that was under way")
	ok.began, busy.began = at, at
	for range 5 {
		c.note(ok, at, 5, true, 16)
	}
	require.InDelta(t, 5+growth, c.window, 0.01, "a window's worth of answers adds growth")
	for range 20 {
		at = at.Add(time.Second)
		busy.began = at
		c.note(busy, at, 1, true, 16)
	}
	require.InDelta(t, smallestWindow, c.window, 0)
	route := testRoute()
	p, err := newPlan(route, nil)
	require.NoError(t, err)
	l := c.limits(p)
	require.Equal(t, 1, l.requests)
	require.Equal(t, load{docs: 6, bytes: 1 << 16}, l.load)

	c.note(outcome{tooLarge: 100_000}, at, 1, true, 16)
	c.note(outcome{tooLarge: 300_000}, at, 1, true, 16)
	c.window = 1
	require.Equal(t, 50_000, c.limits(p).bytes)
	c.note(ok, at, 1, true, 1)
	require.InDelta(t, 1, c.window, 0, "in_flight is the upper bound")
}
