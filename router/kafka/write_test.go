package kafka

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

func TestWriteKeepsRecordsAsTheyAre(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(4, "a"))
	p := newPublisher(t, cfg)
	at := time.UnixMilli(1_700_000_000_123)
	head := &original{rec: &kgo.Record{Headers: []kgo.RecordHeader{{Key: "dup", Value: []byte("1")}, {Key: "dup"}, {Key: "dup", Value: []byte{}}}}}
	require.NoError(t, p.Write(context.Background(), []logs.Record{
		{Topic: "a", Partition: 3, Key: []byte("k"), Value: []byte("v\xff\x00"), Time: at, Original: head},
		{Topic: "a", Partition: 3, Key: []byte("k")},
		{Topic: "a", Partition: 3, Key: []byte{}, Value: []byte{}},
		{Topic: "a", Partition: 3, Value: []byte("no key")},
	}))
	require.NoError(t, p.Write(context.Background(), nil))
	recs := read(t, cfg, "a", 4)
	require.EqualValues(t, 3, recs[0].Partition)
	require.Equal(t, "v\xff\x00", string(recs[0].Value))
	require.Equal(t, at, recs[0].Timestamp)
	require.Equal(t, head.rec.Headers, recs[0].Headers)
	require.Nil(t, recs[1].Value, "a tombstone")
	require.NotNil(t, recs[2].Value)
	require.NotNil(t, recs[2].Key)
	require.Nil(t, recs[3].Key)
}

func TestWriteChoosesThePartitionOfTheKey(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(7, "a"))
	p := newPublisher(t, cfg)
	b := batchOf("some-key", "as an agent would")
	require.NoError(t, p.Publish("a", batchMessage(context.Background(), b)))
	require.NoError(t, p.Write(context.Background(), []logs.Record{{Topic: "a", Partition: anyPartition, Key: []byte("some-key"), Value: []byte("again")}}))
	recs := read(t, cfg, "a", 2)
	require.Equal(t, recs[0].Partition, recs[1].Partition)
}

func TestWriteNamesWhatIsRefused(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "a", "big"))
	setTopic(t, cfg, "a", "max.message.bytes", "2000")
	setTopic(t, cfg, "big", "max.message.bytes", "10000000")
	p := newPublisher(t, cfg)
	large := bytes.Repeat([]byte("x"), 3000)
	var recs []logs.Record
	for i := range 50 {
		recs = append(recs, logs.Record{Topic: "a", Value: []byte(itoa(i))})
	}
	recs[20].Value = large
	recs = append(recs, logs.Record{Topic: "big", Value: bytes.Repeat([]byte("x"), 4<<20)})
	err := p.Write(context.Background(), recs)
	var bad *logs.BatchError
	require.ErrorAs(t, err, &bad)
	require.Len(t, bad.Failures(), 1)
	require.Equal(t, 20, bad.Failures()[0].Index)
	require.Equal(t, logs.Permanent, logs.KindOf(bad.Failures()[0].Err))
	require.Len(t, read(t, cfg, "a", 49), 49)
	require.Len(t, read(t, cfg, "big", 1), 1)

	setTopic(t, cfg, "a", "max.message.bytes", "1000") // below what the publisher knows
	recs = []logs.Record{{Topic: "a", Value: large[:500]}, {Topic: "a", Value: large[:1200]}, {Topic: "a", Value: large[:700]}}
	require.ErrorAs(t, p.Write(context.Background(), recs), &bad)
	require.Len(t, bad.Failures(), 1, "the others are sent alone")
	require.Equal(t, 1, bad.Failures()[0].Index)
}

func TestWriteWithoutABroker(t *testing.T) {
	c, cfg := broker(t, kfake.SeedTopics(1, "a"))
	p := newPublisher(t, cfg)
	require.NoError(t, p.Write(context.Background(), []logs.Record{{Topic: "a", Value: []byte("x")}}))
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := p.Write(ctx, []logs.Record{{Topic: "a", Value: []byte("x")}})
	require.Contains(t, []logs.Kind{logs.Unavailable, logs.Transient}, logs.KindOf(err))
	require.NoError(t, p.Close())
	require.Equal(t, logs.Stopped, logs.KindOf(p.Write(context.Background(), []logs.Record{{Topic: "a"}})))
}
