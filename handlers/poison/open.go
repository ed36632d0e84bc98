package poison

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/logferry/logferry/handlers/logs"
)

// MaxReplays is how often a letter is replayed at most: one that comes back
// each time is not mended by another try.
const MaxReplays = 3

// Letter is one letter of the poison queue, read back: a record or a line that
// was refused, as it was, and why. Its bytes alias the record of the queue.
type Letter struct {
	// ID is the key of the letter's record.
	ID string
	// Queue, Partition and Offset are its place in the poison topic.
	Queue     string
	Partition int32
	Offset    int64

	// Key, Value and Headers are those of the original; a Key of nil is none.
	Key, Value []byte
	Headers    []logs.Header

	// Topic is where the original was, or was to go; empty when the letter
	// does not say.
	Topic string
	// Place is where in Kafka the document's id comes from, for a record that
	// no agent wrote; empty for a line that never was in Kafka.
	Place string
	// RecordTime is the original's own time; zero when it is not known.
	RecordTime time.Time

	// Handler and Subscriber are the Watermill names of those at work then:
	// "index web" is the route web, "ship web" the input web.
	Handler, Subscriber string
	// Time is when it was refused.
	Time time.Time
	// Refusal is the verdict.
	logs.Refusal
	// Replays is how often it was replayed before.
	Replays int
}

// Open reads a record of the poison topic; it takes whatever is there.
func Open(r *logs.Record) *Letter {
	l := &Letter{ID: string(r.Key), Queue: r.Topic, Partition: r.Partition, Offset: r.Offset, Value: r.Value, Time: r.Time}
	var headers []logs.Header
	if r.Original != nil {
		headers = r.Original.Headers()
	}
	partition, offset := "", ""
	for _, h := range headers {
		text := string(h.Value)
		switch h.Key {
		case logs.PoisonReason:
			l.Reason = text
		case logs.PoisonTopic:
			l.Topic = text
		case logs.PoisonHandler:
			l.Handler = text
		case logs.PoisonSubscriber:
			l.Subscriber = text
		case logs.PoisonPartition:
			partition = text
		case logs.PoisonOffset:
			offset = text
		case logs.PoisonIndex:
			l.Index = text
		case logs.PoisonStatus:
			l.Status, _ = strconv.Atoi(text)
		case logs.PoisonType:
			l.Type = text
		case logs.PoisonTime:
			if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
				l.Time = t
			}
		case logs.PoisonRecordTime:
			l.RecordTime, _ = time.Parse(time.RFC3339Nano, text)
		case logs.PoisonKey:
			l.Key = h.Value
		default:
			l.Headers = append(l.Headers, h)
			l.again(h)
		}
	}
	if place := l.Topic + "/" + partition + "/" + offset; l.Place == "" {
		if _, ok := logs.ParsePlace([]byte(place)); ok {
			l.Place = place
		}
	}
	return l
}

// again reads what an earlier replay left in the headers.
func (l *Letter) again(h logs.Header) {
	switch h.Key {
	case logs.HeaderReplays:
		if n, err := strconv.Atoi(string(h.Value)); err == nil && n > 0 {
			l.Replays = n
		}
	case logs.HeaderOrigin:
		if _, ok := logs.ParsePlace(h.Value); ok {
			l.Place = string(h.Value)
		}
	}
}

// Route returns the route that refused it, or "".
func (l *Letter) Route() string {
	route, ok := strings.CutPrefix(l.Handler, "index ")
	if !ok {
		return ""
	}
	return route
}

var (
	errNoTopic = errors.New("it does not say which topic it belongs to")
	errCeiling = fmt.Errorf("it was replayed %d times already", MaxReplays)
)

// original makes the record that a replay publishes. The document that becomes
// of it has the id, and the record's time, of the first one: a line's position
// is in its headers, and of any other record the place is added.
func (l *Letter) original() (logs.Record, error) {
	switch {
	case l.Topic == "":
		return logs.Record{}, errNoTopic
	case l.Topic == l.Queue:
		return logs.Record{}, fmt.Errorf("it was read from the poison topic %q", l.Queue)
	case l.Replays >= MaxReplays:
		return logs.Record{}, errCeiling
	}
	r := logs.Record{Topic: l.Topic, Partition: -1, Key: l.Key, Value: l.Value}
	if place, ok := logs.ParsePlace([]byte(l.Place)); ok && string(place.Topic) == l.Topic {
		r.Partition = place.Partition
	}
	headers := make(headerList, 0, len(l.Headers)+3)
	stamped := false
	for _, h := range l.Headers {
		switch h.Key {
		case logs.HeaderReplays, logs.HeaderOrigin:
			continue
		case logs.HeaderTime:
			if _, err := time.Parse(time.RFC3339Nano, string(h.Value)); err != nil || stamped {
				continue
			}
			stamped = true
		}
		headers = append(headers, h)
	}
	headers = append(headers, logs.Header{Key: logs.HeaderReplays, Value: strconv.AppendInt(nil, int64(l.Replays+1), 10)})
	if l.Place != "" {
		headers = append(headers, logs.Header{Key: logs.HeaderOrigin, Value: []byte(l.Place)})
	}
	if !stamped && !l.RecordTime.IsZero() {
		headers = append(headers, logs.Header{Key: logs.HeaderTime, Value: l.RecordTime.UTC().AppendFormat(nil, time.RFC3339Nano)})
	}
	r.Original = headers
	return r, nil
}

// tombstone makes the record that answers the letter. It goes to the letter's
// own partition, which is not that of its key when the topic has grown.
func (l *Letter) tombstone() logs.Record {
	return logs.Record{Topic: l.Queue, Partition: l.Partition, Key: []byte(l.ID)}
}

// brief returns the letter without headers and with at most n bytes of its
// value, in memory of its own.
func (l *Letter) brief(n int) *Letter {
	b := *l
	b.Headers = nil
	b.Key = bytes.Clone(l.Key)
	b.Value = bytes.Clone(l.Value[:min(n, len(l.Value))])
	return &b
}

type headerList []logs.Header

func (l headerList) Headers() []logs.Header { return l }
