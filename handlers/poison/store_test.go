package poison

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

// topics are topics in memory, all of one partition but the queue's two.
type topics struct {
	records map[string][][]logs.Record
	refuse  func(logs.Record) error
	writes  int
}

const queue = "logferry.poison"

func newTopics() *topics { return &topics{records: map[string][][]logs.Record{}} }

func (k *topics) Spans(_ context.Context, names ...string) ([]logs.Span, error) {
	var spans []logs.Span
	for _, name := range names {
		for i, p := range k.records[name] {
			spans = append(spans, logs.Span{Topic: name, Partition: int32(i), To: int64(len(p))})
		}
	}
	return spans, nil
}

func (k *topics) Read(ctx context.Context, spans []logs.Span, visit func(*logs.Poll) error) (int64, error) {
	for _, s := range spans {
		for from := s.From; from < s.To; from += 7 {
			recs := k.records[s.Topic][s.Partition][from:min(from+7, s.To)]
			if err := visit(&logs.Poll{Topic: s.Topic, Partition: s.Partition, Records: recs}); err != nil {
				return 0, err
			}
		}
	}
	return 0, ctx.Err()
}

func (k *topics) Write(_ context.Context, recs []logs.Record) error {
	k.writes++
	bad := logs.NewBatchError(nil)
	for i, r := range recs {
		if k.refuse != nil {
			if err := k.refuse(r); err != nil {
				bad.Failed(i, err)
				continue
			}
		}
		k.put(r)
	}
	if len(bad.Failures()) > 0 {
		return bad
	}
	return nil
}

func (k *topics) put(r logs.Record) {
	parts := k.records[r.Topic]
	if parts == nil {
		parts = make([][]logs.Record, 2)
		k.records[r.Topic] = parts
	}
	r.Partition = max(r.Partition, 0) % 2
	r.Offset = int64(len(parts[r.Partition]))
	parts[r.Partition] = append(parts[r.Partition], r)
}

// letter puts the letter about a record into the queue, as the router does.
func (k *topics) letter(r logs.Record, v logs.Refusal, at time.Time) {
	msg := FromRecord(&r, &v, Where{Handler: "index web", Subscriber: "kafka", Now: at})
	k.put(logs.Record{Topic: queue, Partition: int32(r.Offset % 2), Key: []byte(msg.UUID), Value: msg.Payload,
		Time: at, Original: original(logs.HeadersOf(msg))})
}

func (k *topics) store() *Store {
	return NewStore(StoreOptions{Topics: []string{queue}, Reader: k, Writer: k})
}

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// refused returns the record at an offset of web_log.
func refused(offset int64) logs.Record {
	return logs.Record{Topic: "web_log", Partition: 1, Offset: offset, Key: []byte("k"), Value: fmt.Appendf(nil, `{"n":"x%d"}`, offset),
		Time: day.Add(-time.Hour), Original: original{header("a", "1"), header("a", "2")}}
}

func some(n int) *topics {
	k := newTopics()
	for i := range n {
		k.letter(refused(int64(i)), logs.Refusal{Index: "web", Status: 400, Type: "mapper_parsing_exception",
			Reason: fmt.Sprintf("failed to parse field [n] of type [long] in document with id 'id-%d'. Preview of field's value: 'x%d'", i, i)},
			day.Add(time.Duration(i)*time.Hour))
	}
	return k
}

func idsOf(t *testing.T, s *Store, f Filter) []string {
	t.Helper()
	ids := []string{}
	require.NoError(t, s.Each(context.Background(), f, func(l *Letter) error {
		ids = append(ids, l.ID)
		return nil
	}))
	return ids
}

func TestOnlyTheLastWordOfALetterCounts(t *testing.T) {
	k := some(6)
	k.letter(refused(2), logs.Refusal{Reason: "again"}, day.Add(99*time.Hour))
	k.put(logs.Record{Topic: queue, Partition: 1, Key: []byte("web_log-1-3")})
	k.put(logs.Record{Topic: queue, Partition: 1, Key: []byte("web_log-1-5")})
	k.letter(refused(5), logs.Refusal{Reason: "after its tombstone"}, day)
	k.put(logs.Record{Topic: queue, Value: []byte("no key")})
	s := k.store()
	require.Equal(t, []string{"web_log-1-0", "web_log-1-4", "web_log-1-2", "web_log-1-1", "web_log-1-5"}, idsOf(t, s, Filter{}))
	l, err := s.Show(context.Background(), "web_log-1-2")
	require.NoError(t, err)
	require.Equal(t, "again", l.Reason)
	_, err = s.Show(context.Background(), "web_log-1-3")
	require.ErrorIs(t, err, ErrNoLetter)
	require.ErrorContains(t, err, `"web_log-1-3"`)
}

