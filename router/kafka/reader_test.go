package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// put writes records and waits for them.
func put(t testing.TB, cfg config.Kafka, recs ...*kgo.Record) {
	t.Helper()
	cl, err := NewClient(cfg, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(64<<20))
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.ProduceSync(context.Background(), recs...).FirstErr())
}

// readAll reads what topics hold.
func readAll(t testing.TB, r *Reader, topics ...string) (values []string, skipped int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	spans, err := r.Spans(ctx, topics...)
	require.NoError(t, err)
	skipped, err = r.Read(ctx, spans, func(p *logs.Poll) error {
		for i := range p.Records {
			require.Equal(t, p.Partition, p.Records[i].Partition)
			values = append(values, string(p.Records[i].Value))
		}
		return nil
	})
	require.NoError(t, err)
	return values, skipped
}

func TestReaderReadsToTheEndThatWas(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(3, "a"), kfake.SeedTopics(1, "empty"))
	r := NewReader(cfg, nil)
	want := numbered(3000)
	var recs []*kgo.Record
	for i, v := range want {
		recs = append(recs, &kgo.Record{Topic: "a", Partition: int32(i % 3), Value: []byte(v)})
	}
	put(t, cfg, recs...)
	got, skipped := readAll(t, r, "a", "empty", "absent")
	require.ElementsMatch(t, want, got)
	require.Zero(t, skipped)

	spans, err := r.Spans(context.Background(), "a")
	require.NoError(t, err)
	require.Equal(t, []logs.Span{{Topic: "a", Partition: 0, To: 1000}, {Topic: "a", Partition: 1, To: 1000}, {Topic: "a", Partition: 2, To: 1000}}, spans)
	put(t, cfg, &kgo.Record{Topic: "a", Partition: 0, Value: []byte("later")})
	n := 0
	_, err = r.Read(context.Background(), spans, func(p *logs.Poll) error {
		n += len(p.Records)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 3000, n, "what came later is not read")
}

func TestReaderPassesOverWhatIsNoRecord(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "tx"))
	cl, err := NewClient(cfg, kgo.TransactionalID("x"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer cl.Close()
	ctx := context.Background()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryAbort} {
		require.NoError(t, cl.BeginTransaction())
		require.NoError(t, cl.ProduceSync(ctx, &kgo.Record{Topic: "tx", Value: fmt.Append(nil, i)}).FirstErr())
		require.NoError(t, cl.EndTransaction(ctx, end))
	}
	got, _ := readAll(t, NewReader(cfg, nil), "tx")
	require.Equal(t, []string{"0"}, got, "the end of what is read is aborted")
}

func TestReaderPassesOverWhatNobodyCanRead(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "a"))
	cfg.Compression = "zstd"
	put(t, cfg, &kgo.Record{Topic: "a", Value: []byte("first")})
	put(t, cfg, &kgo.Record{Topic: "a", Value: bytes.Repeat([]byte("0"), 2<<20)})
	put(t, cfg, &kgo.Record{Topic: "a", Value: []byte("last")})
	r := NewReader(cfg, nil)
	r.maxBatch = 1 << 20
	got, skipped := readAll(t, r, "a")
	require.Equal(t, []string{"first", "last"}, got)
	require.EqualValues(t, 1, skipped)
}

func TestReaderBetween(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(2, "web_log", "web_old", "other", "web_poison"))
	at := time.UnixMilli(1_700_000_000_000)
	for i := range 10 {
		for _, topic := range []string{"web_log", "web_old", "other", "web_poison"} {
			put(t, cfg, &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: fmt.Append(nil, i), Timestamp: at.Add(time.Duration(i) * time.Minute)})
		}
	}
	r := NewReader(cfg, nil)
	spans, err := r.Between(context.Background(), []string{"/^web_/", "absent"}, []string{"web_poison"}, at.Add(3*time.Minute), at.Add(6*time.Minute))
	require.NoError(t, err)
	require.Equal(t, []logs.Span{ // minutes 3, 5 and 4
		{Topic: "web_log", Partition: 0, From: 2, To: 3}, {Topic: "web_log", Partition: 1, From: 1, To: 3},
		{Topic: "web_old", Partition: 0, From: 2, To: 3}, {Topic: "web_old", Partition: 1, From: 1, To: 3},
	}, spans)
	spans, err = r.Between(context.Background(), []string{"other"}, nil, time.UnixMilli(0), time.Now())
	require.NoError(t, err)
	require.Equal(t, []logs.Span{{Topic: "other", Partition: 0, To: 5}, {Topic: "other", Partition: 1, To: 5}}, spans)
	spans, err = r.Between(context.Background(), []string{"other"}, nil, at.Add(time.Hour), time.Now())
	require.NoError(t, err)
	require.Empty(t, spans)
}

