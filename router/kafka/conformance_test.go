package kafka

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/logferry/logferry/config"
)

// TestPubSub is Watermill's own suite, with one record a message, the only way
// in which a transport that regroups messages keeps their count. Not claimed:
// exactly once, since a rebalance may repeat what was in flight. TestReconnect
// needs a broker that a command restarts, and runs against the real one.
func TestPubSub(t *testing.T) {
	_, cfg := broker(t, kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
	runSuite(t, cfg, nil)
}

// runSuite runs the suite against a broker that restart, a command, restarts.
func runSuite(t *testing.T, cfg config.Kafka, restart []string) {
	newPair := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		p, err := NewPublisher(cfg, PublisherOptions{})
		require.NoError(t, err)
		s, err := NewSubscriber(cfg, SubscriberOptions{Group: group, MaxRecords: 1, Window: 1, NackPause: time.Millisecond})
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, s.Close())
			require.NoError(t, p.Close())
		})
		return p, s
	}
	tests.TestPubSub(t,
		tests.Features{
			ConsumerGroups:                      true,
			GuaranteedOrder:                     true,
			GuaranteedOrderWithSingleSubscriber: true,
			Persistent:                          true,
			NewSubscriberReceivesOldMessages:    true,
			ForceShort:                          true,
			RestartServiceCommand:               restart,
		},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			return newPair(t, watermill.NewShortUUID())
		},
		newPair,
	)
}
