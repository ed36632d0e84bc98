package router

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/index"
	"github.com/logferry/logferry/router/kafka"
)

const (
	soon         = 20 * time.Second // only matters when a test fails
	lettersTopic = "letters"
)

// bench is a broker and a sink.
type bench struct {
	t      *testing.T
	kafka  config.Kafka
	client *kgo.Client
	sink   *scriptedSink
}

func newBench(t *testing.T, topics ...string) *bench {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, append(topics, lettersTopic)...))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	b := &bench{t: t, kafka: config.Kafka{Brokers: c.ListenAddrs(), Compression: "none"}, sink: newScriptedSink(t)}
	b.client, err = kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerBatchCompression(kgo.NoCompression()))
	require.NoError(t, err)
	t.Cleanup(b.client.Close)
	return b
}

func (b *bench) produce(topic string, values ...string) {
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: topic, Value: []byte(v)}
	}
	require.NoError(b.t, b.client.ProduceSync(context.Background(), records...).FirstErr())
}

// transfer runs routes until the test ends.
func (b *bench) transfer(o TransferOptions, routes ...config.Route) *Transfer {
	client, err := index.NewClient(config.Elasticsearch{Addresses: []string{b.sink.URL}, Compression: "none"}, nil)
	require.NoError(b.t, err)
	letters, err := kafka.NewLetterPublisher(b.kafka, nil)
	require.NoError(b.t, err)
	o.Kafka, o.Client, o.Letters, o.Logger = b.kafka, client, letters, slog.New(slog.DiscardHandler)
	o.EnsurePoison = func(string) error { return nil }
	if o.DrainTimeout == 0 {
		o.DrainTimeout = soon
	}
	t := NewTransfer(o)
	b.t.Cleanup(func() {
		t.Stop()
		client.Close()
		require.NoError(b.t, letters.Close())
	})
	require.NoError(b.t, t.Update(context.Background(), config.Transfer{Routes: routes}))
	return t
}

// committed is the offset from which the group goes on, -1 when there is none.
func (b *bench) committed(group, topic string) int64 {
	offsets, err := kadm.NewClient(b.client).FetchOffsets(context.Background(), group)
	require.NoError(b.t, err)
	o, ok := offsets.Lookup(topic, 0)
	if !ok {
		return -1
	}
	return o.At
}

// letters counts those in the poison topic, by the record's topic.
func (b *bench) letters() map[string]int {
	ends, err := kadm.NewClient(b.client).ListEndOffsets(context.Background(), lettersTopic)
	require.NoError(b.t, err)
	end, _ := ends.Lookup(lettersTopic, 0)
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.Brokers...), kgo.ConsumeTopics(lettersTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(b.t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	counts := map[string]int{}
	for n := int64(0); n < end.Offset; {
		fetches := reader.PollFetches(ctx)
		require.NoError(b.t, ctx.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			for _, h := range r.Headers {
				if h.Key == "topic_poisoned" {
					counts[string(h.Value)]++
				}
			}
		})
	}
	return counts
}

func testRoute(name, onReject string) config.Route {
	return config.Route{
		Name: name, Topics: []string{name}, Group: name, Index: name, Parse: "auto",
		Batch:   config.Batch{MaxDocs: 5000, MaxBytes: 5 << 20, MaxWait: config.Duration(10 * time.Millisecond), InFlight: 4},
		Retry:   config.Retry{MinBackoff: config.Duration(5 * time.Millisecond), MaxBackoff: config.Duration(30 * time.Millisecond), Multiplier: 2},
		Breaker: config.Breaker{Failures: 5, OpenFor: config.Duration(30 * time.Millisecond)},
		Poison:  config.Poison{Topic: lettersTopic, MaxRatio: 0.5, Window: config.Duration(time.Minute), OnReject: onReject},
	}
}

// fault is a row of the table: ten records, one of which is called bad, meet a
// sink that does something for a while.
type fault struct {
	script   script
	onReject string
	// While it lasts: what is stored and poisoned, whether records are tried
	// again, and whether the route says that it holds.
	stored, poisoned int
	retried, held    bool
	// After it: what is stored in all. Nothing else is poisoned.
	after int
}

