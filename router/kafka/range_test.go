package kafka

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/logferry/logferry/handlers/logs"
)

func rangeOf(t *testing.T, n int) (*RangeSubscriber, []string) {
	t.Helper()
	_, cfg := broker(t, kfake.SeedTopics(2, "a"))
	want := numbered(n)
	put(t, cfg, records("a", 0, want[:n/2]...)...)
	put(t, cfg, records("a", 1, want[n/2:]...)...)
	r := NewReader(cfg, nil)
	spans, err := r.Spans(context.Background(), "a")
	require.NoError(t, err)
	return NewRangeSubscriber(r, spans, 1<<20), want
}

func TestRangeHandsOutEachRecordOnce(t *testing.T) {
	s, want := rangeOf(t, 20_000)
	s.MaxRecords = 700
	msgs, err := s.Subscribe(context.Background(), "")
	require.NoError(t, err)
	var got []string
	nacked := false
	for msg := range msgs {
		p := logs.PollOf(msg)
		require.LessOrEqual(t, p.Len(), 700)
		if !nacked {
			nacked = true
			p.Settle(0)
			got = append(got, string(p.Records[0].Value))
			msg.Nack()
			continue
		}
		for i := range p.Records {
			if !p.Settled(i) {
				got = append(got, string(p.Records[i].Value))
			}
		}
		msg.Ack()
	}
	require.NoError(t, s.Err())
	require.ElementsMatch(t, want, got, "a nacked message comes again with what is not settled")
	n, skipped := s.Read()
	require.EqualValues(t, 20_000, n)
	require.Zero(t, skipped)
	require.NoError(t, s.Close())
}

func TestRangeStops(t *testing.T) {
	s, _ := rangeOf(t, 20_000)
	msgs, err := s.Subscribe(context.Background(), "")
	require.NoError(t, err)
	msg := <-msgs
	s.Stop()
	msg.Ack()
	settled := len(logs.PollOf(msg).Records)
	for msg := range msgs { // what was read before settles
		settled += len(logs.PollOf(msg).Records)
		msg.Ack()
	}
	require.Error(t, s.Err())
	n, _ := s.Read()
	require.EqualValues(t, settled, n)
	require.Less(t, settled, 20_000)
}

func TestRangeEndsWithItsContext(t *testing.T) {
	s, _ := rangeOf(t, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	msgs, err := s.Subscribe(ctx, "")
	require.NoError(t, err)
	msg := <-msgs
	cancel()
	for range msgs {
		t.Log("handed out at the last moment")
	}
	require.Error(t, msg.Context().Err())
	require.Error(t, s.Err())
	n, _ := s.Read()
	require.Zero(t, n)
}
