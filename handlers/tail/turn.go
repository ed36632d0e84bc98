package tail

import (
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/handlers/logs"
)

// verdict says how a turn ended.
type verdict uint8

const (
	quiet      verdict = iota // nothing to hand out
	handOut                   // lines, or bytes that are to be skipped
	needMore                  // the next line does not fit the chunk
	shrunk                    // the file is shorter than the position
	rewritten                 // other bytes stand before the position
	failed                    // the file cannot be read
	lookedInto                // a part of a packed file was looked at
)

// turn is one reader's turn at one file. The source fills in the first part, a
// reader the second, and neither touches it while the other has it.
type turn struct {
	file   *file
	in     *input
	fd     int
	from   place
	before uint64 // hash of what stands before from.pos
	dry    int64  // no newline was seen between from.pos and here
	head   prefix
	rules  *rules
	prior  *prior // nil for a turn at one file
	lim    limits
	chunk  int   // bytes to read at most
	last   bool  // nothing will follow what is there
	quiet  int64 // nothing came for long enough since the file had this size
	cost   int64
	nuls   int64   // as many NULs at the beginning are a hole
	packed *packed // nil for a file that is read as it is

	verdict verdict
	err     error
	size    int64
	mtime   int64
	links   uint64
	buf     *buffer
	to      place
	after   uint64 // hash of what stands before to.pos
	need    int    // with needMore: bytes that the next turn must read
	more    bool   // another turn would find more
	over    bool   // the pipe was handed out to its end
	cutUp   bool   // what is behind to was looked at,
	open    bool   // and it is an event that may go on
	hole    int64  // bytes of a hole that was passed over
	read    time.Time
}

// peekFrom is how long an incomplete line is before its known bytes are no
// longer read again to see whether it is complete now.
const peekFrom = 4 << 10

// run reads one chunk. It touches nothing but t, and the file. first is scratch
// for the file's first bytes.
func (t *turn) run(b *buffers, first []byte) {
	if t.prior != nil {
		t.runBoth(b)
		return
	}
	if t.packed != nil {
		t.packed.u.fd = t.fd
		if t.packed.stage == looking {
			t.verdict, t.err = lookedInto, t.packed.look.run(t.packed.u, t.packed.raw)
			return
		}
	}
	st, err := t.stat()
	if err != nil {
		t.fail(err)
		return
	}
	t.to, t.size, t.mtime, t.links = t.from, st.size, st.mtime, st.links
	pos := t.from.pos
	if st.size < pos {
		t.verdict = shrunk
		return
	}
	if !t.checkHead(first) {
		t.verdict = rewritten
		return
	}
	if t.dry > st.size || t.dry < pos {
		t.dry = pos
	}
	ended := t.quiet > 0 && t.quiet == st.size
	unread := int(min(st.size-pos, 1<<40))
	n := min(unread, t.chunk)
	if t.dry-pos > peekFrom && unread <= t.lim.maxLine && !t.last && !ended {
		end, err := t.peek(b, st.size)
		if err != nil {
			t.fail(err)
			return
		}
		if end < 0 {
			t.dry = st.size
			t.verdict = quiet
			return
		}
		n = max(n, int(end-pos)+t.rules.unit())
	}
	k := int(min(overlap, pos))
	buf := b.get(k + n)
	got, err := t.pread(buf.bytes[:k+n], pos-int64(k))
	if errors.Is(err, errUnpacking) {
		b.put(buf)
		t.verdict, t.more = quiet, true
		return
	}
	if err != nil {
		b.put(buf)
		t.fail(err)
		return
	}
	t.read = time.Now()
	switch {
	case got < k:
		t.verdict = shrunk
	case xxhash.Sum64(buf.bytes[:k]) != t.before && pos > 0:
		t.verdict = rewritten
	default:
		if pos == 0 { // what is here now is the file
			t.head = prefixOf(buf.bytes[k:got])
			if got > 0 && buf.bytes[0] == 0 && t.packed == nil && t.skipHole(b, buf) {
				break
			}
		}
		t.cut(buf, k, got, n < unread, ended)
	}
	if t.verdict != handOut {
		b.put(buf)
		return
	}
	t.buf = buf
}

