package kafka

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

// recordOverhead is more than the client adds to a record's key, value and
// headers in a batch of one: the batch's own head and the record's lengths.
const recordOverhead = 256

// sending is the records of one Publish, made in memory that is used again. The
// goroutine of Publish owns it, but between end and the receive from done, when
// the client's one goroutine for promises does. What that needs before is its
// own, or does not change: acked, total, fails, turn.
type sending struct {
	recs  []kgo.Record
	lines []int32 // line of each record; empty when record i is line i
	// heads has room for four headers of each record. Those of the first made
	// records are of origin but for their last, the position: what was filled
	// in for one batch need not be filled in for the file's next.
	heads  []kgo.RecordHeader
	made   int
	origin *logs.Origin
	names  []byte             // of origin
	more   []kgo.RecordHeader // all headers of records that have more than four
	text   []byte             // positions, flags and times
	size   int                // of all values
	// whole says that the records are all lines of the batch.
	whole bool

	ctx    context.Context
	client *kgo.Client
	turn   *logs.Turn
	handed int
	acked  int          // by the client's goroutine
	total  atomic.Int64 // 0 until it is known
	fails  []failure
	done   chan struct{}
	// promise is the method acknowledged, bound once.
	promise func(*kgo.Record, error)
}

type failure struct {
	rec *kgo.Record
	err error
}

func newSending() *sending {
	s := &sending{done: make(chan struct{}, 1)}
	s.promise = s.acknowledged
	return s
}

// acknowledged is called for each record by the client, from one goroutine at a
// time.
func (s *sending) acknowledged(r *kgo.Record, err error) {
	if err != nil {
		s.turn.Failed()
		s.fails = append(s.fails, failure{r, err})
	}
	if s.acked++; int64(s.acked) == s.total.Load() {
		s.done <- struct{}{}
	}
}

// begin says where the records that follow are to go. Each may be handed over
// as soon as the next one is made, while it is in the processor's cache; the
// last one goes with end, after which the caller receives from done before it
// touches s again.
func (s *sending) begin(ctx context.Context, cl *kgo.Client, turn *logs.Turn) {
	s.ctx, s.client, s.turn = ctx, cl, turn
	s.handed, s.acked, s.fails = 0, 0, s.fails[:0]
	s.total.Store(0)
}

// hand gives the client all records but the newest one.
func (s *sending) hand() {
	for ; s.handed < len(s.recs)-1; s.handed++ {
		s.client.Produce(s.ctx, &s.recs[s.handed], s.promise)
	}
}

// end gives the client the rest of the records, of which there is one at least:
// who acknowledges the last one knows how many there were.
func (s *sending) end() {
	s.hand()
	s.total.Store(int64(len(s.recs)))
	s.client.Produce(s.ctx, &s.recs[s.handed], s.promise)
}

// failed returns the errors of the records that failed, or nil.
func (s *sending) failed() map[*kgo.Record]error {
	if len(s.fails) == 0 {
		return nil
	}
	m := make(map[*kgo.Record]error, len(s.fails))
	for _, f := range s.fails {
		m[f.rec] = f.err
	}
	return m
}

func (s *sending) line(rec int) int {
	if len(s.lines) == 0 {
		return rec
	}
	return int(s.lines[rec])
}

func (s *sending) reset(n int) {
	if cap(s.recs) < n {
		s.recs = make([]kgo.Record, 0, n)
	}
	if len(s.heads) < 4*n {
		s.heads, s.made = make([]kgo.RecordHeader, 4*n), 0
	}
	s.recs, s.lines, s.more, s.text = s.recs[:0], s.lines[:0], s.more[:0], s.text[:0]
	s.size, s.whole = 0, false
}

// fill makes and hands over records of the pending lines from line from on,
// until the first that is too large for a batch of limit bytes, and returns the
// line after the last it took.
func (s *sending) fill(topic string, b *logs.Batch, from int, limit int32) int {
	s.reset(len(b.Lines) - from)
	m := s.maker(topic, b)
	room := int(limit) - recordOverhead - m.size
	skipped := from > 0
	for i := from; i < len(b.Lines); i++ {
		if b.Count() > 0 && b.Settled(i) {
			skipped = true
			continue
		}
		if len(b.Lines[i].Value) > room {
			s.number(skipped, b, from)
			return i
		}
		m.add(s, &b.Lines[i])
		s.hand()
	}
	s.whole = !skipped
	s.number(skipped, b, from)
	return len(b.Lines)
}

// number says which line each record is, when that is not its own number.
func (s *sending) number(skipped bool, b *logs.Batch, from int) {
	if !skipped {
		return
	}
	for i := from; len(s.lines) < len(s.recs); i++ {
		if !b.Settled(i) {
			s.lines = append(s.lines, int32(i))
		}
	}
}

