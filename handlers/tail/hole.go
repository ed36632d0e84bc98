package tail

import (
	"golang.org/x/sys/unix"
)

// A writer that does not append, below a copytruncate, goes on at its old
// position in the file that was cut: everything before is a hole, and reads as
// NULs. These were never written by anybody. They are passed over, and the
// lines keep their positions. NULs anywhere else are bytes as any other.

// holeAt returns how many bytes at the beginning of a file are a hole. least is
// how many they must be when the file system does not tell. A file that is
// nothing but a hole has none: its writer may begin yet.
func holeAt(fd int, size, least int64, buf []byte) int64 {
	data, err := unix.Seek(fd, 0, unix.SEEK_DATA)
	if err != nil {
		data = 0 // ENXIO: nothing but a hole; the rest: not told
	}
	if data == 0 && least == 0 {
		return 0
	}
	// The hole ends somewhere in the first block that was written.
	limit := min(size, max(data, least)+1<<20)
	for pos := data; pos < limit; {
		n, err := pread(fd, buf[:min(int64(len(buf)), limit-pos)], pos)
		if err != nil || n == 0 {
			return 0
		}
		for i, b := range buf[:n] {
			if b == 0 {
				continue
			}
			if at := pos + int64(i); data > 0 || at >= least {
				return at
			}
			return 0
		}
		pos += int64(n)
	}
	return 0
}

// skipHole passes over a hole at the beginning of the file, if there is one.
func (t *turn) skipHole(b *buffers, buf *buffer) bool {
	scratch := b.get(32 << 10)
	defer b.put(scratch)
	n := holeAt(t.fd, t.size, t.nuls, scratch.bytes)
	if n == 0 {
		return false
	}
	buf.lines = buf.lines[:0]
	t.hole = n
	t.to, t.dry, t.more = at(n), n, true
	t.after = tailHash(make([]byte, min(n, overlap)))
	t.verdict = handOut
	return true
}
