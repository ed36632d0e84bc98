package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

const (
	// maxBatchBytes is the largest record batch that brokers take as they
	// come: Kafka's own max.message.bytes is 1,048,588.
	maxBatchBytes = 1_000_012
	// produceTimeout is how long a broker may wait for its in-sync replicas;
	// one that does not answer is given up after this and answerTimeout.
	produceTimeout = 10 * time.Second
	answerTimeout  = 5 * time.Second
)

var errClosed = fmt.Errorf("kafka publisher is closed: %w", context.Canceled)

// PublisherOptions are what a publisher needs beside the connection.
type PublisherOptions struct {
	// Logger takes what a person must act on; nil discards it.
	Logger *slog.Logger
}

// PublisherStats are counts since the publisher was made, and gauges.
type PublisherStats struct {
	Records       int64 // acknowledged by all in-sync replicas
	Bytes         int64 // values of those records
	Failed        int64 // records whose publishing failed, each attempt counted
	Refused       int64 // records that the broker will never take
	Careful       int64 // batches that were sent again in parts
	Buffered      int64 // records in the client
	BufferedBytes int64
	LastError     string
}

// Publisher publishes batches of lines, one record for each line, and, as any
// Watermill publisher does, single messages. All its methods are safe for
// concurrent use.
type Publisher struct {
	cfg    config.Kafka
	log    *slog.Logger
	client *kgo.Client
	cond   conditions
	limits limits
	pool   sync.Pool // *sending

	// sends is held for reading while records are in the client, so that
	// Close returns when nobody's bytes are in use.
	sends  sync.RWMutex
	closed atomic.Bool

	bigMu sync.Mutex
	big   *kgo.Client // made when it is first needed

	records, bytes, failed, refused, careful atomic.Int64
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher makes a publisher; it connects when it is first used. Records
// are acknowledged by all in-sync replicas, idempotent within one connection's
// life, and tried again for as long as the error may pass.
func NewPublisher(cfg config.Kafka, o PublisherOptions) (*Publisher, error) {
	p := &Publisher{cfg: cfg, log: orDiscard(o.Logger), limits: limits{timeout: limitTimeout}}
	p.pool.New = func() any { return newSending() }
	cl, err := p.connect(kgo.ProducerBatchMaxBytesFn(p.limits.of))
	if err != nil {
		return nil, err
	}
	p.client = cl
	return p, nil
}

func (p *Publisher) connect(opts ...kgo.Opt) (*kgo.Client, error) {
	codec, err := compression(p.cfg.Compression)
	if err != nil {
		return nil, fmt.Errorf("make kafka publisher: %w", err)
	}
	return NewClient(p.cfg, append([]kgo.Opt{
		kgo.WithLogger(clientLog{p.log}),
		kgo.WithHooks(watch{p.log, &p.cond}),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(codec, kgo.NoCompression()),
		kgo.RecordPartitioner(keyed{}),
		// Nothing waits for company: under load, what comes while requests are
		// under way makes full batches anyway, at the same cost by line.
		kgo.ProducerLinger(0),
		kgo.AllowAutoTopicCreation(),
		kgo.ProduceRequestTimeout(produceTimeout),
		kgo.RequestTimeoutOverhead(answerTimeout),
		// A topic that is made a moment later must not wait for long.
		kgo.MetadataMinAge(time.Second),
		// What is in flight is bounded where files are read.
		kgo.MaxBufferedRecords(math.MaxInt32),
		// A message's end is honoured although its records may be on their
		// way: they come again, and the document's id hides the repeat.
		kgo.AllowIdempotentProduceCancellation(),
	}, opts...)...)
}

// Publish sends msgs to topic, one after the other, and returns when all their
// records are acknowledged by all in-sync replicas.
//
// Of a message that carries a [logs.Batch], each pending line becomes a record,
// and each acknowledged line is settled. It returns a *logs.BatchError that
// names the lines which failed: a [logs.Refusal] for a line that the topic will
// never take, and an error of kind logs.Unavailable, logs.Transient or
// logs.Stopped for the others. Of any other message, the payload becomes the
// value of one record, and its headers are those of logs.HeadersOf or else its
// UUID and metadata.
//
// When the message's context ends, Publish returns as soon as the client has
// let go of the batch's bytes: at once, or, when lines of other batches of the
// partition are on the wire before them, after the broker's answer to those,
// which a broker that hangs owes for up to 15 s; Close ends that wait too. What
// was not acknowledged by then stays pending and may be in Kafka all the same.
func (p *Publisher) Publish(topic string, msgs ...*message.Message) error {
	for _, msg := range msgs {
		var err error
		if b := logs.BatchOf(msg); b != nil {
			err = p.publishBatch(msg.Context(), topic, b)
		} else {
			err = p.publishMessage(msg.Context(), topic, msg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) publishBatch(ctx context.Context, topic string, b *logs.Batch) error {
	if b.Pending() == 0 {
		b.Turn.Sent()
		return nil
	}
	if err := b.Turn.Await(ctx); err != nil {
		return err
	}
	if err := p.enter(ctx, topic); err != nil {
		return err
	}
	defer p.sends.RUnlock()

	s := p.pool.Get().(*sending)
	defer p.pool.Put(s)
	var verdicts map[int]error
	for next := 0; next < len(b.Lines); {
		from := next
		client := p.client
		s.begin(ctx, client, b.Turn)
		if next = s.fill(topic, b, from, p.limits.of(topic)); next == from {
			// A line that no ordinary batch has room for goes alone, by
			// another connection: nothing of the file may be under way.
			if err := b.Turn.AwaitSettled(ctx); err != nil {
				return err
			}
			var err error
			if client, err = p.bigClient(); err != nil {
				return err
			}
			s.begin(ctx, client, b.Turn)
			s.fillLines(topic, b, []int{from})
			next = from + 1
		}
		if len(s.recs) == 0 {
			continue
		}
		s.end()
		if next == len(b.Lines) && client == p.client {
			b.Turn.Sent()
		}
		<-s.done
		p.settle(s, b)
		switch {
		case len(s.fails) == 0:
		case client != p.client && refuses(s.fails[0].err):
			if verdicts == nil {
				verdicts = make(map[int]error)
			}
			verdicts[from] = p.verdict(ctx, topic, s.fails[0].err)
		default:
			return p.repair(ctx, topic, b, s, verdicts)
		}
	}
	b.Turn.Sent()
	if verdicts != nil {
		return unsettled(b, verdicts)
	}
	return nil
}

// enter keeps Close from pulling the client away, and learns the topic's limit
// before its first record. The caller unlocks p.sends when err is nil.
func (p *Publisher) enter(ctx context.Context, topic string) error {
	p.sends.RLock()
	if p.closed.Load() {
		p.sends.RUnlock()
		return errClosed
	}
	if err := p.limits.learn(ctx, p.client, topic); err != nil {
		p.sends.RUnlock()
		return p.verdict(ctx, topic, err)
	}
	return nil
}

// settle marks what was acknowledged.
func (p *Publisher) settle(s *sending, b *logs.Batch) {
	size := s.size
	failed := s.failed()
	if s.whole && len(failed) == 0 {
		b.SettleAll(len(b.Lines))
	} else {
		for i := range s.recs {
			if _, bad := failed[&s.recs[i]]; bad {
				size -= len(s.recs[i].Value)
				continue
			}
			b.Settle(s.line(i))
		}
	}
	p.records.Add(int64(len(s.recs) - len(failed)))
	p.bytes.Add(int64(size))
	p.failed.Add(int64(len(failed)))
}

func (p *Publisher) publishMessage(ctx context.Context, topic string, msg *message.Message) error {
	if err := p.enter(ctx, topic); err != nil {
		return err
	}
	defer p.sends.RUnlock()
	s := p.pool.Get().(*sending)
	defer p.pool.Put(s)
	s.fillMessage(topic, msg)
	client := p.client
	if s.oversized(p.limits.of(topic)) {
		var err error
		if client, err = p.bigClient(); err != nil {
			return err
		}
	}
	s.begin(ctx, client, nil)
	s.end()
	<-s.done
	if len(s.fails) > 0 {
		p.failed.Add(1)
		return p.verdict(ctx, topic, s.fails[0].err)
	}
	p.records.Add(1)
	p.bytes.Add(int64(len(msg.Payload)))
	return nil
}

// Stats returns the publisher's counts. It is cheap enough for every scrape.
func (p *Publisher) Stats() PublisherStats {
	return PublisherStats{
		Records:       p.records.Load(),
		Bytes:         p.bytes.Load(),
		Failed:        p.failed.Load(),
		Refused:       p.refused.Load(),
		Careful:       p.careful.Load(),
		Buffered:      p.client.BufferedProduceRecords(),
		BufferedBytes: p.client.BufferedProduceBytes(),
		LastError:     p.cond.lastText(),
	}
}

// Close ends what is being published with an error of kind logs.Stopped, waits
// until the client has let go of all bytes, and disconnects. It is idempotent.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	p.client.Close()
	p.bigMu.Lock()
	if p.big != nil {
		p.big.Close()
	}
	p.bigMu.Unlock()
	p.sends.Lock()
	defer p.sends.Unlock()
	return nil
}

// bigClient returns the client for single records that no ordinary batch has
// room for. Whether the broker takes them is the broker's affair.
func (p *Publisher) bigClient() (*kgo.Client, error) {
	p.bigMu.Lock()
	defer p.bigMu.Unlock()
	if p.closed.Load() {
		return nil, errClosed
	}
	if p.big == nil {
		cl, err := p.connect(kgo.ProducerBatchMaxBytes(1<<30), kgo.BrokerMaxWriteBytes(1<<30))
		if err != nil {
			return nil, err
		}
		p.big = cl
	}
	return p.big, nil
}