func TestALetterComesBackAsItWas(t *testing.T) {
	k := some(3)
	l, err := k.store().Show(context.Background(), "web_log-1-2")
	require.NoError(t, err)
	require.Equal(t, &Letter{
		ID: "web_log-1-2", Queue: queue, Partition: 0, Offset: 1,
		Key: []byte("k"), Value: []byte(`{"n":"x2"}`), Headers: []logs.Header{header("a", "1"), header("a", "2")},
		Topic: "web_log", Place: "web_log/1/2", RecordTime: day.Add(-time.Hour), Handler: "index web", Subscriber: "kafka", Time: day.Add(2 * time.Hour),
		Refusal: logs.Refusal{Index: "web", Status: 400, Type: "mapper_parsing_exception",
			Reason: "failed to parse field [n] of type [long] in document with id 'id-2'. Preview of field's value: 'x2'"},
	}, l)
	require.Equal(t, "web", l.Route())
}

func TestFilters(t *testing.T) {
	k := some(4)
	other := refused(8)
	other.Topic, other.Value = "shop_log", []byte("no JSON, 100% \xff")
	msg := FromRecord(&other, &logs.Refusal{Index: "shop", Type: "too_large", Reason: "Too LARGE"}, Where{Handler: "index shop", Now: day.Add(50 * time.Hour)})
	k.put(logs.Record{Topic: queue, Key: []byte(msg.UUID), Value: msg.Payload, Original: original(logs.HeadersOf(msg))})
	s := k.store()
	for name, f := range map[string]Filter{
		"topic": {Topic: "shop_log"}, "route": {Route: "sh*"}, "type": {Type: "too_*"}, "index": {Index: "sho?"}, "reason": {Reason: "too large"},
		"contains": {Contains: "100% \xff"}, "since": {Since: day.Add(50 * time.Hour)}, "ids": {IDs: []string{"shop_log-1-8", "absent"}},
	} {
		require.Equal(t, []string{"shop_log-1-8"}, idsOf(t, s, f), name)
		require.False(t, f.All())
	}
	require.Len(t, idsOf(t, s, Filter{Topic: "web_log"}), 4)
	require.Len(t, idsOf(t, s, Filter{Topic: "web_log", Limit: 3}), 3)
	require.Empty(t, idsOf(t, s, Filter{Topic: "web_log", Index: "shop"}))
	none := Filter{}
	require.True(t, none.All())
	require.Len(t, idsOf(t, s, none), 5)
}

func TestListHasTheNewest(t *testing.T) {
	k := some(50)
	list, err := k.store().List(context.Background(), Filter{}, 3)
	require.NoError(t, err)
	require.EqualValues(t, 50, list.Matched)
	require.Len(t, list.Letters, 3)
	for i, l := range list.Letters {
		require.Equal(t, "web_log-1-"+strconv.Itoa(47+i), l.ID)
		require.Empty(t, l.Headers)
	}
	list, err = newTopics().store().List(context.Background(), Filter{}, 3)
	require.NoError(t, err)
	require.Empty(t, list.Letters)
}

func TestStats(t *testing.T) {
	k := some(30)
	k.letter(refused(30), logs.Refusal{Index: "other", Type: "x", Reason: "y"}, day)
	stats, err := k.store().Stats(context.Background(), Filter{})
	require.NoError(t, err)
	require.EqualValues(t, 31, stats.Letters)
	require.Equal(t, day, stats.Oldest)
	require.Equal(t, day.Add(29*time.Hour), stats.Newest)
	require.Equal(t, []Cause{
		{Type: "mapper_parsing_exception", Index: "web", Count: 30, First: day, Last: day.Add(29 * time.Hour), Example: "web_log-1-29",
			Reason: "failed to parse field [n] of type [long] in document with id '…'. Preview of field's value: '…'"},
		{Type: "x", Index: "other", Count: 1, First: day, Last: day, Example: "web_log-1-30", Reason: "y"},
	}, stats.Causes)
	require.Equal(t, []Count{{"web_log", 31}}, stats.Topics)
	require.Equal(t, []Count{{"web", 30}, {"other", 1}}, stats.Indices)
	require.Equal(t, []Count{{"2026-03-01", 13}, {"2026-03-02", 18}}, stats.Days)
}

func TestStatsAreBounded(t *testing.T) {
	k := newTopics()
	for i := range 3 * maxGroups {
		word := strings.Repeat("w", 1+i/26) + string(rune('a'+i%26))
		k.letter(refused(int64(i)), logs.Refusal{Index: "i-" + word, Reason: word}, day)
	}
	stats, err := k.store().Stats(context.Background(), Filter{})
	require.NoError(t, err)
	require.Len(t, stats.Causes, maxGroups+1)
	require.Equal(t, others, stats.Causes[0].Reason)
	require.EqualValues(t, 2*maxGroups, stats.Causes[0].Count)
	require.Len(t, stats.Indices, maxGroups+1)
}

