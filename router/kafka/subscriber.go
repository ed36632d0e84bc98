package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
)

const (
	defaultInFlight   = 256 << 20
	defaultMaxRecords = 5000
	maxMessageBytes   = 1 << 20 // of keys and values in one message
	defaultNackPause  = 500 * time.Millisecond
)

// SubscriberOptions say what a subscriber reads and how much of it at once.
type SubscriberOptions struct {
	// Topics are names, or regular expressions between slashes. Without any,
	// the topic given to Subscribe is read.
	Topics []string
	// Exclude are names that no regular expression matches, such as the poison
	// topic. Topics whose name starts with two underscores are Kafka's own and
	// are not matched either.
	Exclude []string
	// Group is the consumer group.
	Group string
	// Instance, if not empty, is a name of this member that nobody else in the
	// group has and that it has again after a restart: one that was killed takes
	// its place in the group back at once, instead of when its session times
	// out. Letters, digits, '.', '_' and '-'.
	Instance string
	// Budget bounds the memory of records that were fetched and are not
	// settled, over all subscribers that have it; nil is one of 256 MiB for
	// this one. What the last fetch of each broker brought comes on top: up to
	// 4 MiB, before decompression.
	Budget *Budget
	// MaxRecords bounds the records of one message; 0 is 5,000. With 1, each
	// message is a Watermill message of its own right as well: its payload is
	// the record's value and its metadata the headers.
	MaxRecords int
	// Cut, if not nil, bounds messages further.
	Cut *Cut
	// Window bounds the messages of one partition that are in flight; 0 is 8.
	// With 1, each partition's messages are handled strictly in order.
	Window int
	// NackPause is how long a nacked message waits before it comes again; 0
	// is half a second.
	NackPause time.Duration
	// Logger takes what a person must act on; nil discards it.
	Logger *slog.Logger

	maxBatchBytes int           // of a decompressed batch; 0 is maxDecompressed
	metadataAge   time.Duration // 0 is metadataAge
	takeoverWait  time.Duration // 0 is takeoverWait
}

// Subscriber reads topics as a member of a consumer group. A message carries
// the records of one partition, in order, as a [logs.Poll]; several messages
// of a partition may be in flight. What is committed is the unbroken run of
// acked messages, so that a message which is never acked is read again after a
// restart. All its methods are safe for concurrent use.
type Subscriber struct {
	cfg config.Kafka
	o   SubscriberOptions

	mu        sync.Mutex // guards the fields below
	consumers []*consumer
	closed    bool
}

var _ message.Subscriber = (*Subscriber)(nil)

var errSubscriberClosed = fmt.Errorf("kafka subscriber is closed: %w", context.Canceled)

// NewSubscriber validates the options and starts nothing.
func NewSubscriber(cfg config.Kafka, o SubscriberOptions) (*Subscriber, error) {
	if o.Group == "" {
		return nil, errors.New("make kafka subscriber: no consumer group")
	}
	for _, t := range o.Topics {
		if re, ok := pattern(t); ok {
			if _, err := regexp.Compile(re); err != nil {
				return nil, fmt.Errorf("make kafka subscriber: topics %q: %w", t, err)
			}
		}
	}
	if o.Budget == nil {
		o.Budget = NewBudget(defaultInFlight)
	}
	if o.MaxRecords == 0 {
		o.MaxRecords = defaultMaxRecords
	}
	if o.Window == 0 {
		o.Window = 8
	}
	if o.NackPause == 0 {
		o.NackPause = defaultNackPause
	}
	if o.maxBatchBytes == 0 {
		o.maxBatchBytes = maxDecompressed
	}
	if o.metadataAge == 0 {
		o.metadataAge = metadataAge
	}
	if o.takeoverWait == 0 {
		o.takeoverWait = takeoverWait
	}
	o.Logger = orDiscard(o.Logger)
	return &Subscriber{cfg: cfg, o: o}, nil
}

// pattern returns the regular expression between the slashes of a topic.
func pattern(topic string) (string, bool) {
	if len(topic) > 2 && topic[0] == '/' && topic[len(topic)-1] == '/' {
		return topic[1 : len(topic)-1], true
	}
	return "", false
}

// Subscribe joins the group and returns the messages of the partitions that it
// is given; topic counts only when the options name none. The channel is closed
// when ctx ends, and after Drain and Close. A broker that is down is waited for.
//
// A message's context ends when its partition is taken away before it was
// settled, or with ctx; acking it then has no effect. A nacked message comes
// again, with the same poll and what is settled of it.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errSubscriberClosed
	}
	topics := s.o.Topics
	if len(topics) == 0 {
		topics = []string{topic}
	}
	c, err := startConsumer(ctx, s.cfg, s.o, topics)
	if err != nil {
		return nil, err
	}
	s.consumers = append(s.consumers, c)
	return c.out, nil
}

// Drain stops reading and waits until what is in flight is settled; then it
// commits, leaves the group and closes the subscriptions. When ctx ends first it
// returns ctx's error and leaves the rest to Close.
func (s *Subscriber) Drain(ctx context.Context) error {
	for _, c := range s.close() {
		c.drain()
	}
	for _, c := range s.all() {
		select {
		case <-c.gone:
		case <-ctx.Done():
			return fmt.Errorf("drain kafka subscriber: %w", ctx.Err())
		}
	}
	return nil
}

// Close ends the contexts of all messages in flight, commits what was acked,
// leaves the group and closes the subscriptions. It is idempotent.
func (s *Subscriber) Close() error {
	cs := s.close()
	for _, c := range cs {
		c.stop()
	}
	for _, c := range cs {
		<-c.gone
	}
	return nil
}

func (s *Subscriber) close() []*consumer {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.all()
}

func (s *Subscriber) all() []*consumer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consumers
}

// Fenced says whether a subscription ended because another member with the same
// Instance took its place.
func (s *Subscriber) Fenced() bool {
	for _, c := range s.all() {
		if c.fenced.Load() {
			return true
		}
	}
	return false
}

// Stats returns the sum over all subscriptions.
func (s *Subscriber) Stats() SubscriberStats {
	var sum SubscriberStats
	for _, c := range s.all() {
		c.addTo(&sum)
	}
	return sum
}
