package kafka

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

// TestMemoryIsUsedAgain reads much more than what is in flight at once, with
// keys, headers and values of all lengths: what is left of an earlier poll in
// memory that is used again must not show.
func TestMemoryIsUsedAgain(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	const n = 3000
	b := batchOf("k")
	var want []string
	for i := range n {
		line := strings.Repeat("x", i%97) + fmt.Sprint(i)
		b.Lines = append(b.Lines, logs.Line{Value: []byte(line), Pos: int64(i)})
		if i%3 == 0 {
			b.Lines[i].Flags, b.Lines[i].Part = logs.FlagSplit, int32(i)
		}
		want = append(want, line)
	}
	require.NoError(t, newPublisher(t, cfg).Publish("web", batchMessage(t.Context(), b)))
	for i := range n {
		b.Lines[i].Value = append(b.Lines[i].Value, " again"...)
		want = append(want, string(b.Lines[i].Value))
	}
	b.Settlement.Reset()
	require.NoError(t, newPublisher(t, cfg).Publish("web", batchMessage(t.Context(), b)))

	_, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, MaxRecords: 7})
	var got []string
	for len(got) < 2*n {
		m := next(t, ch)
		p := logs.PollOf(m)
		require.Zero(t, p.Count())
		require.LessOrEqual(t, len(p.Records), 7)
		var size int64
		for i := range p.Records {
			r := &p.Records[i]
			require.EqualValues(t, len(got), r.Offset)
			require.Equal(t, fmt.Sprint(len(got)%n), string(r.Meta.Pos))
			require.Equal(t, len(got)%n%3 == 0, len(r.Meta.Flags) > 0)
			require.Len(t, r.Original.Headers(), len(headersWanted(r)))
			got = append(got, string(r.Value))
			size += int64(len(r.Key) + len(r.Value))
		}
		require.Equal(t, size, p.Size())
		p.Settle(len(p.Records) - 1)
		m.Ack()
	}
	require.Equal(t, want, got)
}

// headersWanted lists what the agent writes for a line.
func headersWanted(r *logs.Record) []string {
	names := []string{logs.HeaderNode, logs.HeaderPath, logs.HeaderFile, logs.HeaderPos}
	if len(r.Meta.Flags) > 0 {
		names = append(names, logs.HeaderFlags, logs.HeaderPart)
	}
	return names
}

// TestLagIsTheAgeOfTheOldest has records of an hour ago and of now.
func TestLagIsTheAgeOfTheOldest(t *testing.T) {
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	old := time.Now().Add(-time.Hour)
	produce(t, cfg, &kgo.Record{Topic: "web", Timestamp: old, Value: []byte("old")},
		&kgo.Record{Topic: "web", Timestamp: time.Now(), Value: []byte("new")})
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, MaxRecords: 1})
	first := next(t, ch)
	require.GreaterOrEqual(t, s.Stats().LagSeconds, 3600.0)
	require.Less(t, s.Stats().LagSeconds, 3700.0)
	first.Ack()
	second := next(t, ch)
	require.Eventually(t, func() bool { return s.Stats().LagSeconds < 60 }, wait, time.Millisecond)
	second.Ack()
	require.Eventually(t, func() bool { return s.Stats().LagSeconds == 0 }, wait, time.Millisecond)
	require.Zero(t, s.Stats().Partitions[0].LagSeconds)
}
