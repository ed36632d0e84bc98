package poison

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

func TestReplayPublishesAndThenAnswers(t *testing.T) {
	k := some(5)
	var order []string
	k.refuse = func(r logs.Record) error {
		order = append(order, r.Topic)
		return nil
	}
	result, err := k.store().Replay(context.Background(), Filter{Limit: 3}, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, Result{Done: 3, Topics: map[string]int64{"web_log": 3}}, result)
	require.Equal(t, []string{"web_log", "web_log", "web_log", queue, queue, queue}, order)
	require.Equal(t, []string{"web_log-1-1", "web_log-1-3"}, idsOf(t, k.store(), Filter{}))

	again := k.records["web_log"][1]
	require.Len(t, again, 3, "the original's partition")
	require.Equal(t, "k", string(again[0].Key))
	require.Equal(t, `{"n":"x0"}`, string(again[0].Value))
	require.Equal(t, []string{"a=1", "a=2", "lf-replays=1", "lf-origin=web_log/1/0", "lf-time=2026-03-01T11:00:00Z"}, headers(again[0].Original.Headers()))
}

// TestReplayedThreeTimes refuses a record again each time it comes.
func TestReplayedThreeTimes(t *testing.T) {
	k := newTopics()
	k.letter(refused(7), logs.Refusal{Reason: "first"}, day)
	for round := range MaxReplays {
		result, err := k.store().Replay(context.Background(), Filter{}, ReplayOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 1, result.Done)
		again := k.records["web_log"][1][round]
		require.ElementsMatch(t, []string{"a=1", "a=2", "lf-replays=" + strconv.Itoa(round+1), "lf-origin=web_log/1/7", "lf-time=2026-03-01T11:00:00Z"},
			headers(again.Original.Headers()))
		again.Offset += 1000
		again.Time = day.Add(-time.Hour) // as the transfer reads it, by lf-time
		k.letter(again, logs.Refusal{Reason: "again"}, day)
	}
	result, err := k.store().Replay(context.Background(), Filter{}, ReplayOptions{})
	require.NoError(t, err)
	require.Zero(t, result.Done)
	require.EqualValues(t, 1, result.Left)
	require.Equal(t, []Reason{{"web_log-1-1002", "it was replayed 3 times already"}}, result.Reasons)
	l, err := k.store().Show(context.Background(), "web_log-1-1002")
	require.NoError(t, err)
	require.Equal(t, 3, l.Replays)
	require.Equal(t, "web_log/1/7", l.Place, "its document's id is still that of the first time")
	require.Equal(t, day.Add(-time.Hour), l.RecordTime)
}

func TestReplayOfALineThatKafkaRefused(t *testing.T) {
	k := newTopics()
	b := &logs.Batch{Origin: &logs.Origin{Node: "n", Path: "/p", File: "f"}, Lines: []logs.Line{{Value: []byte("large"), Pos: 9}}, Read: day}
	msg := FromLine(b, 0, "web_log", &logs.Refusal{Reason: "too large"}, Where{Handler: "ship web", Now: day})
	k.put(logs.Record{Topic: queue, Key: []byte(msg.UUID), Value: msg.Payload, Original: original(logs.HeadersOf(msg))})
	result, err := k.store().Replay(context.Background(), Filter{IDs: []string{"n/f/9", "absent", "absent"}}, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, Result{Done: 1, Topics: map[string]int64{"web_log": 1}, Missing: []string{"absent"}}, result)
	r := k.records["web_log"][0][0]
	require.Nil(t, r.Key)
	require.Equal(t, []string{"lf-node=n", "lf-path=/p", "lf-file=f", "lf-pos=9", "lf-replays=1", "lf-time=2026-03-01T12:00:00Z"}, headers(r.Original.Headers()))
}

