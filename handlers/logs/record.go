package logs

import "time"

// Header is one header of a Kafka record.
type Header struct {
	Key   string
	Value []byte
}

// Original gives what a record held beside the parts that the transfer uses,
// for the poison queue, which keeps a record as it was.
type Original interface {
	// Headers returns all headers of the record in their order.
	Headers() []Header
}

// Meta is what the agent wrote into a record's headers. All fields are empty
// for a record that came from elsewhere. The bytes alias the record.
type Meta struct {
	Node, Path, File, Pos, Part, Flags []byte
	// Replayed is set for a record that is the replay of a letter.
	Replayed *Replayed
}

// Ours says whether the record carries the position of a line, so that the
// document's id can be made from it.
func (m *Meta) Ours() bool { return len(m.Node) > 0 && len(m.File) > 0 && len(m.Pos) > 0 }

// Record is one Kafka record as the transfer sees it. Its bytes are valid
// until the poll's message was acked or nacked.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte
	Value     []byte
	// Time is the record's timestamp, or, of a replayed letter, that of the
	// record which it was.
	Time     time.Time
	Meta     Meta
	Original Original
}

// Poll is the records of one partition that one poll returned, or a part of
// them, in the order of their offsets: what one Watermill message of the
// transfer carries.
type Poll struct {
	Topic     string
	Partition int32
	Records   []Record
	// Bytes is the size of the keys and values of all records.
	Bytes int64

	Settlement
}

// Len returns the number of records.
func (p *Poll) Len() int { return len(p.Records) }

// Size returns the bytes of keys and values.
func (p *Poll) Size() int64 { return p.Bytes }

// SizeOf returns the bytes of key and value of record i.
func (p *Poll) SizeOf(i int) int64 { return int64(len(p.Records[i].Key) + len(p.Records[i].Value)) }

// Pending returns how many records are not settled.
func (p *Poll) Pending() int { return len(p.Records) - p.Count() }

// Span is a range of one partition's offsets: From is its first, To the first
// after it.
type Span struct {
	Topic     string
	Partition int32
	From, To  int64
}
