package kafka

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

// partition hands out the records of one assigned partition and remembers how
// far they are settled. One goroutine runs it.
type partition struct {
	c      *consumer
	topic  string
	number int32

	inbox  chan fetched  // from the goroutine that polls
	retire func()        // hand out nothing more; end when all in flight is settled
	drop   func()        // end now, whatever is in flight
	gone   chan struct{} // closed when run has ended

	retired <-chan struct{}
	dropped <-chan struct{}

	done      atomic.Pointer[kgo.EpochOffset] // the next offset to commit
	committed atomic.Int64                    // -1 when unknown
	end       atomic.Int64                    // -1 when unknown
	queued    atomic.Int64                    // bytes fetched and not handed out
	oldest    atomic.Int64                    // when the first record that is not settled was written, in ms; 0 when there is none
	paused    atomic.Bool

	// owned by the goroutine that polls
	expect int64  // the next offset that should come, -1 when unknown
	stuck  int    // fetches in a row that nothing could be read from
	said   string // the condition that was said of it

	// owned by run
	queue  []fetched
	flight []*delivery
	ready  *delivery // made and not handed out yet
	pause  *time.Timer
}

// fetched is records in order, or a place to go on from when what was before
// it cannot be read.
type fetched struct {
	recs []*kgo.Record
	skip kgo.EpochOffset // when there are no records
}

// delivery is one message in flight, or waiting to come again.
type delivery struct {
	poll          *polled
	msg           *message.Message
	end           context.CancelFunc // of the message's context
	acked, nacked <-chan struct{}
	next          kgo.EpochOffset // to commit when this and all before are acked
	cost          int64
}

func newPartition(c *consumer, topic string, number int32) *partition {
	retired, dropped := make(chan struct{}), make(chan struct{})
	p := &partition{
		c: c, topic: topic, number: number,
		inbox:   make(chan fetched),
		gone:    make(chan struct{}),
		retired: retired, dropped: dropped,
		expect: -1,
		pause:  time.NewTimer(0),
	}
	p.retire = sync.OnceFunc(func() { close(retired) })
	p.drop = sync.OnceFunc(func() { close(dropped) })
	p.pause.Stop()
	p.committed.Store(-1)
	p.end.Store(-1)
	return p
}

// run ends when the partition was dropped, when ctx ends, or when it was
// retired and nothing is in flight. The messages' contexts end with it.
func (p *partition) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer close(p.gone)
	defer p.oldest.Store(0)
	defer p.letGo()
	defer cancel()
	retired := p.retired
	for {
		p.prepare(ctx, retired == nil)
		p.oldest.Store(p.head())
		if retired == nil && len(p.flight) == 0 {
			return
		}
		var out chan<- *message.Message
		var next *message.Message
		if p.ready != nil {
			out, next = p.c.out, p.ready.msg
		}
		var acked, nacked <-chan struct{}
		if len(p.flight) > 0 && p.flight[0] != p.ready {
			acked, nacked = p.flight[0].acked, p.flight[0].nacked
		}
		select {
		case out <- next:
			p.handedOut()
		case <-acked:
			p.settled()
		case <-nacked:
			if retired == nil {
				// There is no time for another try: what is behind it cannot
				// be committed either, and comes again elsewhere.
				return
			}
			p.flight[0].end()
			p.flight[0].acked, p.flight[0].nacked = nil, nil
			p.pause.Reset(p.c.o.NackPause)
		case <-p.pause.C:
			p.again(ctx)
		case f := <-p.inbox:
			p.queue = append(p.queue, f)
		case <-retired:
			retired = nil
			p.dropQueue()
		case <-p.dropped:
			return
		case <-ctx.Done():
			return
		}
	}
}

// head returns when the first record that was fetched and is not settled was
// written, in ms; 0 when there is none, or when nobody knows.
func (p *partition) head() int64 {
	for _, d := range p.flight {
		if d.poll != nil {
			return millis(d.poll.Records[0].Time)
		}
	}
	if p.ready != nil {
		return millis(p.ready.poll.Records[0].Time)
	}
	for _, f := range p.queue {
		if len(f.recs) > 0 {
			return millis(f.recs[0].Timestamp)
		}
	}
	return 0
}

func millis(t time.Time) int64 { return max(t.UnixMilli(), 0) }

// lag returns how old the first record that is not settled is.
func (p *partition) lag(now time.Time) float64 {
	oldest := p.oldest.Load()
	if oldest == 0 {
		return 0
	}
	return max(now.Sub(time.UnixMilli(oldest)).Seconds(), 0)
}

