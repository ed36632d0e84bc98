package kafka

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// limitTimeout bounds the wait for a topic's limit; Publish fails after it.
const limitTimeout = 5 * time.Second

// limits knows how large a batch each topic takes, so that a batch is not
// refused, and its partition's order broken, for being larger. A topic whose
// settings the broker does not show takes maxBatchBytes.
type limits struct {
	timeout time.Duration
	known   sync.Map // topic to int32
}

// of returns the limit of topic in bytes; it never blocks.
func (l *limits) of(topic string) int32 {
	if v, ok := l.known.Load(topic); ok {
		return v.(int32)
	}
	return maxBatchBytes
}

// learn asks for topic's limit unless it is known. A broker that answers
// something else counts as an answer; no answer is an error.
func (l *limits) learn(ctx context.Context, cl *kgo.Client, topic string) error {
	if _, ok := l.known.Load(topic); ok {
		return nil
	}
	limit, err := l.ask(ctx, cl, topic)
	if err == nil {
		l.known.LoadOrStore(topic, limit)
	}
	return err
}

// fell asks again for the limit of a topic that refused a batch, and says
// whether it is lower than what was known. Of those who ask at the same time,
// one is told so.
func (l *limits) fell(ctx context.Context, cl *kgo.Client, topic string) bool {
	old := l.of(topic)
	limit, err := l.ask(ctx, cl, topic)
	return err == nil && limit < old && l.known.CompareAndSwap(topic, old, limit)
}

func (l *limits) ask(ctx context.Context, cl *kgo.Client, topic string) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{"max.message.bytes"}
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil && (kafkaCode(err) == nil || stranger(err)) {
		return 0, err
	}
	if err != nil {
		return maxBatchBytes, nil
	}
	return limitIn(resp), nil
}

// stranger says that a broker answered nothing, since it does not know who asks.
func stranger(err error) bool {
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism) ||
		errors.Is(err, kerr.IllegalSaslState)
}

func limitIn(resp *kmsg.DescribeConfigsResponse) int32 {
	for _, r := range resp.Resources {
		for _, c := range r.Configs {
			if c.Name != "max.message.bytes" || c.Value == nil {
				continue
			}
			if n, err := strconv.ParseInt(*c.Value, 10, 32); err == nil {
				// The client takes nothing under 512; less than that is a
				// matter for the careful way.
				return int32(max(512, min(n, maxBatchBytes)))
			}
		}
	}
	return maxBatchBytes
}
