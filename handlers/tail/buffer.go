package tail

import (
	"sync"

	"github.com/logferry/logferry/handlers/logs"
)

const (
	// maxChunk is what one turn reads at most, unless one line needs more:
	// large enough that the cost of a turn vanishes among its lines.
	maxChunk = 256 << 10
	// maxLines bounds the lines of a batch, so that a chunk of very short
	// lines does not become half a million records.
	maxLines = 4096
	// overlap is how many bytes before the position are read again with
	// each chunk, to see that the file still is what was read.
	overlap = 64
)

// sizes are the classes of buffers and of line slabs that are pooled: a line
// now and then, a busy file, a file that is behind. A class holds a whole
// number of pages with its overlap or without.
var sizes = [...]struct{ bytes, lines int }{
	{4 << 10, 32},
	{32 << 10, 256},
	{maxChunk + overlap, maxLines},
}

// buffer is the memory of one batch: the bytes read, and the lines in them.
type buffer struct {
	bytes []byte
	lines []logs.Line
	text  []byte // of lines that are not as the file has them
	class int    // index in sizes, -1 when it is not pooled
}

// buffers recycles memory. The collector takes back what is not used for a
// while. It is safe for concurrent use.
type buffers struct {
	pools [len(sizes)]sync.Pool
}

// get returns a buffer that holds at least n bytes.
func (b *buffers) get(n int) *buffer {
	for i, size := range sizes {
		if n > size.bytes {
			continue
		}
		if buf, _ := b.pools[i].Get().(*buffer); buf != nil {
			return buf
		}
		return &buffer{bytes: make([]byte, size.bytes), lines: make([]logs.Line, 0, size.lines), class: i}
	}
	return &buffer{bytes: make([]byte, n), class: -1}
}

// put takes back a buffer that nobody reads any more.
func (b *buffers) put(buf *buffer) {
	if buf == nil || buf.class < 0 {
		return
	}
	// Lines that grew beyond their class would make every small buffer large.
	if cap(buf.lines) > 2*sizes[buf.class].lines {
		buf.lines = make([]logs.Line, 0, sizes[buf.class].lines)
	}
	if cap(buf.text) > 2*len(buf.bytes) {
		buf.text = nil
	}
	buf.lines = buf.lines[:0]
	b.pools[buf.class].Put(buf)
}