func faults() map[string]fault {
	const created = `{"create":{"status":201}},`
	parsing := item(400, "document_parsing_exception", "[1:9] failed to parse field [code] of type [long] in document with id 'x'")
	return map[string]fault{
		"reset":               {script: script{whole: hangUp}, retried: true, held: true, after: 10},
		"slow-answer":         {script: script{whole: func(w http.ResponseWriter, d []document) { time.Sleep(300 * time.Millisecond); hangUp(w, d) }}, retried: true, held: true, after: 10},
		"unauthorized":        {script: whole(401, elastic("security_exception", "no such user")), retried: true, held: true, after: 10},
		"forbidden":           {script: whole(403, elastic("security_exception", "not for you")), retried: true, held: true, after: 10},
		"not-found":           {script: whole(404, elastic("index_not_found_exception", "no such index")), retried: true, held: true, after: 10},
		"moved":               {script: whole(302, ""), retried: true, held: true, after: 10},
		"too-large":           {script: tooLarge(4), stored: 10, after: 10},
		"one-too-large":       {script: tooLargeFor("bad"), stored: 9, poisoned: 1, after: 9},
		"busy":                {script: whole(429, elastic("es_rejected_execution_exception", "full")), retried: true, after: 10},
		"busy-item":           {script: bad(item(429, "es_rejected_execution_exception", "full")), stored: 9, retried: true, after: 10},
		"error":               {script: whole(500, "oops"), retried: true, after: 10},
		"bad-gateway":         {script: whole(502, "<html>"), retried: true, after: 10},
		"unavailable":         {script: whole(503, ""), retried: true, after: 10},
		"unavailable-item":    {script: bad(item(503, "unavailable_shards_exception", "no primary")), stored: 9, retried: true, after: 10},
		"read-only":           {script: every(item(403, "cluster_block_exception", "index [x] blocked by: [FORBIDDEN/8/index write (api)];")), retried: true, held: true, after: 10},
		"disk-full":           {script: every(item(429, "cluster_block_exception", "disk usage exceeded flood-stage watermark")), retried: true, held: true, after: 10},
		"index-missing":       {script: every(item(404, "index_not_found_exception", "no such index and [action.auto_create_index] is [false]")), retried: true, held: true, after: 10},
		"index-closed":        {script: every(item(400, "index_closed_exception", "closed")), retried: true, held: true, after: 10},
		"mapping":             {script: bad(parsing), stored: 9, poisoned: 1, after: 9},
		"mapping-rescued":     {script: unless(rescuedForm, bad(parsing)), onReject: "rescue", stored: 10, poisoned: 1, after: 10},
		"mapping-dropped":     {script: bad(parsing), onReject: "drop", stored: 9, after: 9},
		"mapping-held":        {script: bad(parsing), onReject: "hold", stored: 9, after: 10},
		"failure-store":       {script: bad(`{"create":{"status":201,"failure_store":"used"}}`), stored: 9, poisoned: 1, after: 9},
		"cut-answer":          {script: whole(200, `{"errors":false,"items":[`+strings.Repeat(created, 9)+`{"cre`), retried: true, after: 10},
		"garbage":             {script: whole(200, "<html>welcome</html>"), retried: true, after: 10},
		"empty-answer":        {script: whole(200, ""), retried: true, after: 10},
		"fewer-items":         {script: whole(200, `{"errors":false,"items":[`+created+`{"create":{"status":201}}]}`), retried: true, after: 10},
		"more-items":          {script: whole(200, `{"errors":false,"items":[`+strings.Repeat(created, 10)+`{"create":{"status":201}}]}`), retried: true, after: 10},
		"refused-for-all-400": {script: whole(400, elastic("parse_exception", "no")), retried: true, held: true, after: 10},
	}
}

func tooLarge(most int) script {
	var s script
	s.whole = func(w http.ResponseWriter, docs []document) {
		if len(docs) > most {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		sinkOf(w).answer(w, docs)
	}
	return s
}

func tooLargeFor(word string) script {
	return script{whole: func(w http.ResponseWriter, docs []document) {
		for _, d := range docs {
			if strings.Contains(d.source, word) {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
		}
		sinkOf(w).answer(w, docs)
	}}
}

// unless lets documents through that are so.
func unless(so func(document) bool, s script) script {
	return script{item: func(d document) string {
		if so(d) {
			return ""
		}
		return s.item(d)
	}}
}

func rescuedForm(d document) bool { return strings.HasSuffix(d.id, "-rescued") }

// TestFaultTable runs all rows at once, each with a route, a topic and an index
// of its own: what one meets must not show at another.
func TestFaultTable(t *testing.T) {
	table := faults()
	var topics []string
	for name := range table {
		topics = append(topics, name)
	}
	b := newBench(t, topics...)
	var routes []config.Route
	for name, f := range table {
		b.sink.play(name, f.script)
		var lines []string
		for i := range 10 {
			line := fmt.Sprintf(`{"n":%d}`, i)
			if i == 4 {
				line = fmt.Sprintf(`{"n":%d,"code":"bad"}`, i)
			}
			lines = append(lines, line)
		}
		b.produce(name, lines...)
		if f.onReject == "" {
			f.onReject = "poison"
		}
		routes = append(routes, testRoute(name, f.onReject))
	}
	transfer := b.transfer(TransferOptions{}, routes...)

	for name, f := range table {
		t.Run(name, func(t *testing.T) {
			require.Eventually(t, func() bool {
				s := transfer.Stats()[name]
				stored, requests := b.sink.count(name)
				return stored == f.stored && int(s.Chain.Poisoned) == f.poisoned &&
					(!f.retried || s.Chain.Retries >= 3 && s.Bulker.Retried > 0 && requests >= 2) &&
					(s.Bulker.Held != "") == f.held
			}, soon, 5*time.Millisecond, "%s: %+v", name, f)
			if f.retried {
				require.Equal(t, int64(-1), b.committed(name, name), "nothing is committed by guess")
			}
		})
	}
	for name := range table {
		b.sink.play(name, script{})
	}
	total := map[string]int{}
	for name, f := range table {
		if f.poisoned > 0 {
			total[name] = f.poisoned
		}
		require.Eventually(t, func() bool {
			s := transfer.Stats()[name]
			stored, _ := b.sink.count(name)
			return stored == f.after && s.Subscriber.Records == 10 && s.Bulker.Held == "" && int(s.Chain.Poisoned) == f.poisoned
		}, soon, 5*time.Millisecond, "%s after it", name)
	}
	require.NoError(t, transfer.Drain(context.Background()))
	for name := range table {
		require.EqualValues(t, 10, b.committed(name, name), name)
	}
	require.Equal(t, total, b.letters())
}