// fillLines makes records of the lines given, in their order.
func (s *sending) fillLines(topic string, b *logs.Batch, lines []int) {
	s.reset(len(lines))
	m := s.maker(topic, b)
	for _, i := range lines {
		m.add(s, &b.Lines[i])
		s.lines = append(s.lines, int32(i))
	}
}

// maker is what all records of a batch share.
type maker struct {
	rec   kgo.Record
	heads [4]kgo.RecordHeader // the last without its value
	size  int                 // of key and headers
}

func (s *sending) maker(topic string, b *logs.Batch) maker {
	o := b.Origin
	if s.origin != o {
		s.origin, s.made, s.names = o, 0, s.names[:0]
	}
	m := maker{
		rec:  kgo.Record{Topic: topic, Key: b.Key, Timestamp: b.Read},
		size: len(b.Key) + len(o.Node) + len(o.Path) + len(o.File) + 64,
	}
	rest := s.names
	if len(rest) == 0 {
		rest = append(append(append(rest, o.Node...), o.Path...), o.File...)
		s.names = rest
	}
	for i, h := range [...]struct{ key, value string }{
		{logs.HeaderNode, o.Node}, {logs.HeaderPath, o.Path}, {logs.HeaderFile, o.File}, {logs.HeaderPos, ""},
	} {
		n := len(h.value)
		m.heads[i] = kgo.RecordHeader{Key: h.key, Value: rest[:n:n]}
		rest = rest[n:]
	}
	if b.Key != nil {
		m.rec.Partition = keyHash(b.Key)
	} else {
		m.rec.Partition = rand.Int32()
	}
	return m
}

// since returns what was appended to the text since it was at bytes long. It
// stays where it is when the text grows.
func (s *sending) since(at int) []byte { return s.text[at:len(s.text):len(s.text)] }

func (m *maker) add(s *sending, l *logs.Line) {
	i := len(s.recs)
	s.recs = append(s.recs, m.rec)
	r := &s.recs[i]
	r.Value = l.Value
	s.size += len(l.Value)
	at := len(s.text)
	s.text = strconv.AppendInt(s.text, l.Pos, 10)
	if l.Flags != 0 || l.Time != 0 {
		r.Headers = m.many(s, l, s.since(at))
		return
	}
	hs := s.heads[4*i : 4*i+4 : 4*i+4]
	if i >= s.made {
		copy(hs, m.heads[:])
		if i == s.made {
			s.made++
		}
	}
	hs[3].Value = s.since(at)
	r.Headers = hs
}

// many returns the headers of a line that has more than its position.
func (m *maker) many(s *sending, l *logs.Line, pos []byte) []kgo.RecordHeader {
	first := len(s.more)
	s.more = append(s.more, m.heads[:]...)
	s.more[first+3].Value = pos
	add := func(key string, at int) {
		s.more = append(s.more, kgo.RecordHeader{Key: key, Value: s.since(at)})
	}
	at := len(s.text)
	if l.Flags&logs.FlagSplit != 0 {
		s.text = strconv.AppendInt(s.text, int64(l.Part), 10)
		add(logs.HeaderPart, at)
		at = len(s.text)
	}
	if l.Flags != 0 {
		s.text = append(s.text, l.Flags.String()...)
		add(logs.HeaderFlags, at)
		at = len(s.text)
	}
	if l.Time != 0 {
		s.text = time.Unix(0, l.Time).UTC().AppendFormat(s.text, time.RFC3339Nano)
		add(logs.HeaderTime, at)
	}
	return s.more[first:len(s.more):len(s.more)]
}

// fillMessage makes the record of a message that carries no batch.
func (s *sending) fillMessage(topic string, msg *message.Message) {
	s.reset(1)
	for _, h := range logs.HeadersOf(msg) {
		s.more = append(s.more, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if len(s.more) == 0 {
		s.more = append(s.more, kgo.RecordHeader{Key: wmkafka.UUIDHeaderKey, Value: []byte(msg.UUID)})
		for k, v := range msg.Metadata {
			if k != wmkafka.UUIDHeaderKey {
				s.more = append(s.more, kgo.RecordHeader{Key: k, Value: []byte(v)})
			}
		}
	}
	s.recs = append(s.recs, kgo.Record{
		Topic: topic, Value: msg.Payload, Headers: s.more, Partition: rand.Int32(),
	})
}

// oversized says whether the one record has no room in a batch of limit bytes.
func (s *sending) oversized(limit int32) bool {
	size := len(s.recs[0].Value) + recordOverhead
	for _, h := range s.recs[0].Headers {
		size += len(h.Key) + len(h.Value) + 8
	}
	return size > int(limit)
}
