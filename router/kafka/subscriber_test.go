package kafka

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// subscribe joins a group and returns its messages.
func subscribe(t testing.TB, cfg config.Kafka, o SubscriberOptions) (*Subscriber, <-chan *message.Message) {
	t.Helper()
	if o.Group == "" {
		o.Group = "g"
	}
	if o.NackPause == 0 {
		o.NackPause = time.Millisecond
	}
	o.metadataAge = 500 * time.Millisecond
	s, err := NewSubscriber(cfg, o)
	require.NoError(t, err)
	ch, err := s.Subscribe(context.Background(), "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, ch
}

func next(t testing.TB, ch <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, ok := <-ch:
		require.True(t, ok, "closed")
		return m
	case <-time.After(wait):
		t.Fatal("no message")
		return nil
	}
}

// collect acks messages until n records came, and returns their values.
func collect(t testing.TB, ch <-chan *message.Message, n int) []string {
	t.Helper()
	var vs []string
	for len(vs) < n {
		m := next(t, ch)
		for _, r := range logs.PollOf(m).Records {
			vs = append(vs, string(r.Value))
		}
		m.Ack()
	}
	return vs
}

func produce(t testing.TB, cfg config.Kafka, recs ...*kgo.Record) {
	t.Helper()
	cl, err := NewClient(cfg, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.ProduceSync(context.Background(), recs...).FirstErr())
}

func records(topic string, partition int32, values ...string) []*kgo.Record {
	var recs []*kgo.Record
	for _, v := range values {
		recs = append(recs, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)})
	}
	return recs
}

func committed(t testing.TB, cfg config.Kafka, group, topic string, partition int32) int64 {
	t.Helper()
	cl, err := NewClient(cfg)
	require.NoError(t, err)
	defer cl.Close()
	os, err := admin(cl).FetchOffsets(context.Background(), group)
	require.NoError(t, err)
	o, ok := os.Lookup(topic, partition)
	if !ok {
		return -1
	}
	return o.At
}

func TestSubscriberCarriesRecordsAsTheyAre(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	b := batchOf("k", "one", "two")
	b.Lines[1].Flags, b.Lines[1].Part = logs.FlagSplit, 3
	require.NoError(t, newPublisher(t, cfg).Publish("web", batchMessage(context.Background(), b)))
	produce(t, cfg, &kgo.Record{Topic: "web", Headers: []kgo.RecordHeader{{Key: "d", Value: []byte("1")}, {Key: "d"}}})

	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}})
	var recs []logs.Record
	var messages []*message.Message // acked when the records were looked at: they are gone then
	for len(recs) < 3 {
		m := next(t, ch)
		require.Empty(t, m.Payload)
		recs = append(recs, logs.PollOf(m).Records...)
		messages = append(messages, m)
	}
	require.True(t, recs[0].Meta.Ours())
	require.Equal(t, "web-1/var/log/x.logf1-k4", string(recs[1].Meta.Node)+string(recs[1].Meta.Path)+string(recs[1].Meta.File)+string(recs[1].Meta.Pos))
	require.Equal(t, "3", string(recs[1].Meta.Part))
	require.Equal(t, "split", string(recs[1].Meta.Flags))
	require.Equal(t, b.Read.UnixMilli(), recs[0].Time.UnixMilli())
	require.Equal(t, "k", string(recs[0].Key))
	require.False(t, recs[2].Meta.Ours())
	require.Nil(t, recs[2].Value)
	require.Equal(t, []logs.Header{{Key: "d", Value: []byte("1")}, {Key: "d"}}, recs[2].Original.Headers())
	require.EqualValues(t, 2, recs[2].Offset)
	for _, m := range messages {
		m.Ack()
	}
	require.NoError(t, s.Drain(context.Background()))
	require.EqualValues(t, 3, committed(t, cfg, "g", "web", 0))
	st := s.Stats()
	require.EqualValues(t, 3, st.Records)
	require.Zero(t, st.InFlight)
	require.Zero(t, st.InFlightBytes)
}

