package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

const (
	// letterBytes is how large a letter may be: the largest line with all that
	// is said of it, under the 100 MiB that brokers take as one request.
	letterBytes = 64 << 20
	// Watermill's publisher awaits each message; so many wait together.
	lettersAtOnce = 16
)

// LetterPublisher publishes letters to the poison topic through
// watermill-kafka. All its methods are safe for concurrent use.
type LetterPublisher struct {
	cfg    *sarama.Config
	kafka  config.Kafka
	log    watermill.LoggerAdapter
	mu     sync.Mutex // guards the fields below
	pub    *wmkafka.Publisher
	closed bool
	// sends is held for reading while letters are on their way: sarama
	// crashes when it is closed under a sender.
	sends sync.RWMutex
}

var _ message.Publisher = (*LetterPublisher)(nil)

// NewLetterPublisher makes a publisher of letters; it connects when it is first
// used, so that a broker which is down is no reason not to start. The key of a
// record is the message's UUID, which is the letter's id, its value the payload,
// and its headers those of logs.HeadersOf, or else the message's metadata.
func NewLetterPublisher(cfg config.Kafka, log *slog.Logger) (*LetterPublisher, error) {
	c, err := letterConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make letter publisher: %w", err)
	}
	return &LetterPublisher{cfg: c, kafka: cfg, log: quiet(orDiscard(log))}, nil
}

// quiet maps Watermill's chatter down: errors come back from Publish.
func quiet(log *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{
		slog.LevelError: slog.LevelDebug,
		slog.LevelWarn:  slog.LevelDebug,
		slog.LevelInfo:  slog.LevelDebug,
		slog.LevelDebug: slog.LevelDebug - 1,
	})
}

// Publish returns when all letters are acknowledged by all in-sync replicas, or
// with the first error, of kind logs.Unavailable; some letters may be in the
// topic then. It is bounded by the client's timeouts, not by the messages'
// contexts.
func (p *LetterPublisher) Publish(topic string, msgs ...*message.Message) error {
	p.sends.RLock()
	pub, err := p.connected()
	if err != nil {
		p.sends.RUnlock()
		return err
	}
	var g errgroup.Group
	g.SetLimit(lettersAtOnce)
	for _, msg := range msgs {
		g.Go(func() error { return pub.Publish(topic, msg) })
	}
	err = g.Wait()
	p.sends.RUnlock()
	if err == nil {
		return nil
	}
	p.forget(pub)
	return logs.AsUnavailable(fmt.Errorf("publish letters to %q: %w", topic, err))
}

func (p *LetterPublisher) connected() (*wmkafka.Publisher, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	if p.pub != nil {
		return p.pub, nil
	}
	pub, err := wmkafka.NewPublisher(wmkafka.PublisherConfig{
		Brokers:               p.kafka.Brokers,
		Marshaler:             letterMarshaler{},
		OverwriteSaramaConfig: p.cfg,
	}, p.log)
	if err != nil {
		return nil, logs.AsUnavailable(fmt.Errorf("connect letter publisher: %w", err))
	}
	p.pub = pub
	return pub, nil
}

// forget closes a publisher that failed: what it knows of the brokers and of
// its own sequence may be wrong, and certificates may have been renewed.
func (p *LetterPublisher) forget(pub *wmkafka.Publisher) {
	p.mu.Lock()
	mine := p.pub == pub
	if mine {
		p.pub = nil
	}
	p.mu.Unlock()
	if mine {
		p.sends.Lock()
		defer p.sends.Unlock()
		_ = pub.Close()
	}
}

// Close waits for the letters on their way and disconnects. It is idempotent.
func (p *LetterPublisher) Close() error {
	p.sends.Lock()
	defer p.sends.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.pub == nil {
		return nil
	}
	pub := p.pub
	p.pub = nil
	return pub.Close()
}

// letterMarshaler cannot fail: a letter that cannot be written would stop the
// route that wants to be rid of it.
type letterMarshaler struct{}

func (letterMarshaler) Marshal(topic string, msg *message.Message) (*sarama.ProducerMessage, error) {
	var headers []sarama.RecordHeader
	if hs := logs.HeadersOf(msg); len(hs) > 0 {
		for _, h := range hs {
			headers = append(headers, sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
		}
	} else {
		for k, v := range msg.Metadata {
			headers = append(headers, sarama.RecordHeader{Key: []byte(k), Value: []byte(v)})
		}
	}
	m := &sarama.ProducerMessage{Topic: topic, Headers: headers}
	if msg.UUID != "" {
		m.Key = sarama.StringEncoder(msg.UUID)
	}
	if msg.Payload != nil {
		m.Value = sarama.ByteEncoder(msg.Payload)
	}
	return m, nil
}

// letterDays is how long a letter waits for somebody: four times as long as Kafka
// keeps records unless told otherwise, so that a letter outlives its record.
const letterDays = 30

// EnsurePoisonTopic makes topic, compacted, with a retention of 30 days and with
// room for the largest line, unless it is there. A topic that is there stays as it is, and settings that
// the broker does not know are left out.
func EnsurePoisonTopic(ctx context.Context, cfg config.Kafka, topic string) error {
	cl, err := NewClient(cfg)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	list, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return fmt.Errorf("look for poison topic %q: %w", topic, err)
	}
	if list.Has(topic) {
		return nil
	}
	for _, settings := range []map[string]*string{
		{
			"cleanup.policy":    kadm.StringPtr("compact,delete"),
			"retention.ms":      kadm.StringPtr(fmt.Sprint(letterDays * 24 * time.Hour.Milliseconds())),
			"max.message.bytes": kadm.StringPtr(fmt.Sprint(letterBytes)),
		},
		{"cleanup.policy": kadm.StringPtr("compact")},
		nil,
	} {
		_, err = adm.CreateTopic(ctx, -1, -1, settings, topic)
		if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
			return nil
		}
		if !errors.Is(err, kerr.InvalidConfig) && !errors.Is(err, kerr.PolicyViolation) {
			break
		}
	}
	return fmt.Errorf("make poison topic %q: %w", topic, err)
}
