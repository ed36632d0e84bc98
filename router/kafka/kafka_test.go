package kafka

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// wait bounds what must happen soon; it only matters when a test fails.
const wait = 20 * time.Second

// broker starts an embedded cluster of one broker and returns how to reach it.
func broker(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, config.Kafka) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, config.Kafka{Brokers: c.ListenAddrs(), Compression: "none"}
}

func newPublisher(t testing.TB, cfg config.Kafka) *Publisher {
	t.Helper()
	p, err := NewPublisher(cfg, PublisherOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// batchOf makes a batch of the values, as a follower would.
func batchOf(key string, values ...string) *logs.Batch {
	b := &logs.Batch{
		Origin: &logs.Origin{Node: "web-1", Input: "in", Path: "/var/log/x.log", File: "f1-" + key},
		Read:   time.UnixMilli(1_700_000_000_123),
		Key:    []byte(key),
	}
	pos := int64(0)
	for _, v := range values {
		b.Lines = append(b.Lines, logs.Line{Value: []byte(v), Pos: pos})
		pos += int64(len(v)) + 1
	}
	b.End = pos
	return b
}

func batchMessage(ctx context.Context, b *logs.Batch) *message.Message {
	msg := message.NewMessageWithContext(ctx, watermill.NewUUID(), nil)
	logs.AttachBatch(msg, b)
	return msg
}

func numbered(n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = "line " + strconv.Itoa(i)
	}
	return values
}

// read returns the first n records of topic in the order of each partition.
func read(t testing.TB, cfg config.Kafka, topic string, n int) []*kgo.Record {
	t.Helper()
	cl, err := NewClient(cfg, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond))
	require.NoError(t, err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	var recs []*kgo.Record
	for len(recs) < n {
		fs := cl.PollFetches(ctx)
		require.NoError(t, ctx.Err(), fmt.Sprintf("%d records of %d", len(recs), n))
		recs = append(recs, fs.Records()...)
	}
	return recs
}

func valuesOf(recs []*kgo.Record) []string {
	var vs []string
	for _, r := range recs {
		vs = append(vs, string(r.Value))
	}
	return vs
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func itoa(n int) string { return strconv.Itoa(n) }

// setTopic changes one setting of a topic while it is in use.
func setTopic(t testing.TB, cfg config.Kafka, topic, key, value string) {
	t.Helper()
	cl, err := NewClient(cfg)
	require.NoError(t, err)
	defer cl.Close()
	resps, err := kadm.NewClient(cl).AlterTopicConfigs(context.Background(), []kadm.AlterConfig{{Name: key, Value: &value}}, topic)
	require.NoError(t, err)
	require.NoError(t, resps[0].Err)
}

func admin(cl *kgo.Client) *kadm.Client { return kadm.NewClient(cl) }

func maxProduce(version int16) *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(0, version)
	return v
}
