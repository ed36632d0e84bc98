package logs

import (
	"bytes"
	"strconv"
	"time"
)

// Replayed is what the headers of a replayed letter say of the record that it
// was: where in Kafka, and of what time. A record whose line carried a time has
// the latter too.
type Replayed struct {
	// Place is where the record was first read, when Known.
	Place Place
	Known bool
	// Time is the record's own time; zero when it is not known.
	Time time.Time
}

// Place is one record's place in Kafka. Topic may alias a record's bytes.
type Place struct {
	Topic     []byte
	Partition int32
	Offset    int64
}

const (
	maxTopicName = 249
	maxOffset    = 1<<48 - 1 // what a document's id has room for
)

// ParsePlace reads the value of the header lf-origin, topic/partition/offset,
// and says whether it is one. The topic aliases b.
func ParsePlace(b []byte) (Place, bool) {
	topic, rest, ok := bytes.Cut(b, []byte{'/'})
	if !ok || len(topic) == 0 || len(topic) > maxTopicName {
		return Place{}, false
	}
	partition, offset, ok := bytes.Cut(rest, []byte{'/'})
	if !ok {
		return Place{}, false
	}
	p, err := strconv.ParseUint(string(partition), 10, 31)
	if err != nil {
		return Place{}, false
	}
	o, err := strconv.ParseUint(string(offset), 10, 63)
	if err != nil || o > maxOffset {
		return Place{}, false
	}
	return Place{Topic: topic, Partition: int32(p), Offset: int64(o)}, true
}

// String gives the form that ParsePlace reads.
func (p Place) String() string {
	b := append(append([]byte(nil), p.Topic...), '/')
	b = append(strconv.AppendInt(b, int64(p.Partition), 10), '/')
	return string(strconv.AppendInt(b, p.Offset, 10))
}
