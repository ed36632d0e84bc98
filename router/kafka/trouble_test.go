package kafka

import (
	"bytes"
	"context"
	"hash/crc32"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/logferry/logferry/config"
)

// produceRaw appends a batch of n records whose compressed bytes are as given.
func produceRaw(t *testing.T, cfg config.Kafka, topic string, n int32, attributes int16, compressed []byte) {
	t.Helper()
	raw := sealed(kmsg.RecordBatch{Attributes: attributes, LastOffsetDelta: n - 1, NumRecords: n, Records: compressed})
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rp.Records = raw
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	// Version 12 is the last that goes by topic names.
	cl, err := NewClient(cfg, kgo.MaxVersions(maxProduce(12)))
	require.NoError(t, err)
	defer cl.Close()
	resp, err := req.RequestWith(context.Background(), cl)
	require.NoError(t, err)
	require.NoError(t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
}

// sealed fills in what a batch says of itself.
func sealed(b kmsg.RecordBatch) []byte {
	b.Magic, b.PartitionLeaderEpoch = 2, -1
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	b.FirstTimestamp = time.Now().UnixMilli()
	b.MaxTimestamp = b.FirstTimestamp
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

func TestSubscriberPassesWhatNobodyCanRead(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produceRaw(t, cfg, "web", 3, 3, bytes.Repeat([]byte{0xff}, 64)) // no lz4
	produce(t, cfg, records("web", 0, "before")...)
	produceRaw(t, cfg, "web", 3, 3, bytes.Repeat([]byte{0xff}, 64))
	produce(t, cfg, records("web", 0, "after")...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}})
	require.Equal(t, []string{"before", "after"}, collect(t, ch, 2))
	require.EqualValues(t, 6, s.Stats().Skipped)
	require.Contains(t, s.Stats().LastError, "offset")
	require.NoError(t, s.Drain(context.Background()))
	require.EqualValues(t, 8, committed(t, cfg, "g", "web", 0))
}

func TestSubscriberPassesABombOnce(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	cfg.Compression = "zstd"
	p := newPublisher(t, cfg)
	require.NoError(t, p.Publish("web", batchMessage(context.Background(), batchOf("k", string(make([]byte, 600_000))))))
	require.NoError(t, p.Publish("web", batchMessage(context.Background(), batchOf("k", "after"))))
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, maxBatchBytes: 100_000})
	require.Equal(t, []string{"after"}, collect(t, ch, 1))
	require.EqualValues(t, 1, s.Stats().Skipped)
}

func TestSubscriberCommitsPastABatchAtTheEnd(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, "before")...)
	produceRaw(t, cfg, "web", 2, 3, bytes.Repeat([]byte{0xff}, 64))
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}})
	require.Equal(t, []string{"before"}, collect(t, ch, 1))
	require.Eventually(t, func() bool { return s.Stats().Skipped == 2 }, wait, 10*time.Millisecond)
	require.NoError(t, s.Drain(context.Background()))
	require.EqualValues(t, 3, committed(t, cfg, "g", "web", 0))
}

// freezer makes a broker that can be made to hang.
type freezer struct {
	frozen atomic.Bool
	thaw   chan struct{}
}

type freezingListener struct {
	net.Listener
	f *freezer
}

type freezingConn struct {
	net.Conn
	f *freezer
}

func (l freezingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return freezingConn{c, l.f}, err
}

func (c freezingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.f.frozen.Load() {
		<-c.f.thaw
	}
	return n, err
}

func (f *freezer) listen(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	return freezingListener{l, f}, err
}

func TestSubscriberClosesThoughTheBrokerHangs(t *testing.T) {
	t.Parallel()
	f := &freezer{thaw: make(chan struct{})}
	_, cfg := broker(t, kfake.SeedTopics(1, "web"), kfake.ListenFn(f.listen))
	t.Cleanup(func() { close(f.thaw) })
	produce(t, cfg, records("web", 0, "one")...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}})
	m := next(t, ch)
	f.frozen.Store(true)
	m.Ack()
	closed := make(chan struct{})
	go func() { _ = s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(wait):
		t.Error("close hangs with the broker")
	}
}

func TestSubscriberSurvivesARecreatedTopic(t *testing.T) {
	t.Parallel()
	c, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, "one", "two")...)
	_, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}})
	require.Equal(t, []string{"one", "two"}, collect(t, ch, 2))
	require.NoError(t, c.DeleteTopic("web"))
	require.NoError(t, c.CreateTopic("web", 1, nil))
	produce(t, cfg, records("web", 0, "three")...)
	require.Equal(t, []string{"three"}, collect(t, ch, 1))
}