func TestSubscriberCommitsTheUnbrokenRunOnly(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, numbered(5)...)...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, MaxRecords: 1})
	var ms []*message.Message
	for i := range 5 {
		ms = append(ms, next(t, ch))
		require.Equal(t, fmt.Sprint("line ", i), string(ms[i].Payload))
	}
	ms[0].Ack()
	ms[1].Ack()
	ms[3].Ack()
	ms[4].Ack()
	require.NoError(t, s.Close())
	<-ms[2].Context().Done()
	ms[2].Ack()
	require.EqualValues(t, 2, committed(t, cfg, "g", "web", 0))

	_, ch = subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, MaxRecords: 1})
	require.Equal(t, []string{"line 2", "line 3", "line 4"}, collect(t, ch, 3))
}

func TestSubscriberCommitsWhileItRuns(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, "one")...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}})
	next(t, ch).Ack()
	require.Eventually(t, func() bool { return committed(t, cfg, "g", "web", 0) == 1 }, wait, 20*time.Millisecond)
	require.Eventually(t, func() bool { return s.Stats().Commits == 1 }, wait, 20*time.Millisecond)
	require.Equal(t, []PartitionStats{{Topic: "web", Committed: 1, End: 1}}, s.Stats().Partitions)
}

func TestSubscriberDeliversAgainAfterANack(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, numbered(3)...)...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, MaxRecords: 2})
	first := next(t, ch)
	second := next(t, ch)
	poll := logs.PollOf(first)
	poll.Settle(0)
	first.Nack()
	again := next(t, ch)
	require.Same(t, poll, logs.PollOf(again))
	require.NotSame(t, first, again)
	require.Equal(t, 1, poll.Pending())
	again.Nack()
	next(t, ch).Ack()
	second.Ack()
	require.NoError(t, s.Drain(context.Background()))
	require.EqualValues(t, 3, committed(t, cfg, "g", "web", 0))
	require.EqualValues(t, 2, s.Stats().Redelivered)
}

func TestSubscriberStopsFetchingWhenItHoldsEnough(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	value := string(make([]byte, 10_000))
	for range 10 {
		produce(t, cfg, records("web", 0, value, value, value, value, value, value, value, value, value, value)...)
	}
	const limit = 50_000
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, MaxRecords: 1, Budget: NewBudget(limit), Window: 3})
	held := []*message.Message{next(t, ch), next(t, ch), next(t, ch)}
	select {
	case <-ch:
		t.Fatal("more than the window")
	case <-time.After(200 * time.Millisecond):
	}
	require.LessOrEqual(t, s.Stats().InFlightBytes, int64(limit+2*fetchPartitionBytes))
	for _, m := range held {
		m.Ack()
	}
	require.Len(t, collect(t, ch, 97), 97)
	require.Eventually(t, func() bool { return s.Stats().InFlightBytes == 0 }, wait, 10*time.Millisecond)
}

func TestSubscriberFindsNewTopicsAndPartitions(t *testing.T) {
	t.Parallel()
	c, cfg := broker(t, kfake.SeedTopics(1, "app.a"))
	produce(t, cfg, records("app.a", 0, "a0")...)
	_, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{`/^app\..*/`, "late"}, Exclude: []string{"app.poison"}})
	require.Equal(t, []string{"a0"}, collect(t, ch, 1))
	require.NoError(t, c.CreateTopic("app.poison", 1, nil))
	require.NoError(t, c.CreateTopic("app.b", 1, nil))
	require.NoError(t, c.CreateTopic("late", 1, nil))
	cl, err := NewClient(cfg)
	require.NoError(t, err)
	_, err = admin(cl).CreatePartitions(context.Background(), 1, "app.a")
	require.NoError(t, err)
	cl.Close()
	produce(t, cfg, records("app.poison", 0, "p")...)
	produce(t, cfg, records("app.b", 0, "b0")...)
	produce(t, cfg, records("app.a", 1, "a1")...)
	produce(t, cfg, records("late", 0, "l0")...)
	require.ElementsMatch(t, []string{"b0", "a1", "l0"}, collect(t, ch, 3))
}

