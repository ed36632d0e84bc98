package tail

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/handlers/logs"
)

// lineCost is what one line costs beside its bytes while it is in flight: the
// line here, and the record with its headers at the Kafka client.
const lineCost = 400

// batchCost is what a batch costs beside its lines: message, goroutine, maps.
const batchCost = 4 << 10

// packet is one batch on its way.
type packet struct {
	file     *file
	in       *input // whose budget it counts in
	batch    *logs.Batch
	buf      *buffer
	cost     int64
	end      place
	tail     uint64
	done     bool
	kept     bool // until the checkpoint knows the file
	attempts int
	then     *packet // of the next file, done when this is
}

// settled is what a consumer said of a packet.
type settled struct {
	packet *packet
	acked  bool
}

type retry struct {
	at     time.Time
	packet *packet
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// handOutLines makes a batch of what a turn read and sends it.
func (s *Source) handOutLines(t *turn) {
	f := t.file
	p := &packet{file: f, in: f.in, buf: t.buf, end: t.to, tail: t.after}
	f.flight = append(f.flight, p)
	lines := t.lines()
	f.in.bytes += uint64(t.to.pos - t.from.pos)
	s.tally.Bytes += uint64(t.to.pos - t.from.pos)
	if len(lines) == 0 {
		// The rest of a line that was cut off.
		s.settle(p)
		return
	}
	f.in.lines += uint64(len(lines))
	s.tally.Lines += uint64(len(lines))
	p.cost = int64(len(p.buf.bytes)+cap(p.buf.text)) + int64(len(lines))*lineCost + batchCost
	f.in.held += p.cost
	s.held += p.cost
	f.turn = logs.NewTurn(f.turn)
	p.batch = &logs.Batch{
		Origin: f.from(s.o.Node),
		Start:  t.from.pos,
		End:    t.to.pos,
		Lines:  lines,
		Read:   t.read,
		Turn:   f.turn,
	}
	if !s.tell(p) {
		s.send(p, f.in)
	}
}

// send hands a packet to in's consumer, now or once there is one.
func (s *Source) send(p *packet, in *input) {
	if p.in != in {
		p.in.held -= p.cost
		in.held += p.cost
		p.in = in
	}
	if in.sub == nil {
		in.stash = append(in.stash, p)
		return
	}
	s.messages++
	msg := message.NewMessage(in.name+"-"+strconv.FormatUint(s.messages, 36), nil)
	msg.SetContext(in.sub.ctx)
	logs.AttachBatch(msg, p.batch)
	select {
	case in.sub.ch <- msg:
	default:
		in.stash = append(in.stash, p) // files came from another input
		return
	}
	in.handed++
	s.flights++
	s.work.Go(func() { s.await(msg, p) })
}

// await waits for the consumer's verdict on msg. It runs in a goroutine of its
// own, of which there are as many as messages in flight.
func (s *Source) await(msg *message.Message, p *packet) {
	v := settled{packet: p}
	select {
	case <-msg.Acked():
		v.acked = true
	case <-msg.Nacked():
	case <-s.quit:
		return
	}
	select {
	case s.verdicts <- v:
	case <-s.quit:
	}
}

// decided takes a consumer's verdict.
func (s *Source) decided(v settled) {
	p := v.packet
	p.in.handed--
	s.flights--
	in := p.in
	if v.acked {
		s.settle(p)
	} else {
		s.refused(p)
	}
	if in.sub != nil && len(in.stash) > 0 {
		s.unstash(in)
	}
	s.finishInput(in)
}

// refused hands a nacked packet out again after a pause, to whoever reads its
// file now.
func (s *Source) refused(p *packet) {
	s.tally.Nacks++
	s.changed = true
	p.attempts++
	if s.stopped && p.file.pipe == nil {
		p.batch.Turn.Settled() // who comes after it is not to wait for it
		return
	}
	if !p.file.in.configured || p.file.released {
		s.abandon(p)
		return
	}
	pause := min(100*time.Millisecond<<min(p.attempts-1, 6), 5*time.Second)
	s.later = append(s.later, retry{s.now.Add(pause), p})
}

func (s *Source) retryLater() {
	if len(s.later) == 0 {
		return
	}
	kept := s.later[:0]
	var due []*packet
	for _, r := range s.later {
		if r.at.After(s.now) && (!s.stopped || r.packet.file.pipe != nil) {
			kept = append(kept, r)
		} else {
			due = append(due, r.packet)
		}
	}
	s.later = kept
	for _, p := range due {
		switch {
		case s.stopped && p.file.pipe == nil:
			p.batch.Turn.Settled()
		case p.file.released || !p.file.in.configured:
			s.abandon(p)
		default:
			s.send(p, p.file.in)
		}
	}
}

// abandon gives up a packet that nobody will take: its lines will be read
// again by whoever follows the file next.
func (s *Source) abandon(p *packet) {
	p.file.spoiled = true
	p.batch.Turn.Settled() // who comes after it is not to wait for it
	s.release(p)
	if q := p.then; q != nil {
		q.done, q.file.spoiled = true, true
		s.forget(q.file)
	}
	s.forget(p.file)
	s.finishInput(p.in)
}

// release gives back what a packet holds.
func (s *Source) release(p *packet) {
	s.buffers.put(p.buf)
	p.buf = nil
	p.in.held -= p.cost
	s.held -= p.cost
	p.cost = 0
	p.done = true
}

// settle takes an acked packet, and moves the file's position over all that is
// acked without a gap. This is the only place where a position moves.
func (s *Source) settle(p *packet) {
	s.release(p)
	if q := p.then; q != nil {
		p.then = nil
		defer s.settle(q)
	}
	if p.batch != nil {
		p.batch.Turn.Settled()
		p.batch = nil
		s.tally.Batches++
	}
	s.changed = true
	f := p.file
	if f.spoiled {
		s.forget(f)
		return
	}
	n := 0
	for n < len(f.flight) && f.flight[n].done {
		f.acked, f.tail = f.flight[n].end, f.flight[n].tail
		n++
	}
	if n > 0 {
		f.flight = append(f.flight[:0], f.flight[n:]...)
		s.touch(&f.entry)
	}
	if len(f.flight) == 0 {
		f.flight, f.turn = nil, nil
		if f.packed != nil && f.packed.stage == reading && f.acked.pos >= f.packed.size {
			s.finishPacked(f)
		}
		if f.retired || f.released {
			s.forget(f)
			return
		}
		if f.gone && f.idle() {
			s.goneAt = s.now
		}
	}
	s.enqueue(f)
}

func (s *Source) subscribe(ctx context.Context, name string) (<-chan *message.Message, error) {
	if s.closed {
		return nil, ErrClosed
	}
	in := s.input(name)
	if in.sub != nil {
		return nil, fmt.Errorf("subscribe to input %q: it has a subscriber", name)
	}
	sub := &subscription{ctx: ctx, ch: make(chan *message.Message, maxHanded)}
	sub.cancel = context.AfterFunc(ctx, func() {
		// Nobody waits for this: the source ends, or it takes the call.
		select {
		case s.calls <- func() {
			if in.sub == sub {
				s.unsubscribe(in)
				s.finishInput(in)
			}
		}:
		case <-s.done:
		}
	})
	in.sub = sub
	s.unstash(in)
	return sub.ch, nil
}

// unstash hands out what waited for a consumer.
func (s *Source) unstash(in *input) {
	stash := in.stash
	in.stash = nil
	for _, p := range stash {
		s.send(p, in)
	}
}

// unsubscribe ends in's subscription and takes back what its consumer did not
// take.
func (s *Source) unsubscribe(in *input) {
	if in.sub == nil {
		return
	}
	in.sub.cancel()
	sub := in.sub
	in.sub = nil
	s.takeBack(sub)
	close(sub.ch)
}

// takeBack nacks the messages that nobody took, which puts their packets into
// line again.
func (s *Source) takeBack(sub *subscription) {
	for {
		select {
		case msg := <-sub.ch:
			msg.Nack()
		default:
			return
		}
	}
}

// finishInput ends an input that is no longer configured once its messages are
// settled.
func (s *Source) finishInput(in *input) {
	if in.configured {
		return
	}
	for _, p := range in.stash {
		s.later = append(s.later, retry{s.now, p})
	}
	in.stash = nil
	if in.handed > 0 || in.held > 0 {
		return
	}
	if in.sub != nil && in.cfg.Name == "" {
		return // subscribed to before its first Update
	}
	s.unsubscribe(in)
	if s.inputs[in.name] == in {
		delete(s.inputs, in.name)
	}
}

func (s *Source) drain(done chan error) {
	s.stopped = true
	s.writeFailed = nil // one more attempt, even if the disk was full
	s.draining = append(s.draining, done)
	for _, in := range s.inputs {
		for in.head != nil {
			in.pop()
		}
		if in.sub != nil && len(in.pipes) == 0 {
			s.takeBack(in.sub)
		}
	}
	s.endPipes()
}

// answerDrains tells who waits for a drain once nothing is in flight and all
// of it is on disk.
func (s *Source) answerDrains() {
	if len(s.draining) == 0 || s.flights > 0 || len(s.pipes)+len(s.later) > 0 || s.idle < readers || s.writing {
		return
	}
	if s.pendingWrite() {
		if s.writeFailed != nil {
			s.reply(s.writeFailed)
			return
		}
		s.flush()
		return
	}
	s.reply(nil)
}

func (s *Source) reply(err error) {
	for _, done := range s.draining {
		done <- err
	}
	s.draining = nil
}
