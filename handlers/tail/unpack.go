package tail

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
)

const (
	// unpackTurn is how many unpacked bytes one turn passes over: some 20 ms.
	unpackTurn = 8 << 20
	// maxRatio bounds how many times its size a packed file may hold, once it
	// holds more than ratioFrom. Logs are packed 10 to 100 times smaller,
	// nothing but one repeated byte 1,000 times.
	maxRatio  = 500
	ratioFrom = 64 << 20
)

var (
	// errUnpacking says that a turn passed over all it may, and is not there.
	errUnpacking = errors.New("still unpacking")
	errBomb      = fmt.Errorf("it holds more than %d times its size", maxRatio)
	// errIncomplete says that a packed file ends before its end.
	errIncomplete = errors.New("it is incomplete")
)

// unpacker reads what a gzip file holds, at any position, and best at one that
// is not before those of the last read. Its memory does not depend on the file.
type unpacker struct {
	fd    int
	raw   int64 // position in the file
	in    *bufio.Reader
	zip   *gzip.Reader
	pos   int64  // position in what is unpacked
	kept  []byte // what stands before pos
	first []byte // what the file's prefix is made of
}

// Read reads the packed bytes.
func (u *unpacker) Read(b []byte) (int, error) {
	n, err := pread(u.fd, b, u.raw)
	u.raw += int64(n)
	if n == 0 && err == nil && len(b) > 0 {
		err = io.EOF
	}
	return n, err
}

// rewind begins again at the start of the file.
func (u *unpacker) rewind() error {
	u.raw, u.pos, u.kept = 0, 0, u.kept[:0]
	if u.in == nil {
		u.in = bufio.NewReaderSize(u, 32<<10)
	} else {
		u.in.Reset(u)
	}
	var err error
	if u.zip == nil {
		u.zip, err = gzip.NewReader(u.in)
	} else {
		err = u.zip.Reset(u.in)
	}
	if err != nil {
		u.zip = nil
	}
	return packedError(err)
}

// next unpacks into b until it is full or the file ends, which is no error.
func (u *unpacker) next(b []byte) (int, error) {
	n, err := io.ReadFull(u.zip, b)
	u.pos += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && u.ended() {
		err = nil
	}
	return n, packedError(err)
}

// ended tells the end of the last member from a file that is cut off: only
// after the end is nothing more an end.
func (u *unpacker) ended() bool {
	var b [1]byte
	n, err := u.zip.Read(b[:])
	return n == 0 && errors.Is(err, io.EOF)
}

// packedError names what is meant by the errors of a packed file's end.
func packedError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errIncomplete
	}
	return err
}

// readAt fills b with what stands at pos, as far as the file goes. It fails
// with errUnpacking when that is too far away for one turn; the next call goes
// on.
func (u *unpacker) readAt(b []byte, pos int64) (int, error) {
	if int(pos)+len(b) <= len(u.first) {
		return copy(b, u.first[pos:]), nil
	}
	if u.zip == nil || pos < u.pos-int64(len(u.kept)) {
		if err := u.rewind(); err != nil {
			return 0, err
		}
	}
	if err := u.skip(pos); err != nil {
		return 0, err
	}
	n := copy(b, u.kept[len(u.kept)-int(u.pos-pos):])
	var err error
	if n < len(b) {
		var m int
		m, err = u.next(b[n:])
		n += m
		u.kept = append(u.kept[:0], b[:n]...)
	}
	if pos == 0 && err == nil && (n >= maxHead || n < len(b)) {
		u.first = append(u.first[:0], b[:min(n, maxHead)]...)
	}
	return n, err
}

// skip unpacks until pos is within what is kept.
func (u *unpacker) skip(pos int64) error {
	const step = 32 << 10
	for passed := 0; u.pos < pos; passed += step {
		if passed >= unpackTurn {
			return errUnpacking
		}
		n := int(min(step, pos-u.pos))
		// What stands right before is kept.
		old := u.kept[max(0, len(u.kept)-overlap):]
		u.kept = append(u.kept[:0], old...)
		at := len(u.kept)
		u.kept = slices.Grow(u.kept, n)[:at+n]
		m, err := u.next(u.kept[at:])
		u.kept = u.kept[:at+m]
		if err != nil {
			return err
		}
		if m < n {
			return errIncomplete // it held more before
		}
	}
	return nil
}

// look is what is found out about a packed file before it is read.
type look struct {
	first []byte           // what its prefix is made of, once done or more is set
	want  []int64          // where tails are asked for, ascending
	tails map[int64]uint64 // hash of what stands before each
	end   []byte           // its last bytes, at most compared
	size  int64            // bytes it holds, so far
	begun bool
	done  bool
	buf   []byte
}

// run unpacks a part of the file. After the first part, which ends within the
// file's first bytes, want may be set.
func (l *look) run(u *unpacker, packed int64) error {
	if !l.begun {
		*l = look{begun: true, want: l.want, tails: map[int64]uint64{}, buf: make([]byte, compared+32<<10)}
		if err := u.rewind(); err != nil {
			return err
		}
		if err := l.read(u, maxHead); err != nil {
			return err
		}
		l.done = false // want was not asked for
		l.first = append([]byte(nil), l.end...)
		u.first = l.first
		return nil
	}
	for passed := int64(0); !l.done && passed < unpackTurn; {
		before := l.size
		if err := l.read(u, len(l.buf)-compared); err != nil {
			return err
		}
		passed += l.size - before
		if l.size > ratioFrom && l.size/maxRatio > packed {
			return errBomb
		}
	}
	return nil
}

// read takes n more bytes.
func (l *look) read(u *unpacker, n int) error {
	at := copy(l.buf, l.end)
	got, err := u.next(l.buf[at : at+n])
	if err != nil {
		return err
	}
	for len(l.want) > 0 && l.want[0] <= l.size+int64(got) {
		pos := l.want[0]
		l.want = l.want[1:]
		if back := int(l.size - pos); back < at {
			l.tails[pos] = tailHash(l.buf[:at-back])
		}
	}
	l.size += int64(got)
	l.done = got < n
	l.end = append(l.end[:0], l.buf[max(0, at+got-compared):at+got]...)
	return nil
}
