package kafka

import (
	"context"
	"math/rand/v2"
	"strconv"
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
// goroutine of Publish owns it, but between produce and the receive from done,
// while the client's one goroutine for promises does.
type sending struct {
	recs  []kgo.Record
	lines []int32 // line of each record; empty when record i is line i
	heads []kgo.RecordHeader
	text  []byte
	// whole says that the records are all lines of the batch.
	whole bool

	turn  *logs.Turn
	left  int
	fails []failure
	done  chan struct{}
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
	if s.left--; s.left == 0 {
		s.done <- struct{}{}
	}
}

// produce hands all records to the client. The caller receives from done
// before it touches s again.
func (s *sending) produce(ctx context.Context, cl *kgo.Client, turn *logs.Turn) {
	s.turn, s.left, s.fails = turn, len(s.recs), s.fails[:0]
	for i := range s.recs {
		cl.Produce(ctx, &s.recs[i], s.promise)
	}
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
	if cap(s.heads) < 4*n {
		s.heads = make([]kgo.RecordHeader, 0, 4*n)
	}
	s.recs, s.lines, s.heads, s.text = s.recs[:0], s.lines[:0], s.heads[:0], s.text[:0]
	s.whole = false
}

// fill makes records of the pending lines from line from on, until the first
// that is too large for a batch of limit bytes, and returns the line after the
// last it took.
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
	rec              kgo.Record
	node, path, file []byte
	size             int // of key and headers
}

func (s *sending) maker(topic string, b *logs.Batch) maker {
	o := b.Origin
	m := maker{
		rec:  kgo.Record{Topic: topic, Key: b.Key, Timestamp: b.Read},
		node: s.keep(o.Node), path: s.keep(o.Path), file: s.keep(o.File),
		size: len(b.Key) + len(o.Node) + len(o.Path) + len(o.File) + 64,
	}
	if b.Key != nil {
		m.rec.Partition = keyHash(b.Key)
	} else {
		m.rec.Partition = rand.Int32()
	}
	return m
}

// keep copies str into the text of s. What was kept stays where it is when the
// text grows.
func (s *sending) keep(str string) []byte {
	at := len(s.text)
	s.text = append(s.text, str...)
	return s.text[at:len(s.text):len(s.text)]
}

func (m *maker) add(s *sending, l *logs.Line) {
	at := len(s.heads)
	digits := len(s.text)
	s.text = strconv.AppendInt(s.text, l.Pos, 10)
	s.heads = append(s.heads,
		kgo.RecordHeader{Key: logs.HeaderNode, Value: m.node},
		kgo.RecordHeader{Key: logs.HeaderPath, Value: m.path},
		kgo.RecordHeader{Key: logs.HeaderFile, Value: m.file},
		kgo.RecordHeader{Key: logs.HeaderPos, Value: s.text[digits:len(s.text):len(s.text)]},
	)
	if l.Flags != 0 {
		if l.Flags&logs.FlagSplit != 0 {
			digits = len(s.text)
			s.text = strconv.AppendInt(s.text, int64(l.Part), 10)
			s.heads = append(s.heads, kgo.RecordHeader{Key: logs.HeaderPart, Value: s.text[digits:len(s.text):len(s.text)]})
		}
		s.heads = append(s.heads, kgo.RecordHeader{Key: logs.HeaderFlags, Value: s.keep(l.Flags.String())})
	}
	if l.Time != 0 {
		digits = len(s.text)
		s.text = time.Unix(0, l.Time).UTC().AppendFormat(s.text, time.RFC3339Nano)
		s.heads = append(s.heads, kgo.RecordHeader{Key: logs.HeaderTime, Value: s.text[digits:len(s.text):len(s.text)]})
	}
	s.recs = append(s.recs, m.rec)
	r := &s.recs[len(s.recs)-1]
	r.Value = l.Value
	r.Headers = s.heads[at:len(s.heads):len(s.heads)]
}

// fillMessage makes the record of a message that carries no batch.
func (s *sending) fillMessage(topic string, msg *message.Message) {
	s.reset(1)
	for _, h := range logs.HeadersOf(msg) {
		s.heads = append(s.heads, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if len(s.heads) == 0 {
		s.heads = append(s.heads, kgo.RecordHeader{Key: wmkafka.UUIDHeaderKey, Value: s.keep(msg.UUID)})
		for k, v := range msg.Metadata {
			if k != wmkafka.UUIDHeaderKey {
				s.heads = append(s.heads, kgo.RecordHeader{Key: k, Value: s.keep(v)})
			}
		}
	}
	s.recs = append(s.recs, kgo.Record{
		Topic: topic, Value: msg.Payload, Headers: s.heads, Partition: rand.Int32(),
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