func TestReasonsThatAreTheSame(t *testing.T) {
	for reason, same := range map[string]string{
		"":                                  "",
		"For input string: \"a b\"":         `For input string: "…"`,
		"field's value: 'it's 5'":           "field's value: '…'",
		"'open":                             "'open",
		"limit of 1000 fields":              "limit of N fields",
		"date [2026-01-02] with 1.5 is bad": "date [N-N-N] with N.N is bad",
		"größe 'ü' \xff":                    "größe '…' \uFFFD",
	} {
		require.Equal(t, same, sameReason(reason))
	}
	require.LessOrEqual(t, len(sameReason(strings.Repeat("ü", 1000))), maxGroupReason+4)
}

func TestLettersAsJSON(t *testing.T) {
	letters := []*Letter{
		{ID: "a", Queue: queue, Value: []byte{}, Headers: []logs.Header{{Key: "null"}, {Key: "empty", Value: []byte{}}, header("dup", "1"), header("dup", "\xff")}},
		{ID: "b\xff", Key: []byte("\xff\x00"), Value: []byte("bad \xfe <b>"), RecordTime: day, Time: day, Replays: 2, Handler: "index web",
			Headers: []logs.Header{header("k\xff", "v")}, Refusal: logs.Refusal{Index: "i", Status: 400, Type: "t", Reason: "r"}},
		{ID: "c", Key: []byte{}, Value: []byte("{}"), Place: "t/1/2", Topic: "t", Partition: 3, Offset: 4, Subscriber: "kafka"},
	}
	for _, l := range letters {
		text, err := json.Marshal(l)
		require.NoError(t, err)
		var back Letter
		require.NoError(t, json.Unmarshal(text, &back), "%s", text)
		require.Equal(t, l, &back, "%s", text)
	}
}

// generated is a queue of n letters that are made as they are read.
type generated struct{ n int64 }

func (g generated) Spans(context.Context, ...string) ([]logs.Span, error) {
	return []logs.Span{{Topic: queue, To: g.n}}, nil
}

func (g generated) Read(_ context.Context, _ []logs.Span, visit func(*logs.Poll) error) (int64, error) {
	value := []byte(strings.Repeat("x", 600))
	for from := int64(0); from < g.n; from += 500 {
		p := &logs.Poll{Topic: queue, Records: make([]logs.Record, 500)}
		for i := range p.Records {
			at := from + int64(i)
			// Every letter was written twice.
			p.Records[i] = logs.Record{Topic: queue, Offset: at, Key: fmt.Appendf(nil, "web_log-0-%d", at%(g.n/2)), Value: value,
				Original: original{header(logs.PoisonReason, "because"), header(logs.PoisonTopic, "web_log"), header(logs.PoisonTime, "2026-03-01T12:00:00Z")}}
		}
		if err := visit(p); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// TestMemoryIsBounded reads 200,000 letters of 600 bytes, each written twice:
// 240 MB went by, and 64 bytes a letter may stay.
func TestMemoryIsBounded(t *testing.T) {
	const letters = 200_000
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var seen, most int64
	s := NewStore(StoreOptions{Topics: []string{queue}, Reader: generated{2 * letters}})
	require.NoError(t, s.Each(context.Background(), Filter{}, func(*Letter) error {
		if seen++; seen%50_000 == 0 {
			most = max(most, heap()-before)
		}
		return nil
	}))
	require.EqualValues(t, letters, seen)
	t.Logf("%.1f bytes of heap for each live letter", float64(most)/letters)
	require.Less(t, most, int64(64*letters+1<<20))
}

func TestProgressReachesItsEnd(t *testing.T) {
	k := some(20)
	var last, total int64
	s := NewStore(StoreOptions{Topics: []string{queue}, Reader: k, Progress: func(read, of int64) {
		if read < last {
			panic("backwards")
		}
		last, total = read, of
	}})
	require.Len(t, idsOf(t, s, Filter{Limit: 5}), 5)
	require.EqualValues(t, 40, total)
	require.EqualValues(t, 40, last)
}

func TestErrorsComeBack(t *testing.T) {
	mine := errors.New("mine")
	require.ErrorIs(t, some(5).store().Each(context.Background(), Filter{}, func(*Letter) error { return mine }), mine)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, some(5).store().Each(ctx, Filter{}, func(*Letter) error { return nil }), context.Canceled)
}
