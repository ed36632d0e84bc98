package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readTries is how often a batch that cannot be read is fetched again before
// it is given up: it may have been damaged on the way only.
const readTries = 5

// trouble deals with what a fetch says instead of records. Nothing is passed
// over in silence: what nobody can read is counted, said and gone past, and then
// trouble returns true.
func (c *consumer) trouble(ctx context.Context, topic string, f *kgo.FetchPartition, p *partition) bool {
	err := f.Err
	var (
		session  *kgo.ErrGroupSession
		loss     *kgo.ErrDataLoss
		tooLarge *kgo.ErrDecompressTooLarge
		code     *kerr.Error
	)
	switch {
	case ctx.Err() != nil || errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, context.Canceled):
	case errors.As(err, &session) && errors.Is(session.Err, kerr.FencedInstanceID):
		c.cond.fail(fmt.Errorf("join group %q as %q: %w", c.o.Group, c.o.Instance, session.Err))
		c.fenced.Store(true)
		c.stop()
	case errors.As(err, &session):
		c.say(nil, "group", "consumer group cannot be joined, trying until it can", fmt.Errorf("join group %q: %w", c.o.Group, session.Err))
	case errors.As(err, &loss):
		c.cond.fail(err)
		c.log.Warn("kafka has lost records that were read already; going on where it can",
			"topic", topic, "partition", f.Partition, "read_to", loss.ConsumedTo, "going_on_at", loss.ResetTo)
		if p != nil {
			p.expect = -1
		}
	case errors.As(err, &tooLarge) && p != nil:
		c.skip(ctx, p, kgo.EpochOffset{Epoch: tooLarge.Epoch, Offset: tooLarge.NextOffset}, tooLarge.NextOffset-tooLarge.Offset, err)
		return true
	case errors.As(err, &code):
		c.say(p, fmt.Sprint("fetch ", topic, " ", code.Message), "topic cannot be read, trying until it can", fmt.Errorf("fetch %q: %w", topic, err))
	case p != nil && p.expect >= 0 && len(f.Records) == 0 && f.HighWatermark > p.expect:
		// A batch of which neither length nor end can be trusted is passed
		// record by record, until the fetch begins behind it.
		if p.stuck++; p.stuck > readTries {
			c.skip(ctx, p, kgo.EpochOffset{Epoch: -1, Offset: p.expect + 1}, 1, err)
			return true
		}
	default:
		c.say(p, fmt.Sprint("read ", topic, "/", f.Partition), "records cannot be read", fmt.Errorf("read %q partition %d: %w", topic, f.Partition, err))
	}
	return false
}

// say warns of a condition once, until readable ends it for partition p.
func (c *consumer) say(p *partition, key, msg string, err error) {
	c.cond.fail(err)
	if p != nil {
		p.said = key
	}
	if c.cond.raise(key) {
		c.log.Warn(msg, "error", err)
	}
}

// readable notes that records came.
func (c *consumer) readable(p *partition) {
	p.stuck = 0
	if p.said == "" {
		return
	}
	if c.cond.clear(p.said) {
		c.log.Info("topic is read again", "topic", p.topic)
	}
	p.said = ""
}

// skip goes past n records that nobody can read.
func (c *consumer) skip(ctx context.Context, p *partition, to kgo.EpochOffset, n int64, err error) {
	c.counts.skipped.Add(n)
	c.say(p, fmt.Sprint("read ", p.topic, "/", p.number), "records cannot be read and are passed over",
		fmt.Errorf("read %q partition %d at offset %d: %w", p.topic, p.number, to.Offset-n, err))
	p.expect = to.Offset
	c.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{p.topic: {p.number: to}})
	select {
	case p.inbox <- fetched{skip: to}:
	case <-p.gone:
	case <-ctx.Done():
	}
}

// expired says that retention deleted records before they were read.
func (c *consumer) expired(p *partition, n int64) {
	c.counts.gaps.Add(n)
	err := fmt.Errorf("read %q partition %d: %d records from offset %d on were deleted before they were read", p.topic, p.number, n, p.expect)
	c.cond.fail(err)
	c.log.Warn("kafka deleted records before they were read; its retention is shorter than the lag", "error", err)
}

// rejoin forgets topics that were deleted and made again: the client keeps to
// the topic it knew. What was settled of the old one says nothing of the new.
func (c *consumer) rejoin(fetches kgo.Fetches) {
	fetches.EachError(func(topic string, number int32, err error) {
		if !errors.Is(err, kerr.UnknownTopicID) {
			return
		}
		c.log.Warn("topic was deleted and made again; reading the new one from its start", "topic", topic)
		for _, p := range c.assigned() {
			if p.topic == topic {
				p.drop()
				<-p.gone
				p.done.Store(nil)
			}
		}
		c.client.PurgeTopicsFromConsuming(topic)
		c.client.AddConsumeTopics(topic)
	})
}
