package logs

import "time"

// Flags says what was done to a line's bytes before it became a record.
type Flags uint8

const (
	// FlagSplit marks one part of a line that was longer than max_line_bytes.
	FlagSplit Flags = 1 << iota
	// FlagTruncated marks a line whose end was cut at max_line_bytes.
	FlagTruncated
	// FlagStderr marks a line that a container wrote to standard error.
	FlagStderr
)

// String gives the value of the header lf-flags: the names of the flags that
// are set, separated by commas, or "" for none.
func (f Flags) String() string { return flagNames[f&(FlagSplit|FlagTruncated|FlagStderr)] }

var flagNames = [...]string{
	"", "split", "truncated", "split,truncated",
	"stderr", "split,stderr", "truncated,stderr", "split,truncated,stderr",
}

// Line is one line of a file, or one part of a long one.
type Line struct {
	// Value is the line's bytes without its newline; a carriage return
	// before the newline stays. Of lines that were joined, all newlines but
	// the last stay. It aliases the batch's buffer and is valid until the
	// batch's message was acked or nacked.
	Value []byte
	// Pos is the position in the file, in bytes, of the line's first byte.
	// All parts of a split line have the position of the whole line.
	Pos int64
	// Part numbers the parts of a split line from 0.
	Part int32
	// Flags says what was done to Value.
	Flags Flags
	// Time is when the line was written, in Unix nanoseconds, where the
	// file's format tells; else 0.
	Time int64
}

// Origin says where lines were read. It is immutable and shared by all batches
// of one file generation under one name.
type Origin struct {
	// Node is the name of the host, as configured.
	Node string
	// Input is the name of the input that the file belongs to.
	Input string
	// Path is the file's name at the time of reading, absolute.
	Path string
	// File is the text of the file's identity and generation, the value of
	// the header lf-file.
	File string
}

// Batch is one contiguous range of one file that ends at a line's end: what
// one Watermill message of the agent carries.
type Batch struct {
	// Origin says where the lines come from.
	Origin *Origin
	// Start and End are positions in bytes: the batch is [Start, End) of the
	// file, the newlines included.
	Start, End int64
	// Lines are in the file's order. Their bytes belong to whoever made the
	// batch; nobody keeps them once the message was acked or nacked.
	Lines []Line
	// Read is when the range was read: the records' timestamp.
	Read time.Time
	// Key is the key of the records. The ship stage sets it before it publishes.
	Key []byte
	// Turn keeps batches of one file in order; see [Turn].
	Turn *Turn

	Settlement
}

// Len returns the number of lines.
func (b *Batch) Len() int { return len(b.Lines) }

// Size returns the bytes of the file that the batch covers.
func (b *Batch) Size() int64 { return b.End - b.Start }

// SizeOf returns the bytes of line i, its newline included.
func (b *Batch) SizeOf(i int) int64 { return int64(len(b.Lines[i].Value)) + 1 }

// Pending returns how many lines are not settled.
func (b *Batch) Pending() int { return len(b.Lines) - b.Count() }
