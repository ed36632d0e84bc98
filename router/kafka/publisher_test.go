package kafka

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/logferry/logferry/handlers/logs"
)

func TestPublisherMakesOneRecordOfEachLine(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	p := newPublisher(t, cfg)
	b := batchOf("k", "one", "", "three\r")
	b.Lines = append(b.Lines,
		logs.Line{Value: []byte("part"), Pos: 12, Part: 1, Flags: logs.FlagSplit},
		logs.Line{Value: []byte("cut"), Pos: 99, Flags: logs.FlagTruncated | logs.FlagStderr, Time: 1_700_000_000_123_456_789})
	require.NoError(t, p.Publish("web", batchMessage(context.Background(), b)))
	require.Zero(t, b.Pending())

	recs := read(t, cfg, "web", 5)
	require.Equal(t, []string{"one", "", "three\r", "part", "cut"}, valuesOf(recs))
	require.NotNil(t, recs[1].Value, "an empty line is empty, not a tombstone")
	require.Equal(t, "k", string(recs[0].Key))
	require.Equal(t, b.Read.UnixMilli(), recs[0].Timestamp.UnixMilli())
	require.Equal(t, []kgo.RecordHeader{
		{Key: "lf-node", Value: []byte("web-1")}, {Key: "lf-path", Value: []byte("/var/log/x.log")},
		{Key: "lf-file", Value: []byte("f1-k")}, {Key: "lf-pos", Value: []byte("5")},
	}, recs[2].Headers)
	require.Equal(t, "1", header(recs[3], "lf-part"))
	require.Equal(t, "split", header(recs[3], "lf-flags"))
	require.Equal(t, "truncated,stderr", header(recs[4], "lf-flags"))
	require.Equal(t, "2023-11-14T22:13:20.123456789Z", header(recs[4], "lf-time"))
	require.Len(t, recs[4].Headers, 6)
	require.EqualValues(t, 5, p.Stats().Records)
}

func TestPublisherSendsOnlyWhatIsPending(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	p := newPublisher(t, cfg)
	b := batchOf("k", numbered(5)...)
	b.Settle(0)
	b.Settle(3)
	require.NoError(t, p.Publish("web", batchMessage(context.Background(), b)))
	require.Zero(t, b.Pending())
	require.Equal(t, []string{"line 1", "line 2", "line 4"}, valuesOf(read(t, cfg, "web", 3)))
	require.NoError(t, p.Publish("web", batchMessage(context.Background(), b)), "nothing is pending")
	require.EqualValues(t, 3, p.Stats().Records)
}

func TestPublisherKeepsOrderWithManyBatchesInFlight(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(3, "web"))
	p := newPublisher(t, cfg)
	const files, batches, lines = 3, 12, 40
	var wg sync.WaitGroup
	for f := range files {
		key := string(rune('a' + f))
		var turn *logs.Turn
		for n := range batches {
			b := batchOf(key, numbered(lines)...)
			for i := range b.Lines {
				b.Lines[i].Pos = int64(n*lines + i)
			}
			turn = logs.NewTurn(turn)
			b.Turn = turn
			wg.Go(func() {
				if err := p.Publish("web", batchMessage(context.Background(), b)); err != nil {
					t.Error(err)
				}
				b.Turn.Settled()
			})
		}
	}
	wg.Wait()
	next := map[string]int{}
	for _, r := range read(t, cfg, "web", files*batches*lines) {
		require.Equal(t, header(r, "lf-pos"), itoa(next[string(r.Key)]), string(r.Key))
		next[string(r.Key)]++
	}
}

func TestPublisherRefusesOnlyTheLineThatIsTooLarge(t *testing.T) {
	c, cfg := broker(t)
	require.NoError(t, c.CreateTopic("small", 1, map[string]string{"max.message.bytes": "2000"}))
	p := newPublisher(t, cfg)
	values := numbered(100)
	values[50] = strings.Repeat("x", 5000)
	b := batchOf("k", values...)
	b.Turn = logs.NewTurn(nil)
	err := p.Publish("small", batchMessage(context.Background(), b))
	requireOneRefused(t, err, b, 50)
	want := append(append([]string{}, values[:50]...), values[51:]...)
	require.Equal(t, want, valuesOf(read(t, cfg, "small", 99)))
}