func TestReaderEndsWhenAskedTo(t *testing.T) {
	c, cfg := broker(t, kfake.SeedTopics(1, "a"))
	put(t, cfg, &kgo.Record{Topic: "a", Value: []byte("x")})
	r := NewReader(cfg, nil)
	r.timeout = time.Second
	spans, err := r.Spans(context.Background(), "a")
	require.NoError(t, err)
	mine := errors.New("mine")
	_, err = r.Read(context.Background(), spans, func(*logs.Poll) error { return mine })
	require.ErrorIs(t, err, mine)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = r.Read(ctx, spans, func(*logs.Poll) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	c.Close()
	_, err = r.Read(context.Background(), spans, func(*logs.Poll) error { return nil })
	require.ErrorContains(t, err, "read \"a\" partition 0 at offset 0 of 1: connect to kafka broker")
	_, err = r.Spans(context.Background(), "a")
	require.ErrorContains(t, err, "connection refused")
}

func TestBatchesWithoutRecords(t *testing.T) {
	batch := func(base, delta, records byte) []byte {
		b := make([]byte, 61)
		b[7], b[11], b[16], b[26], b[60] = base, 49, 2, delta, records
		return b
	}
	next, empty := afterEmpty(nil)
	require.True(t, empty)
	require.Zero(t, next)
	next, empty = afterEmpty(append(batch(3, 4, 0), batch(8, 1, 0)...))
	require.False(t, empty)
	require.EqualValues(t, 10, next)
	next, empty = afterEmpty(append(batch(3, 4, 0), batch(8, 1, 2)...))
	require.False(t, empty)
	require.EqualValues(t, 8, next)
	next, _ = afterEmpty(batch(3, 4, 5))
	require.Zero(t, next, "records are the client's to bring")
	next, _ = afterEmpty([]byte("short"))
	require.Zero(t, next)
}

// TestReaderFindsThatTheEndIsGone lets the records before an end go, as
// deletion and compaction do.
func TestReaderFindsThatTheEndIsGone(t *testing.T) {
	c, cfg := broker(t, kfake.SeedTopics(1, "deleted", "compacted"))
	for range 10 {
		put(t, cfg, &kgo.Record{Topic: "deleted", Value: []byte("x")}, &kgo.Record{Topic: "compacted", Value: []byte("x")})
	}
	r := NewReader(cfg, nil)
	spans, err := r.Spans(context.Background(), "deleted", "compacted")
	require.NoError(t, err)
	require.Len(t, spans, 2)

	cl, err := NewClient(cfg)
	require.NoError(t, err)
	defer cl.Close()
	_, err = admin(cl).DeleteRecords(context.Background(), kadm.Offsets{"deleted": {0: {Topic: "deleted", At: 10}}})
	require.NoError(t, err)
	topics, err := admin(cl).ListTopics(context.Background(), "compacted")
	require.NoError(t, err)
	id := topics["compacted"].ID
	c.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.FetchRequest)
		resp := kreq.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			if t.TopicID == id && len(req.Topics) == 1 && t.Partitions[0].FetchOffset >= 5 {
				p := kmsg.NewFetchResponseTopicPartition()
				p.HighWatermark, p.LastStableOffset = 10, 10
				rt := kmsg.NewFetchResponseTopic()
				rt.TopicID, rt.Topic, rt.Partitions = id, t.Topic, append(rt.Partitions, p)
				resp.Topics = append(resp.Topics, rt)
				return resp, nil, true
			}
		}
		return nil, nil, false
	})
	for _, s := range spans {
		n := 0
		if s.Topic == "compacted" {
			s.From = 5
		}
		_, err = r.Read(context.Background(), []logs.Span{s}, func(p *logs.Poll) error {
			n += len(p.Records)
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, n, s.Topic)
	}
}

func TestReaderReadsWhatCompactionLeaves(t *testing.T) {
	c, cfg := broker(t)
	require.NoError(t, EnsurePoisonTopic(context.Background(), cfg, "poison"))
	cl, err := NewClient(cfg)
	require.NoError(t, err)
	defer cl.Close()
	configs, err := admin(cl).DescribeTopicConfigs(context.Background(), "poison")
	require.NoError(t, err)
	got := map[string]string{}
	for _, c := range configs[0].Configs {
		got[c.Key] = c.MaybeValue()
	}
	require.Equal(t, "compact,delete", got["cleanup.policy"])
	require.Equal(t, "2592000000", got["retention.ms"])
	require.Equal(t, "67108864", got["max.message.bytes"])

	setTopic(t, cfg, "poison", "delete.retention.ms", "0")
	for i := range 20 {
		put(t, cfg, &kgo.Record{Topic: "poison", Key: fmt.Append(nil, i), Value: []byte("letter")})
	}
	for i := range 19 {
		put(t, cfg, &kgo.Record{Topic: "poison", Key: fmt.Append(nil, i)})
	}
	r := NewReader(cfg, nil)
	spans, err := r.Spans(context.Background(), "poison")
	require.NoError(t, err)
	c.Compact()
	n := 0
	_, err = r.Read(context.Background(), spans, func(p *logs.Poll) error {
		n += len(p.Records)
		return nil
	})
	require.NoError(t, err)
	require.Less(t, n, 39)
	t.Logf("%d records are left", n)
}
