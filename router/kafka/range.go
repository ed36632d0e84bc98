package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/handlers/logs"
)

// rangeAtOnce bounds the messages of a range that are in flight.
const rangeAtOnce = 16

// RangeSubscriber hands out the records of spans, each once, as polls, without
// a consumer group. A nacked message comes again after a pause. The channel is
// closed when all is acked, or when the context of Subscribe has ended. It is
// used once.
type RangeSubscriber struct {
	reader *Reader
	spans  []logs.Span
	budget int64
	// MaxRecords bounds the records of one message; 0 leaves it to the reader.
	// It is set before Subscribe.
	MaxRecords int

	read, skipped atomic.Int64
	unsettled     atomic.Bool
	err           error // set before the channel is closed

	stop    func()
	stopped <-chan struct{}
	running sync.WaitGroup
}

var _ message.Subscriber = (*RangeSubscriber)(nil)

// NewRangeSubscriber returns a subscriber that keeps at most about
// maxInFlight bytes of records in memory.
func NewRangeSubscriber(r *Reader, spans []logs.Span, maxInFlight int64) *RangeSubscriber {
	stopped := make(chan struct{})
	return &RangeSubscriber{reader: r, spans: spans, budget: maxInFlight,
		stop: sync.OnceFunc(func() { close(stopped) }), stopped: stopped}
}

// Read returns how many records were handed out so far, and how many nobody
// can read. Any goroutine may call it.
func (s *RangeSubscriber) Read() (records, skipped int64) { return s.read.Load(), s.skipped.Load() }

// Err says why not all was read and acked, or nil. It is called after Wait, or
// after the channel was closed.
func (s *RangeSubscriber) Err() error { return s.err }

// Stop ends the reading; what is in flight settles, and the channel closes. It
// is idempotent.
func (s *RangeSubscriber) Stop() { s.stop() }

// Wait returns when the channel is closed, or none was asked for.
func (s *RangeSubscriber) Wait() { s.running.Wait() }

// Close is Stop.
func (s *RangeSubscriber) Close() error {
	s.stop()
	return nil
}

var errRangeStopped = errors.New("stopped before the end")

// Subscribe starts to read; the topic says nothing.
func (s *RangeSubscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	s.running.Go(func() {
		defer close(out)
		s.run(ctx, out)
	})
	return out, nil
}

func (s *RangeSubscriber) run(ctx context.Context, out chan<- *message.Message) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, s.stop)()
	var flights sync.WaitGroup
	flights.Go(func() {
		select {
		case <-s.stopped:
			cancel()
		case <-reading.Done():
		}
	})
	var (
		held  = newBudget(s.budget)
		slots = make(chan struct{}, rangeAtOnce)
	)
	send := func(p *logs.Poll) error {
		if err := held.wait(reading); err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		case <-reading.Done():
			return reading.Err()
		}
		size := p.Bytes + int64(len(p.Records))*recordCost
		held.add(size)
		flights.Go(func() {
			s.deliver(ctx, out, p)
			held.free(size)
			<-slots
		})
		return nil
	}
	skipped, err := s.reader.Read(reading, s.spans, func(p *logs.Poll) error {
		for _, part := range s.parts(p) {
			if err := send(part); err != nil {
				return err
			}
		}
		return nil
	})
	s.skipped.Store(skipped)
	switch {
	case err != nil && reading.Err() != nil:
		s.err = errRangeStopped
	case err != nil:
		s.err = err
	}
	cancel()
	flights.Wait()
	if s.err == nil && s.unsettled.Load() {
		s.err = errRangeStopped
	}
}

// parts cuts p into polls of at most MaxRecords.
func (s *RangeSubscriber) parts(p *logs.Poll) []*logs.Poll {
	if s.MaxRecords <= 0 || len(p.Records) <= s.MaxRecords {
		return []*logs.Poll{p}
	}
	var parts []*logs.Poll
	for recs := range slices.Chunk(p.Records, s.MaxRecords) {
		part := &logs.Poll{Topic: p.Topic, Partition: p.Partition, Records: recs}
		for i := range recs {
			part.Bytes += int64(len(recs[i].Key) + len(recs[i].Value))
		}
		parts = append(parts, part)
	}
	return parts
}

// deliver hands p out until it is acked or ctx ends.
func (s *RangeSubscriber) deliver(ctx context.Context, out chan<- *message.Message, p *logs.Poll) {
	for ctx.Err() == nil {
		mctx, end := context.WithCancel(ctx)
		msg := newMessage(p, false)
		msg.SetContext(mctx)
		logs.AttachPoll(msg, p)
		acked := handOut(ctx, out, msg)
		end()
		if acked {
			s.read.Add(int64(len(p.Records)))
			return
		}
		select {
		case <-time.After(defaultNackPause):
		case <-ctx.Done():
		}
	}
	s.unsettled.Store(true)
}

func handOut(ctx context.Context, out chan<- *message.Message, msg *message.Message) (acked bool) {
	select {
	case out <- msg:
	case <-ctx.Done():
		return false
	}
	select {
	case <-msg.Acked():
		return true
	case <-msg.Nacked():
	case <-ctx.Done():
	}
	return false
}