func TestPublisherFindsTheLineAfterTheLimitFell(t *testing.T) {
	c, cfg := broker(t)
	require.NoError(t, c.CreateTopic("small", 1, nil))
	p := newPublisher(t, cfg)
	first := batchOf("k", "first")
	require.NoError(t, p.Publish("small", batchMessage(context.Background(), first)))
	setTopic(t, cfg, "small", "max.message.bytes", "2000")
	values := numbered(100)
	values[50] = strings.Repeat("x", 5000)
	var before *logs.Turn
	var batches []*logs.Batch
	for range 3 {
		b := batchOf("k", values...)
		before = logs.NewTurn(before)
		b.Turn = before
		batches = append(batches, b)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(batches))
	for i, b := range batches {
		wg.Go(func() {
			errs[i] = p.Publish("small", batchMessage(context.Background(), b))
			b.Turn.Settled()
		})
	}
	wg.Wait()
	for i, b := range batches {
		requireOneRefused(t, errs[i], b, 50)
	}
	rest := append(append([]string{}, values[:50]...), values[51:]...)
	want := append([]string{"first"}, rest...)
	want = append(want, rest...)
	want = append(want, rest...)
	require.ElementsMatch(t, want, valuesOf(read(t, cfg, "small", 1+3*99)))
	careful := p.Stats().Careful
	require.NotZero(t, careful)
	require.NoError(t, p.Publish("small", batchMessage(context.Background(), batchOf("k", numbered(500)...))))
	require.Equal(t, careful, p.Stats().Careful, "the new limit is known now")
}

func requireOneRefused(t *testing.T, err error, b *logs.Batch, line int) {
	t.Helper()
	var be *logs.BatchError
	require.ErrorAs(t, err, &be)
	require.Len(t, be.Failures(), 1)
	require.Equal(t, line, be.Failures()[0].Index)
	require.Equal(t, logs.Permanent, logs.KindOf(be.Failures()[0].Err))
	var r *logs.Refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, "MESSAGE_TOO_LARGE", r.Type)
	require.Equal(t, 1, b.Pending())
	require.False(t, b.Settled(line))
}

func TestPublisherSendsLinesLargerThanABatch(t *testing.T) {
	c, cfg := broker(t)
	require.NoError(t, c.CreateTopic("large", 1, map[string]string{"max.message.bytes": "9000000"}))
	p := newPublisher(t, cfg)
	large := strings.Repeat("L", 3<<20)
	b := batchOf("k", "before", large, "after", large, large)
	b.Turn = logs.NewTurn(nil)
	require.NoError(t, p.Publish("large", batchMessage(context.Background(), b)))
	require.Zero(t, b.Pending())
	recs := read(t, cfg, "large", 5)
	require.Equal(t, []string{"before", large, "after", large, large}, valuesOf(recs))
}

func TestPublisherSaysThatATopicIsMissing(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t)
	p := newPublisher(t, cfg)
	b := batchOf("k", "one", "two")
	err := p.Publish("absent", batchMessage(context.Background(), b))
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
	require.Equal(t, 2, b.Pending())
	require.Contains(t, p.Stats().LastError, "absent")
}

