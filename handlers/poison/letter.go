// Package poison makes the letters of the poison queue: records and lines that
// were refused for their own sake, as they were, with what is known of why.
package poison

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/handlers/logs"
)

// maxReason bounds a letter's reason in bytes, whoever made the refusal.
const maxReason = 2048

// Where says in what part of the process a record or a line was refused.
type Where struct {
	// Topic is the topic of a line that Kafka refused; for records of Kafka
	// the record's own is taken.
	Topic string
	// Handler and Subscriber are the Watermill names of those at work.
	Handler, Subscriber string
	// Now is the time of the refusal.
	Now time.Time
}

// FromRecord makes the letter about a record of Kafka that v refuses. The
// message's UUID is the letter's id, made of topic, partition and offset, so
// that a repeated letter takes its own place in the compacted topic. Value,
// key and headers are the record's, all copied, so the record's bytes may be
// used again; see [logs.HeadersOf] for the letter's headers.
func FromRecord(r *logs.Record, v *logs.Refusal, where Where) *message.Message {
	partition, offset := strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)
	var original []logs.Header
	if r.Original != nil {
		original = r.Original.Headers()
	}
	where.Topic = r.Topic
	l := letter{headers: make([]logs.Header, 0, len(original)+12)}
	l.keep(original)
	l.refusal(v, where)
	l.add(logs.PoisonPartition, partition)
	l.add(logs.PoisonOffset, offset)
	l.recordTime(r.Time)
	if r.Key != nil && !l.keyed {
		l.headers = append(l.headers, logs.Header{Key: logs.PoisonKey, Value: clone(r.Key)})
	}
	return l.message(r.Topic+"-"+partition+"-"+offset, r.Value)
}

// FromLine makes the letter about line i of b, which was to go to topic and
// which v refuses. Its id is made of node, file, position and part, and its
// headers are those that the record would have had.
func FromLine(b *logs.Batch, i int, topic string, v *logs.Refusal, where Where) *message.Message {
	line, origin := &b.Lines[i], b.Origin
	where.Topic = topic
	position := strconv.FormatInt(line.Pos, 10)
	id := origin.Node + "/" + origin.File + "/" + position

	l := letter{headers: make([]logs.Header, 0, 16)}
	l.add(logs.HeaderNode, origin.Node)
	l.add(logs.HeaderPath, origin.Path)
	l.add(logs.HeaderFile, origin.File)
	l.add(logs.HeaderPos, position)
	if line.Flags&logs.FlagSplit != 0 {
		part := strconv.Itoa(int(line.Part))
		l.add(logs.HeaderPart, part)
		id += "/" + part
	}
	if line.Flags != 0 {
		l.add(logs.HeaderFlags, line.Flags.String())
	}
	if line.Time != 0 {
		l.add(logs.HeaderTime, time.Unix(0, line.Time).UTC().Format(time.RFC3339Nano))
	}
	l.refusal(v, where)
	l.recordTime(b.Read)
	if b.Key != nil {
		l.headers = append(l.headers, logs.Header{Key: logs.PoisonKey, Value: clone(b.Key)})
	}
	return l.message(id, line.Value)
}

type letter struct {
	headers []logs.Header
	keyed   bool
}

func (l *letter) add(key, value string) {
	l.headers = append(l.headers, logs.Header{Key: key, Value: []byte(value)})
}

// keep copies the original's headers in their order, duplicates and all. Those
// that an earlier letter about the same record had give way to the new ones,
// but for the key: the record's own key is a letter's id then.
func (l *letter) keep(original []logs.Header) {
	for _, h := range original {
		if h.Key == logs.PoisonKey {
			l.keyed = true
		} else if ours(h.Key) {
			continue
		}
		l.headers = append(l.headers, logs.Header{Key: h.Key, Value: clone(h.Value)})
	}
}

func ours(key string) bool {
	switch key {
	case logs.PoisonReason, logs.PoisonTopic, logs.PoisonHandler, logs.PoisonSubscriber, logs.PoisonPartition,
		logs.PoisonOffset, logs.PoisonIndex, logs.PoisonStatus, logs.PoisonType, logs.PoisonTime,
		logs.PoisonRecordTime:
		return true
	}
	return false
}

func (l *letter) refusal(v *logs.Refusal, where Where) {
	l.add(logs.PoisonReason, clip(v.Reason))
	l.add(logs.PoisonTopic, where.Topic)
	l.add(logs.PoisonHandler, where.Handler)
	l.add(logs.PoisonSubscriber, where.Subscriber)
	l.add(logs.PoisonTime, where.Now.UTC().Format(time.RFC3339Nano))
	if v.Index != "" {
		l.add(logs.PoisonIndex, v.Index)
	}
	if v.Status != 0 {
		l.add(logs.PoisonStatus, strconv.Itoa(v.Status))
	}
	if v.Type != "" {
		l.add(logs.PoisonType, v.Type)
	}
}

func (l *letter) recordTime(t time.Time) {
	if !t.IsZero() {
		l.add(logs.PoisonRecordTime, t.UTC().Format(time.RFC3339Nano))
	}
}

func (l *letter) message(id string, value []byte) *message.Message {
	// A null value in a compacted topic would be the end of the letter.
	msg := message.NewMessage(id, append(make([]byte, 0, len(value)), value...))
	logs.AttachHeaders(msg, l.headers)
	return msg
}

// clone copies b; nil, which is null in Kafka, stays nil.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

func clip(reason string) string {
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	if len(reason) <= maxReason {
		return reason
	}
	n := maxReason
	for !utf8.RuneStart(reason[n]) {
		n--
	}
	return reason[:n]
}
