package selftest

import (
	"bytes"
	"fmt"
	"strconv"
)

// A line is "<stream> <number> <text>": the text is a function of the seed, the
// stream and the number, so that whoever sees the line knows what it must be.

// appendLine appends a line without its newline.
func appendLine(b []byte, seed uint64, stream, number int) []byte {
	b = fmt.Appendf(b, "%d %d ", stream, number)
	x := seed ^ uint64(stream)<<48 ^ uint64(number)
	next := func() uint64 { // splitmix64
		x += 0x9e3779b97f4a7c15
		z := x
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	// Sizes around those that files are read in.
	size := 20 + int(next()%180)
	switch next() % 512 {
	case 0:
		size = 32<<10 - 64 + int(next()%128)
	case 1, 2, 3, 4:
		size = 4<<10 - 64 + int(next()%128)
	case 5, 6, 7, 8:
		size = 0
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789 .:-/[]{}\"\\\t\r\x00\xff\xc3éß\u2028"
	for size > 0 {
		for z := next(); z > 0 && size > 0; z >>= 8 {
			b = append(b, letters[int(z&0xff)%len(letters)])
			size--
		}
	}
	return b
}

// readLine returns whose line this is, and whether it is exactly that line.
func readLine(line []byte, seed uint64, scratch []byte) (stream, number int, ok bool) {
	a, rest, found := bytes.Cut(line, []byte(" "))
	b, _, found2 := bytes.Cut(rest, []byte(" "))
	stream, err := strconv.Atoi(string(a))
	number, err2 := strconv.Atoi(string(b))
	if !found || !found2 || err != nil || err2 != nil {
		return 0, 0, false
	}
	return stream, number, bytes.Equal(line, appendLine(scratch[:0], seed, stream, number))
}
