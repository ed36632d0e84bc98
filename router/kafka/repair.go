package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

// repair answers for the lines that failed. The client fails everything of a
// partition when the broker refuses one batch, so a refusal says nothing about
// a line yet: such lines are sent again in halves until it is known whose fault
// it is. The verdicts are those on lines before.
//
// Batches are cut to the topic's limit, so this happens when that limit has just
// fallen. Lines that entered the client between the broker's no and the client's
// word of it may then be in the topic before those that are sent again; at no
// other time does a refusal change the order.
func (p *Publisher) repair(ctx context.Context, topic string, b *logs.Batch, s *sending, verdicts map[int]error) error {
	if verdicts == nil {
		verdicts = make(map[int]error)
	}
	var refused []int
	onlyRefused := true
	failed := s.failed()
	for i := range s.recs {
		err := failed[&s.recs[i]]
		switch {
		case err == nil:
		case refuses(err):
			refused = append(refused, s.line(i))
		default:
			onlyRefused = false
			verdicts[s.line(i)] = p.verdict(ctx, topic, err)
		}
	}
	if len(refused) > 0 && onlyRefused {
		// From here on the batch waits until the one before it is settled, as
		// in any attempt but the first.
		b.Turn.Sent()
		if err := b.Turn.Await(ctx); err != nil {
			return err
		}
		big, err := p.bigClient()
		if err != nil {
			return err
		}
		p.careful.Add(1)
		c := careful{p: p, topic: topic, batch: b, send: s, client: big, verdicts: verdicts}
		c.halves(ctx, refused)
		if p.limits.fell(ctx, p.client, topic) {
			// The client knows a topic's limit once and for all, unless it
			// forgets the topic. What it holds of it then fails, and is sent
			// again as after any failure.
			p.client.PurgeTopicsFromProducing(topic)
		}
	}
	return unsettled(b, verdicts)
}

// unsettled returns the error that names all lines that are not settled, or nil.
func unsettled(b *logs.Batch, verdicts map[int]error) error {
	if b.Pending() == 0 {
		return nil
	}
	bad := &logs.BatchError{}
	for i := range b.Lines {
		if b.Settled(i) {
			continue
		}
		err, known := verdicts[i]
		if known && bad.Cause == nil {
			bad.Cause = err
		}
		if !known {
			err = errNotReached
		}
		bad.Failed(i, err)
	}
	return bad
}

var errNotReached = logs.AsUnavailable(errors.New("publish: not sent yet, since another line failed before it"))

// careful sends lines again in parts, one part at a time.
type careful struct {
	p        *Publisher
	topic    string
	batch    *logs.Batch
	send     *sending
	client   *kgo.Client
	verdicts map[int]error
}

// halves sends lines and, if the broker refuses them, their halves, in order.
// It says whether to go on: a refusal of one line is that line's fate, any
// other failure is everybody's.
func (c *careful) halves(ctx context.Context, lines []int) bool {
	s := c.send
	s.begin(ctx, c.client, c.batch.Turn)
	s.fillLines(c.topic, c.batch, lines)
	s.end()
	<-s.done
	c.p.settle(s, c.batch)
	failed := s.failed()
	if failed == nil {
		return true
	}
	var left []int
	for i := range s.recs {
		err := failed[&s.recs[i]]
		if err == nil {
			continue
		}
		left = append(left, s.line(i))
		if !refuses(err) || len(lines) == 1 {
			c.verdicts[s.line(i)] = c.p.verdict(ctx, c.topic, err)
			return refuses(err)
		}
	}
	if len(left) == 1 {
		return c.halves(ctx, left)
	}
	return c.halves(ctx, left[:len(left)/2]) && c.halves(ctx, left[len(left)/2:])
}

// refuses says whether err may be the fault of one record.
func refuses(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) ||
		errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.InvalidTimestamp)
}

// verdict makes of a record's error what the stages understand.
func (p *Publisher) verdict(ctx context.Context, topic string, err error) error {
	switch {
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return fmt.Errorf("publish to %q: %w", topic, ctx.Err())
	case errors.Is(err, kgo.ErrClientClosed):
		return errClosed
	case errors.Is(err, context.Canceled):
		return logs.AsUnavailable(fmt.Errorf("publish to %q: given up together with another batch of the partition", topic))
	}
	code := kafkaCode(err)
	if errors.Is(err, kerr.UnknownTopicID) {
		// The topic was deleted and made again, and the client keeps to the
		// one it knew.
		p.limits.known.Delete(topic)
		p.client.PurgeTopicsFromProducing(topic)
	}
	if refuses(err) {
		p.refused.Add(1)
		r := &logs.Refusal{Status: int(code.Code), Type: code.Message, Reason: code.Description}
		p.cond.fail(fmt.Errorf("publish to %q: %w", topic, r))
		return r
	}
	err = logs.AsUnavailable(fmt.Errorf("publish to %q: %w", topic, p.cond.explain(err)))
	p.cond.fail(err)
	return err
}