func TestSubscriberFindsATopicThatComesLater(t *testing.T) {
	t.Parallel()
	c, cfg := broker(t)
	_, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"late"}})
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, c.CreateTopic("late", 1, nil))
	produce(t, cfg, records("late", 0, "one")...)
	require.Equal(t, []string{"one"}, collect(t, ch, 1))
}

func TestRebalanceLosesNothing(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(4, "web"))
	rebalance(t, cfg, "g", "web", 4, 200)
}

// rebalance lets a second member join while the first reads, and counts.
func rebalance(t *testing.T, cfg config.Kafka, group, topic string, parts, each int) {
	t.Helper()
	for p := range int32(parts) {
		var vs []string
		for i := range each {
			vs = append(vs, fmt.Sprint(p, "/", i))
		}
		produce(t, cfg, records(topic, p, vs...)...)
	}
	seen := make(map[string]int)
	var mu sync.Mutex
	all := make(chan struct{})
	var done sync.Once
	handle := func(ch <-chan *message.Message) {
		for m := range ch {
			mu.Lock()
			for _, r := range logs.PollOf(m).Records {
				seen[string(r.Value)]++
			}
			if len(seen) == parts*each {
				done.Do(func() { close(all) })
			}
			mu.Unlock()
			time.Sleep(2 * time.Millisecond)
			m.Ack()
		}
	}
	var wg sync.WaitGroup
	o := SubscriberOptions{Topics: []string{topic}, Group: group, MaxRecords: 2, Window: 4}
	first, ch1 := subscribe(t, cfg, o)
	wg.Go(func() { handle(ch1) })
	require.Eventually(t, func() bool { return first.Stats().Records > 20 }, wait, time.Millisecond)
	second, ch2 := subscribe(t, cfg, o)
	wg.Go(func() { handle(ch2) })
	select {
	case <-all:
	case <-time.After(wait):
		t.Fatal("records are missing")
	}
	require.Eventually(t, func() bool {
		return len(second.Stats().Partitions) == parts/2 && len(first.Stats().Partitions) == parts/2
	}, wait, 10*time.Millisecond)
	require.NoError(t, first.Drain(context.Background()))
	require.NoError(t, second.Drain(context.Background()))
	wg.Wait()
	repeats := 0
	for _, n := range seen {
		repeats += n - 1
	}
	require.Zero(t, repeats, "a handover waits for what is in flight")
	for p := range int32(parts) {
		require.EqualValues(t, each, committed(t, cfg, group, topic, p))
	}
}

func TestDrainWaitsForWhatIsInFlight(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, numbered(3)...)...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, MaxRecords: 1, Window: 1})
	held := next(t, ch)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Drain(ctx), context.Canceled)
	require.NoError(t, held.Context().Err(), "an unfinished drain takes nothing away")
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(context.Background()) }()
	held.Ack()
	require.NoError(t, <-drained)
	_, open := <-ch
	require.False(t, open)
	require.EqualValues(t, 1, committed(t, cfg, "g", "web", 0))
	_, err := s.Subscribe(context.Background(), "")
	require.Equal(t, logs.Stopped, logs.KindOf(err))
}

func TestSubscriberClosesThoughTheBrokerIsGone(t *testing.T) {
	c, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, "one")...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}})
	m := next(t, ch)
	c.Close()
	m.Ack()
	start := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(start), wait)
}

func TestSubscriberCountsWhatRetentionTook(t *testing.T) {
	c, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, numbered(10)...)...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, MaxRecords: 2, Window: 1})
	next(t, ch).Ack()
	next(t, ch)
	require.NoError(t, s.Close())
	require.NoError(t, c.DeleteRecords("web", 0, 7))
	s, ch = subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}})
	require.Equal(t, []string{"line 7", "line 8", "line 9"}, collect(t, ch, 3))
	require.EqualValues(t, 5, s.Stats().Expired)
	require.Contains(t, s.Stats().LastError, "deleted before they were read")
}