func TestPublisherWaitsForTheBroker(t *testing.T) {
	t.Parallel()
	c, cfg := broker(t, kfake.SeedTopics(1, "web"))
	p := newPublisher(t, cfg)
	require.NoError(t, p.Publish("web", batchMessage(context.Background(), batchOf("k", "first"))))
	asked := make(chan struct{}, 100)
	release := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked <- struct{}{}
		select {
		case <-release:
			c.DropControl()
			return nil, nil, false
		default:
			return nil, errors.New("connection dies"), true
		}
	})
	b := batchOf("k", "second")
	done := make(chan error, 1)
	go func() { done <- p.Publish("web", batchMessage(context.Background(), b)) }()
	<-asked
	<-asked
	close(release)
	require.NoError(t, <-done)
	require.Equal(t, []string{"first", "second"}, valuesOf(read(t, cfg, "web", 2)))
}

func TestPublisherLetsGoWhenTheContextEnds(t *testing.T) {
	c, cfg := broker(t, kfake.SeedTopics(1, "web"))
	p := newPublisher(t, cfg)
	require.NoError(t, p.Publish("web", batchMessage(context.Background(), batchOf("k", "first"))))
	asked := make(chan struct{}, 100)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked <- struct{}{}
		c.SleepControl(func() { <-hang })
		return nil, errors.New("too late"), true
	})
	ctx, cancel := context.WithCancel(context.Background())
	b := batchOf("k", numbered(10)...)
	done := make(chan error, 1)
	go func() { done <- p.Publish("web", batchMessage(ctx, b)) }()
	<-asked
	cancel()
	select {
	case err := <-done:
		require.Equal(t, logs.Stopped, logs.KindOf(err))
	case <-time.After(wait):
		t.Fatal("publish did not return")
	}
	require.Equal(t, 10, b.Pending())
}

func TestPublisherEndsOnClose(t *testing.T) {
	c, cfg := broker(t, kfake.SeedTopics(1, "web"))
	p := newPublisher(t, cfg)
	c.Close()
	b := batchOf("k", "one")
	done := make(chan error, 1)
	go func() { done <- p.Publish("web", batchMessage(context.Background(), b)) }()
	require.NoError(t, p.Close())
	require.NotNil(t, <-done)
	require.Equal(t, logs.Stopped, logs.KindOf(p.Publish("web", batchMessage(context.Background(), b))))
}

func TestPublisherCarriesForeignMessages(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "any"))
	p := newPublisher(t, cfg)
	msg := message.NewMessage("id-1", []byte("payload"))
	msg.Metadata.Set("a", "b")
	exact := message.NewMessage("id-2", []byte("other"))
	logs.AttachHeaders(exact, []logs.Header{{Key: "x", Value: []byte("1")}, {Key: "x", Value: []byte("2")}})
	require.NoError(t, p.Publish("any", msg, exact))
	recs := read(t, cfg, "any", 2)
	require.Equal(t, "id-1", header(recs[0], "_watermill_message_uuid"))
	require.Equal(t, "b", header(recs[0], "a"))
	require.Equal(t, []kgo.RecordHeader{{Key: "x", Value: []byte("1")}, {Key: "x", Value: []byte("2")}}, recs[1].Headers)
}

func TestKeyHashIsKafkas(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	for range 2000 {
		key := make([]byte, rnd.IntN(40))
		for i := range key {
			key[i] = byte(rnd.Uint32())
		}
		n := 1 + rnd.IntN(64)
		require.Equal(t, theirs.Partition(&kgo.Record{Key: key}, n), int(keyHash(key))%n, "%x", key)
	}
}

func TestPublisherSurvivesARecreatedTopic(t *testing.T) {
	t.Parallel()
	c, cfg := broker(t, kfake.SeedTopics(1, "web"))
	p := newPublisher(t, cfg)
	require.NoError(t, p.Publish("web", batchMessage(context.Background(), batchOf("k", "old"))))
	require.NoError(t, c.DeleteTopic("web"))
	require.NoError(t, c.CreateTopic("web", 1, nil))
	b := batchOf("k", "new")
	require.Eventually(t, func() bool {
		return p.Publish("web", batchMessage(context.Background(), b)) == nil
	}, wait, time.Millisecond)
	require.Equal(t, []string{"new"}, valuesOf(read(t, cfg, "web", 1)))
}
