package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/config"
)

func TestSubscriberReadsCommittedTransactions(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	transactions(t, cfg, "web", "g")
}

// transactions reads what transactional producers committed, in order, not what
// they gave up, and what is open when it is decided. The lag counts no markers.
func transactions(t *testing.T, cfg config.Kafka, topic, group string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	cl, err := NewClient(cfg, kgo.TransactionalID(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer cl.Close()
	begin := func(values ...string) {
		require.NoError(t, cl.BeginTransaction())
		require.NoError(t, cl.ProduceSync(ctx, records(topic, 0, values...)...).FirstErr())
	}
	end := func(how kgo.TransactionEndTry) { require.NoError(t, cl.EndTransaction(ctx, how)) }
	begin("a", "b")
	end(kgo.TryCommit)
	begin("x", "y")
	end(kgo.TryAbort)
	produce(t, cfg, records(topic, 0, "c")...)
	begin("d")

	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{topic}, Group: group})
	require.Equal(t, []string{"a", "b", "c"}, collect(t, ch, 3))
	select {
	case m := <-ch:
		t.Fatalf("what is open was read: %v", m)
	case <-time.After(200 * time.Millisecond):
	}
	end(kgo.TryCommit)
	require.Equal(t, []string{"d"}, collect(t, ch, 1))
	begin("z")
	end(kgo.TryAbort)
	require.Eventually(t, func() bool {
		ps := s.Stats().Partitions
		return len(ps) == 1 && ps[0].Lag == 0 && ps[0].End == 11
	}, wait, 10*time.Millisecond)
	require.EqualValues(t, 4, s.Stats().Records)
	require.NoError(t, s.Drain(ctx))
	require.EqualValues(t, 11, committed(t, cfg, group, topic, 0))
}
