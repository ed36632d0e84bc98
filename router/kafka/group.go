package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// onAssigned starts the partitions that came. The client calls it, and the
// other callbacks, one at a time and never between a poll and AllowRebalance.
func (c *consumer) onAssigned(ctx context.Context, m map[string][]int32) {
	c.counts.rebalances.Add(1)
	if c.cond.clear("group") {
		c.log.Info("consumer group is joined again", "group", c.o.Group)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	for topic, numbers := range m {
		for _, n := range numbers {
			p := newPartition(c, topic, n)
			c.parts[topicPartition{topic, n}] = p
			c.children.Go(func() { p.run(ctx) })
		}
	}
}

// onOffsets learns where each partition goes on, for the lag, and to notice what
// expired. A partition without a commit is given its oldest offset in so many
// words: the client can be told to go past a bad batch only if it knows where
// it was.
func (c *consumer) onOffsets(ctx context.Context, offsets map[string]map[int32]kgo.Offset) map[string]map[int32]kgo.Offset {
	var fresh []string
	for topic, ps := range offsets {
		for _, o := range ps {
			if o.EpochOffset().Offset < 0 {
				fresh = append(fresh, topic)
				break
			}
		}
	}
	var oldest kadm.ListedOffsets
	if len(fresh) > 0 {
		ctx, cancel := context.WithTimeout(ctx, oldestTimeout)
		defer cancel()
		// Without an answer the client finds the oldest by itself.
		oldest, _ = kadm.NewClient(c.client).ListStartOffsets(ctx, fresh...)
	}
	for topic, ps := range offsets {
		for number, o := range ps {
			at := o.EpochOffset().Offset
			if l, ok := oldest.Lookup(topic, number); ok && at < 0 && l.Err == nil {
				at = l.Offset
				ps[number] = kgo.NewOffset().At(at)
			}
			if p := c.partition(topic, number); p != nil && at >= 0 {
				p.committed.Store(at)
				p.expect = at
			}
		}
	}
	return offsets
}

// onRevoked hands partitions over: what is in flight may settle for a while,
// and what is settled is committed before another member goes on from there.
func (c *consumer) onRevoked(ctx context.Context, m map[string][]int32) {
	ps := c.named(m)
	for _, p := range ps {
		p.retire()
	}
	late := time.NewTimer(handoverWait)
	defer late.Stop()
	for _, p := range ps {
		select {
		case <-p.gone:
		case <-late.C:
			late.Reset(0)
			p.drop()
			<-p.gone
		case <-c.stopping:
			p.drop()
			<-p.gone
		}
	}
	c.commit(context.WithoutCancel(ctx), ps)
	c.remove(ps)
}

// onLost forgets partitions that belong to somebody else already.
func (c *consumer) onLost(m map[string][]int32) {
	ps := c.named(m)
	for _, p := range ps {
		p.drop()
		<-p.gone
	}
	// A commit under way still names them, under the old membership; it must
	// not end up under a new one.
	c.commitMu.Lock()
	defer c.commitMu.Unlock()
	c.remove(ps)
}

func (c *consumer) named(m map[string][]int32) []*partition {
	var ps []*partition
	for topic, numbers := range m {
		for _, n := range numbers {
			if p := c.partition(topic, n); p != nil {
				ps = append(ps, p)
			}
		}
	}
	return ps
}

func (c *consumer) remove(ps []*partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range ps {
		delete(c.parts, topicPartition{p.topic, p.number})
	}
}

func (c *consumer) commitLoop(ctx context.Context) {
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.commit(ctx, nil)
		case <-ctx.Done():
			return
		}
	}
}

// commit writes how far ps, or all partitions for nil, are settled. A commit
// that fails is counted and said once, and made up for by the next.
func (c *consumer) commit(ctx context.Context, ps []*partition) {
	c.commitMu.Lock()
	defer c.commitMu.Unlock()
	if ps == nil {
		ps = c.assigned()
	}
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	for _, p := range ps {
		if o, ok := p.uncommitted(); ok {
			if offsets[p.topic] == nil {
				offsets[p.topic] = make(map[int32]kgo.EpochOffset)
			}
			offsets[p.topic][p.number] = o
		}
	}
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	c.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
		c.committed(offsets, r, err)
	})
}

func (c *consumer) committed(offsets map[string]map[int32]kgo.EpochOffset, r *kmsg.OffsetCommitResponse, err error) {
	if err == nil {
		for _, t := range r.Topics {
			for _, rp := range t.Partitions {
				if e := kerr.ErrorForCode(rp.ErrorCode); e != nil {
					err = e
				} else if p := c.partition(t.Topic, rp.Partition); p != nil {
					p.committed.Store(offsets[t.Topic][rp.Partition].Offset)
				}
			}
		}
	}
	if err == nil {
		c.counts.commits.Add(1)
		if c.cond.clear("commit") {
			c.log.Info("offsets are committed again", "group", c.o.Group)
		}
		return
	}
	if errors.Is(err, context.Canceled) {
		return
	}
	c.counts.commitErrors.Add(1)
	err = fmt.Errorf("commit offsets of group %q: %w", c.o.Group, err)
	c.cond.fail(err)
	// A rebalance refuses commits for a moment, as it should.
	if !errors.Is(err, kerr.RebalanceInProgress) && c.cond.raise("commit") {
		c.log.Warn("offsets cannot be committed, records may be read again", "error", err)
	}
}
