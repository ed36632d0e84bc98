//go:build real

package kafka

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// real returns the broker under test and makes a topic.
func real(t *testing.T, partitions int32, settings map[string]*string) (config.Kafka, string) {
	t.Helper()
	brokers := os.Getenv("KAFKA_BROKERS")
	require.NotEmpty(t, brokers, "KAFKA_BROKERS")
	cfg := config.Kafka{Brokers: strings.Split(brokers, ","), Compression: "lz4"}
	topic := "test-" + watermill.NewShortUUID()
	cl, err := NewClient(cfg)
	require.NoError(t, err)
	defer cl.Close()
	_, err = admin(cl).CreateTopic(context.Background(), partitions, 1, settings, topic)
	require.NoError(t, err)
	t.Cleanup(func() {
		cl, err := NewClient(cfg)
		require.NoError(t, err)
		defer cl.Close()
		_, err = admin(cl).DeleteTopic(context.Background(), topic)
		require.NoError(t, err)
	})
	return cfg, topic
}

func TestRealRoundTrip(t *testing.T) {
	cfg, topic := real(t, 1, nil)
	require.NoError(t, Ping(context.Background(), cfg))
	p := newPublisher(t, cfg)
	b := batchOf("k", numbered(5000)...)
	require.NoError(t, p.Publish(topic, batchMessage(context.Background(), b)))
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{topic}, Group: topic, MaxRecords: 700})
	require.Equal(t, numbered(5000), collect(t, ch, 5000))
	require.Eventually(t, func() bool {
		ps := s.Stats().Partitions
		return len(ps) == 1 && ps[0].Committed == 5000 && ps[0].End == 5000
	}, wait, 50*time.Millisecond)
	require.NoError(t, s.Drain(context.Background()))
	require.EqualValues(t, 5000, committed(t, cfg, topic, topic, 0))

	require.NoError(t, p.Publish(topic, batchMessage(context.Background(), batchOf("k", "later"))))
	_, ch = subscribe(t, cfg, SubscriberOptions{Topics: []string{topic}, Group: topic})
	require.Equal(t, []string{"later"}, collect(t, ch, 1))
}

func TestRealRefusesOnlyTheLineThatIsTooLarge(t *testing.T) {
	limit := "2000"
	cfg, topic := real(t, 1, map[string]*string{"max.message.bytes": &limit})
	cfg.Compression = "none"
	p := newPublisher(t, cfg)
	values := numbered(100)
	values[50] = strings.Repeat("x", 5000)
	b := batchOf("k", values...)
	requireOneRefused(t, p.Publish(topic, batchMessage(context.Background(), b)), b, 50)
	want := append(append([]string{}, values[:50]...), values[51:]...)
	require.Equal(t, want, valuesOf(read(t, cfg, topic, 99)))
}

func TestRealFindsTheLineAfterTheLimitFell(t *testing.T) {
	cfg, topic := real(t, 1, nil)
	cfg.Compression = "none"
	p := newPublisher(t, cfg)
	require.NoError(t, p.Publish(topic, batchMessage(context.Background(), batchOf("k", "first"))))
	setTopic(t, cfg, topic, "max.message.bytes", "2000")
	values := numbered(100)
	values[50] = strings.Repeat("x", 5000)
	b := batchOf("k", values...)
	b.Turn = logs.NewTurn(nil)
	requireOneRefused(t, p.Publish(topic, batchMessage(context.Background(), b)), b, 50)
	require.Len(t, read(t, cfg, topic, 100), 100)
}

func TestRealLetters(t *testing.T) {
	cfg, _ := real(t, 1, nil)
	topic := "test-poison-" + watermill.NewShortUUID()
	require.NoError(t, EnsurePoisonTopic(context.Background(), cfg, topic))
	require.NoError(t, EnsurePoisonTopic(context.Background(), cfg, topic))
	letter := message.NewMessage("letter-1", []byte(strings.Repeat("v", 3<<20)))
	logs.AttachHeaders(letter, []logs.Header{{Key: "dup", Value: []byte("1")}, {Key: "dup", Value: []byte("2")}})
	require.NoError(t, newLetters(t, cfg).Publish(topic, letter))
	recs := read(t, cfg, topic, 1)
	require.Equal(t, "letter-1", string(recs[0].Key))
	require.Len(t, recs[0].Headers, 2)
	require.Len(t, recs[0].Value, 3<<20)
}

func TestRealRebalance(t *testing.T) {
	cfg, topic := real(t, 1, nil)
	cl, err := NewClient(cfg)
	require.NoError(t, err)
	_, err = admin(cl).CreatePartitions(context.Background(), 3, topic)
	require.NoError(t, err)
	cl.Close()
	rebalance(t, cfg, topic, topic, 4, 200)
}

func TestRealTransactions(t *testing.T) {
	cfg, topic := real(t, 1, nil)
	transactions(t, cfg, topic, topic)
}

func TestRealPubSub(t *testing.T) {
	cfg, _ := real(t, 1, nil)
	var restart []string
	if os.Getenv("LOGFERRY_SERVERS") != "" {
		restart = []string{"sh", "-c", `"$LOGFERRY_SERVERS" stop kafka && "$LOGFERRY_SERVERS" start kafka`}
	}
	runSuite(t, cfg, restart)
}

func TestRealPlaceIsTakenBackAtOnce(t *testing.T) {
	cfg, topic := real(t, 2, nil)
	takeBack(t, cfg, topic, topic)
}

func TestRealMemberThatStopsBeforeItIsInGivesItsPlaceUp(t *testing.T) {
	cfg, topic := real(t, 2, nil)
	stopBeforeIn(t, cfg, topic, topic)
}

// TestRealWhatACrashDroppedIsPickedUp crashes a member between giving a
// partition up and saying so: the group believes that it is nobody's, and does
// not look again when the member takes its place back.
func TestRealWhatACrashDroppedIsPickedUp(t *testing.T) {
	cfg, topic := real(t, 2, nil)
	produce(t, cfg, append(records(topic, 0, "0"), records(topic, 1, "1")...)...)
	o := SubscriberOptions{Topics: []string{topic}, Group: topic, Instance: "a"}
	first, ch := subscribe(t, cfg, o)
	held := []*message.Message{next(t, ch), next(t, ch)} // so that the partition waits for them
	o.Instance = "b"
	_, chB := subscribe(t, cfg, o)
	var revoked *message.Message
	require.Eventually(t, func() bool {
		for _, p := range first.all()[0].assigned() {
			select {
			case <-p.retired:
				for _, m := range held {
					if logs.PollOf(m).Partition == p.number {
						revoked = m
					}
				}
			default:
			}
		}
		return revoked != nil
	}, wait, time.Millisecond)
	crash(first)
	revoked.Nack() // it goes

	o.Instance, o.takeoverWait = "a", 100*time.Millisecond
	_, chA := subscribe(t, cfg, o)
	var seen []string
	for len(seen) < 2 {
		var m *message.Message
		select {
		case m = <-chA:
		case m = <-chB:
		case <-time.After(wait):
			t.Fatalf("only %v", seen)
		}
		for _, r := range logs.PollOf(m).Records {
			seen = append(seen, string(r.Value))
		}
		m.Ack()
	}
	require.ElementsMatch(t, []string{"0", "1"}, seen)
}