func TestWhatCannotBeReplayedStays(t *testing.T) {
	k := some(3)
	k.put(logs.Record{Topic: queue, Key: []byte("strange"), Value: []byte("v")})
	k.letter(logs.Record{Topic: queue, Offset: 3}, logs.Refusal{Reason: "a letter about a letter"}, day)
	k.refuse = func(r logs.Record) error {
		if string(r.Value) == `{"n":"x1"}` {
			return &logs.Refusal{Type: "MESSAGE_TOO_LARGE", Reason: "too large"}
		}
		return nil
	}
	result, err := k.store().Replay(context.Background(), Filter{}, ReplayOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 2, result.Done)
	require.EqualValues(t, 3, result.Left)
	require.Equal(t, []Reason{
		{"strange", "it does not say which topic it belongs to"},
		{"logferry.poison-0-3", `it was read from the poison topic "logferry.poison"`},
		{"web_log-1-1", "MESSAGE_TOO_LARGE: too large"},
	}, result.Reasons)
	require.Equal(t, []string{"strange", "web_log-1-1", "logferry.poison-0-3"}, idsOf(t, k.store(), Filter{}))
}

func TestAnOutageEndsAReplay(t *testing.T) {
	k := some(3)
	k.refuse = func(r logs.Record) error {
		if string(r.Value) == `{"n":"x2"}` {
			return logs.AsUnavailable(context.DeadlineExceeded)
		}
		return nil
	}
	result, err := k.store().Replay(context.Background(), Filter{}, ReplayOptions{})
	require.ErrorContains(t, err, `replay letter "web_log-1-2"`)
	require.EqualValues(t, 2, result.Done, "what was acknowledged is answered")
	require.Equal(t, []string{"web_log-1-2"}, idsOf(t, k.store(), Filter{}))

	k.refuse = func(r logs.Record) error {
		if r.Topic == queue {
			return logs.AsUnavailable(context.DeadlineExceeded)
		}
		return nil
	}
	result, err = k.store().Replay(context.Background(), Filter{}, ReplayOptions{})
	require.ErrorContains(t, err, "may be again")
	require.Zero(t, result.Done)
	require.Len(t, idsOf(t, k.store(), Filter{}), 1, "an unanswered letter is replayed again")
}

func TestDryRunWritesNothing(t *testing.T) {
	k := some(5)
	result, err := k.store().Replay(context.Background(), Filter{}, ReplayOptions{DryRun: true})
	require.NoError(t, err)
	require.EqualValues(t, 5, result.Done)
	require.Zero(t, k.writes)
}

func TestReplayKeepsToItsRate(t *testing.T) {
	k := some(30)
	start := time.Now()
	_, err := k.store().Replay(context.Background(), Filter{}, ReplayOptions{Rate: 100})
	require.NoError(t, err)
	require.Greater(t, time.Since(start), 150*time.Millisecond)
	require.Equal(t, 6, k.writes, "three batches of ten and their tombstones")

	ctx, cancel := context.WithCancel(context.Background())
	k = some(30)
	k.refuse = func(r logs.Record) error {
		if r.Topic == "web_log" {
			cancel() // asked to end while a letter is on its way
		}
		return nil
	}
	result, err := k.store().Replay(ctx, Filter{}, ReplayOptions{Rate: 0.01})
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, 1, result.Done)
	require.Len(t, idsOf(t, k.store(), Filter{}), 29, "and what was published was answered")
}

func TestDrop(t *testing.T) {
	k := some(5)
	result, err := k.store().Drop(context.Background(), Filter{IDs: []string{"web_log-1-1", "web_log-1-9"}})
	require.NoError(t, err)
	require.Equal(t, Result{Done: 1, Topics: map[string]int64{"web_log": 1}, Missing: []string{"web_log-1-9"}}, result)
	require.Empty(t, k.records["web_log"])
	require.Len(t, idsOf(t, k.store(), Filter{}), 4)
	_, err = k.store().Drop(context.Background(), Filter{})
	require.NoError(t, err)
	require.Empty(t, idsOf(t, k.store(), Filter{}))
}