// prepare makes the next message when there is room in the window.
func (p *partition) prepare(ctx context.Context, retired bool) {
	for p.ready == nil && !retired && len(p.queue) > 0 && len(p.flight) < p.c.o.Window {
		f := &p.queue[0]
		if f.recs == nil {
			p.flight = append(p.flight, &delivery{acked: closed, next: f.skip})
			p.pop()
			continue
		}
		n, size := p.take(f.recs)
		d := &delivery{poll: newPoll(f.recs[:n]), cost: size}
		last := f.recs[n-1]
		d.next = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
		if f.recs = f.recs[n:]; len(f.recs) == 0 {
			p.pop()
		}
		p.make(ctx, d)
		p.ready = d
	}
}

// take says how many of recs one message carries, and what they cost.
func (p *partition) take(recs []*kgo.Record) (n int, total int64) {
	size := 0
	most, mostBytes := p.c.o.Cut.of(p.c.o.MaxRecords, maxMessageBytes)
	for n = 0; n < len(recs) && n < most; n++ {
		size += len(recs[n].Key) + len(recs[n].Value)
		if n > 0 && size > mostBytes {
			break
		}
		total += cost(recs[n])
	}
	return n, total
}

func (p *partition) pop() {
	p.queue[0] = fetched{}
	p.queue = p.queue[1:]
}

func (p *partition) make(ctx context.Context, d *delivery) {
	ctx, d.end = context.WithCancel(ctx)
	d.msg = newMessage(&d.poll.Poll, p.c.o.MaxRecords == 1)
	d.msg.SetContext(ctx)
	logs.AttachPoll(d.msg, &d.poll.Poll)
}

func (p *partition) handedOut() {
	d := p.ready
	p.ready = nil
	d.acked, d.nacked = d.msg.Acked(), d.msg.Nacked()
	if len(p.flight) > 0 && p.flight[0] == d {
		p.c.counts.redelivered.Add(1)
		return
	}
	p.flight = append(p.flight, d)
	p.c.counts.inFlight.Add(1)
	left := p.queued.Add(-d.cost)
	if left < p.c.resumeAt && p.paused.CompareAndSwap(true, false) {
		p.c.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.number}})
	}
}

// again makes a new message of the first in flight, which was nacked. One that
// is made and not handed out waits behind it.
func (p *partition) again(ctx context.Context) {
	if p.ready != nil && p.ready != p.flight[0] {
		p.unready()
	}
	p.make(ctx, p.flight[0])
	p.ready = p.flight[0]
}

// unready puts the records of a message that was not handed out back.
func (p *partition) unready() {
	recs := make([]*kgo.Record, len(p.ready.poll.Records))
	for i := range recs {
		recs[i] = p.ready.poll.originals[i].rec
	}
	p.queue = append([]fetched{{recs: recs}}, p.queue...)
	p.ready.end()
	p.ready = nil
}

// settled takes the first off the flight and moves the offset to commit.
func (p *partition) settled() {
	d := p.flight[0]
	p.flight[0] = nil
	p.flight = p.flight[1:]
	p.done.Store(&d.next)
	if d.poll == nil {
		return
	}
	d.end()
	p.c.budget.free(d.cost)
	p.c.counts.inFlight.Add(-1)
	p.c.counts.messages.Add(1)
	p.c.counts.records.Add(int64(len(d.poll.Records)))
	p.c.counts.bytes.Add(d.poll.Bytes)
	d.poll.recycle()
}

// letGo counts what was acked by now and forgets the rest.
func (p *partition) letGo() {
	for len(p.flight) > 0 {
		select {
		case <-p.flight[0].acked:
			p.settled()
			continue
		default:
		}
		break
	}
	for _, d := range p.flight {
		if d.poll != nil {
			p.c.budget.free(d.cost)
			p.c.counts.inFlight.Add(-1)
		}
	}
	p.flight = nil
	p.dropQueue()
	p.pause.Stop()
}

// dropQueue forgets what was not handed out.
func (p *partition) dropQueue() {
	if p.ready != nil && (len(p.flight) == 0 || p.flight[0] != p.ready) {
		p.c.budget.free(p.ready.cost)
		p.ready = nil
	}
	for _, f := range p.queue {
		for _, r := range f.recs {
			p.c.budget.free(cost(r))
		}
	}
	p.queue = nil
	p.queued.Store(0)
	if p.paused.CompareAndSwap(true, false) {
		p.c.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.number}})
	}
}

// uncommitted returns the offset to commit, if it is another than the last.
func (p *partition) uncommitted() (kgo.EpochOffset, bool) {
	o := p.done.Load()
	if o == nil || o.Offset == p.committed.Load() {
		return kgo.EpochOffset{}, false
	}
	return *o, true
}

var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