// cut makes lines of what stands between k and got in buf. more says that the
// file goes on behind it, ended that its last event does not go on.
func (t *turn) cut(buf *buffer, k, got int, more, ended bool) {
	data := buf.bytes[k:got]
	var left rest
	buf.lines = buf.lines[:0]
	if t.rules == nil {
		from := t.from
		if !from.inside {
			from = at(from.pos) // the input joined lines until now
		}
		buf.lines, t.to = split(buf.lines, data, from, t.lim, t.last && !more)
		left.full = len(buf.lines) >= t.lim.maxLines
	} else {
		t.to, left = t.rules.join(buf, data, t.from, t.lim, t.last && !more, ended && !more)
	}
	t.cutUp, t.open = true, left.open
	if t.to == t.from {
		t.dry = t.from.pos + int64(len(data))
		t.verdict = quiet
		if more && len(data) > 0 {
			t.verdict = needMore
			t.need = min(2*max(len(data), 4<<10), t.rules.most(t.lim.maxLine))
		}
		return
	}
	end := k + int(t.to.pos-t.from.pos)
	t.after = tailHash(buf.bytes[:end])
	t.dry = t.to.pos
	t.verdict = handOut
	t.more = more || left.full
}

// checkHead makes sure that the file still begins as it did, and extends the
// prefix while the file is young. The bytes before the position alone would not
// tell when a file was cut off and filled again with lines that end alike. It
// comes before the chunk is read: what was read of a file that is cut off right
// then is not to be thrown away.
func (t *turn) checkHead(first []byte) bool {
	if t.head.size == 0 {
		return true
	}
	size := int64(t.head.size)
	if size < maxHead && t.size >= 2*size {
		size = maxHead
	}
	n, err := t.pread(first[:size], 0)
	if err != nil {
		return true // the chunk will not be read either
	}
	if !t.head.covers(first[:n]) {
		return false
	}
	if size > int64(t.head.size) {
		t.head = prefixOf(first[:n])
	}
	return true
}

// peek looks for a newline behind t.dry and returns its position, or -1.
func (t *turn) peek(b *buffers, size int64) (int64, error) {
	buf := b.get(int(min(size-t.dry, 32<<10)))
	defer b.put(buf)
	// Characters begin at multiples of the newline's length.
	for pos := t.dry - (t.dry-t.from.pos)%int64(t.rules.unit()); pos < size; {
		n, err := t.pread(buf.bytes[:min(size-pos, int64(len(buf.bytes)))], pos)
		if err != nil {
			return -1, err
		}
		if n == 0 {
			break
		}
		if i := t.rules.newline(buf.bytes[:n]); i >= 0 {
			return pos + int64(i), nil
		}
		if n < t.rules.unit() {
			break
		}
		pos += int64(n - n%t.rules.unit())
	}
	return -1, nil
}

func (t *turn) fail(err error) {
	t.verdict = failed
	t.err = fmt.Errorf("read file: %w", err)
}

// stat says what the file is now: the file that is read, which is not what is
// on the disk when that is packed.
func (t *turn) stat() (stat, error) {
	st, err := fstat(t.fd)
	if t.packed != nil && err == nil {
		if st.size != t.packed.raw {
			return stat{size: -1}, nil
		}
		st.size = t.packed.size
	}
	return st, err
}

// pread reads from the file at a position of its own.
func (t *turn) pread(b []byte, pos int64) (int, error) {
	if t.packed != nil {
		return t.packed.u.readAt(b, pos)
	}
	return pread(t.fd, b, pos)
}

// lines returns what the turn read.
func (t *turn) lines() []logs.Line { return t.buf.lines }

func pread(fd int, b []byte, pos int64) (int, error) {
	for {
		n, err := unix.Pread(fd, b, pos)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), err
	}
}
