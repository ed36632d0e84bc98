package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/logferry/logferry/config"
)

// crash ends a subscriber as a kill does: the broker hears nothing of it.
func crash(s *Subscriber) {
	for _, c := range s.all() {
		c.abandon()
	}
}

func TestAPlaceIsTakenBackAtOnce(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(2, "web"))
	takeBack(t, cfg, "web", "g")
}

// takeBack crashes a member of a group again and again, each sooner than the
// session of the one before has timed out.
func takeBack(t *testing.T, cfg config.Kafka, topic, group string) {
	t.Helper()
	began := time.Now()
	for i := range 5 {
		produce(t, cfg, records(topic, int32(i%2), fmt.Sprint("line ", i))...)
		s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{topic}, Group: group, Instance: "a"})
		require.Equal(t, []string{fmt.Sprint("line ", i)}, collect(t, ch, 1))
		require.Eventually(t, func() bool { return s.Stats().Commits > 0 }, wait, 10*time.Millisecond)
		crash(s)
	}
	require.Less(t, time.Since(began), sessionTimeout, "else it proves nothing")
}

func TestAMemberThatStopsGivesItsPlaceUp(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(2, "web"))
	produce(t, cfg, records("web", 0, "one")...)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, Instance: "a"})
	require.Equal(t, []string{"one"}, collect(t, ch, 1))
	require.NoError(t, s.Drain(context.Background()))
	produce(t, cfg, records("web", 1, "two")...)
	_, ch = subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, Instance: "b"})
	require.Equal(t, []string{"two"}, collect(t, ch, 1))
}

func TestAPlaceThatIsTakenEndsTheSubscription(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	produce(t, cfg, records("web", 0, "one")...)
	first, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, Instance: "a"})
	require.Equal(t, []string{"one"}, collect(t, ch, 1))
	require.False(t, first.Fenced())
	second, ch2 := subscribe(t, cfg, SubscriberOptions{Topics: []string{"web"}, Instance: "a"})
	_, open := <-ch
	require.False(t, open)
	require.True(t, first.Fenced())
	require.Contains(t, first.Stats().LastError, "FENCED")
	require.NoError(t, first.Close())
	produce(t, cfg, records("web", 0, "two")...)
	for seen := ""; seen != "two"; { // "one" too, if there was no time to commit it
		seen = collect(t, ch2, 1)[0]
	}
	require.False(t, second.Fenced())
}

func TestAMemberThatStopsBeforeItIsInGivesItsPlaceUp(t *testing.T) {
	t.Parallel()
	_, cfg := broker(t, kfake.SeedTopics(1, "web"))
	stopBeforeIn(t, cfg, "web", "g")
}

// stopBeforeIn stops a member while the others have not let it in yet: it is one
// already, and must not hold a place that nobody works at.
func stopBeforeIn(t *testing.T, cfg config.Kafka, topic, group string) {
	t.Helper()
	produce(t, cfg, records(topic, 0, "one")...)
	_, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{topic}, Group: group, Instance: "a"})
	require.Equal(t, []string{"one"}, collect(t, ch, 1))
	client, err := NewClient(cfg)
	require.NoError(t, err)
	defer client.Close()
	instances := func() (names []string) {
		groups, err := kadm.NewClient(client).DescribeGroups(context.Background(), group)
		require.NoError(t, err)
		for _, m := range groups[group].Members {
			names = append(names, *m.InstanceID)
		}
		return names
	}
	s, _ := subscribe(t, cfg, SubscriberOptions{Topics: []string{topic}, Group: group, Instance: "b"})
	require.Eventually(t, func() bool { return len(instances()) == 2 }, wait, time.Millisecond)
	require.NoError(t, s.Drain(context.Background()))
	require.Equal(t, []string{"a"}, instances())
}
