package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

// Text makes lines that prove themselves: their bytes are a function of their
// id, so that both ends know them and nobody has to keep them. A line is
//
//	<run> <id> <checksum> <payload>
//
// in printable bytes. The checksum, CRC-32C of the rest in eight hexadecimal
// digits, tells a line of another run from one that was damaged.
type Text struct {
	// Run sets the lines of one run apart from all others: letters and digits.
	Run string
	// Buffer is a size in bytes that something on the way is read or written
	// in. Payloads are empty, much shorter, just as long as it, and longer.
	Buffer int
}

var (
	// ErrForeign says that a line is none of this run.
	ErrForeign = errors.New("a line of nobody's")
	// ErrCorrupted says that a line was one of this run, and is damaged.
	ErrCorrupted = errors.New("a damaged line")
)

// Printable ASCII without what JSON must escape comes first; the last few make
// it escape all the same.
const printable = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;-+*/=()[]{}<>!?$%&'~\"\\"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the line of an id to b, without a newline.
func (t Text) Append(b []byte, id int) []byte {
	start := len(b)
	b = append(append(b, t.Run...), ' ')
	b = append(strconv.AppendInt(b, int64(id), 10), ' ')
	head := len(b)
	b = t.appendPayload(append(b, "........ "...), id)
	const digits = "0123456789abcdef"
	sum := checksum(b[start:head], b[head+9:])
	for i := range 8 {
		b[head+i] = digits[sum>>(28-4*i)&0xf]
	}
	return b
}

func checksum(head, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, payload)
}

func (t Text) appendPayload(b []byte, id int) []byte {
	size := [...]int{0, 1, t.Buffer / 4, t.Buffer / 2, t.Buffer - 1, t.Buffer, t.Buffer + 1, 3 * t.Buffer}[id&7]
	x := uint64(id)
	for size > 0 {
		x += 0x9e3779b97f4a7c15 // splitmix64
		z := x
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		for n := min(size, 8); n > 0; n-- {
			b = append(b, printable[z&0xff%uint64(len(printable))])
			z >>= 8
			size--
		}
	}
	return b
}

// Read returns the id of a line, or that it is none: an error that is
// ErrForeign or ErrCorrupted and shows the line's beginning.
func (t Text) Read(line []byte) (int, error) {
	fail := func(err error) (int, error) {
		return 0, fmt.Errorf("%w: %q", err, line[:min(len(line), 80)])
	}
	run, rest, ok := bytes.Cut(line, []byte(" "))
	number, rest, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || len(rest) < 9 {
		return fail(ErrCorrupted)
	}
	sum, err := strconv.ParseUint(string(rest[:8]), 16, 32)
	if err != nil || uint32(sum) != checksum(line[:len(line)-len(rest)], rest[9:]) {
		return fail(ErrCorrupted)
	}
	if string(run) != t.Run {
		return fail(ErrForeign)
	}
	id, err := strconv.Atoi(string(number))
	if err != nil || id < 0 || !bytes.Equal(line, t.Append(nil, id)) {
		return fail(ErrCorrupted)
	}
	return id, nil
}
