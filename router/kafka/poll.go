package kafka

import (
	"strconv"

	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

// recordCost is what a record takes beside its key and value: the client's
// record and ours, about 170 and 270 bytes, and four headers with their text.
const recordCost = 768

func cost(r *kgo.Record) int64 { return int64(len(r.Key)+len(r.Value)) + recordCost }

// original is a record of the client, as the poison queue wants it.
type original struct{ rec *kgo.Record }

// Headers returns all headers of the record in their order.
func (o *original) Headers() []logs.Header {
	hs := make([]logs.Header, len(o.rec.Headers))
	for i, h := range o.rec.Headers {
		hs[i] = logs.Header{Key: h.Key, Value: h.Value}
	}
	return hs
}

// newPoll makes a poll of records of one partition; it aliases them.
func newPoll(recs []*kgo.Record) *polled {
	p := getPolled(len(recs))
	p.Topic, p.Partition = recs[0].Topic, recs[0].Partition
	for i, r := range recs {
		to := &p.Records[i]
		to.Topic, to.Partition, to.Offset = r.Topic, r.Partition, r.Offset
		to.Key, to.Value, to.Time = r.Key, r.Value, r.Timestamp
		p.originals[i].rec = r
		to.Original = &p.originals[i]
		readMeta(r.Headers, &to.Meta)
		ownTime(to)
		p.Bytes += int64(len(r.Key) + len(r.Value))
	}
	return p
}

// readMeta finds what an agent wrote. Headers of others are none of it.
func readMeta(hs []kgo.RecordHeader, m *logs.Meta) {
	for i := range hs {
		h := &hs[i]
		switch h.Key {
		case logs.HeaderNode:
			m.Node = h.Value
		case logs.HeaderPath:
			m.Path = h.Value
		case logs.HeaderFile:
			m.File = h.Value
		case logs.HeaderPos:
			m.Pos = h.Value
		case logs.HeaderPart:
			m.Part = h.Value
		case logs.HeaderFlags:
			m.Flags = h.Value
		case logs.HeaderOrigin, logs.HeaderTime:
			readReplayed(h, m)
		}
	}
}

// newMessage makes the message that carries p. A single record may stand for a
// Watermill message of somebody else, and comes out as it went in.
func newMessage(p *logs.Poll, single bool) *message.Message {
	if single && len(p.Records) == 1 {
		return singleMessage(&p.Records[0])
	}
	b := make([]byte, 0, len(p.Topic)+32)
	b = append(append(b, p.Topic...), '/')
	b = append(strconv.AppendInt(b, int64(p.Partition), 10), '/')
	b = strconv.AppendInt(b, p.Records[0].Offset, 10)
	return message.NewMessage(string(b), nil)
}

func singleMessage(r *logs.Record) *message.Message {
	msg := message.NewMessage("", r.Value)
	for _, h := range r.Original.Headers() {
		if h.Key == wmkafka.UUIDHeaderKey {
			msg.UUID = string(h.Value)
		} else {
			msg.Metadata.Set(h.Key, string(h.Value))
		}
	}
	if msg.UUID == "" {
		msg.UUID = watermill.NewUUID()
	}
	return msg
}
