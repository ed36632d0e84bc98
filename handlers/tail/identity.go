package tail

import (
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// maxHead is how many of a file's first bytes are part of its identity.
const maxHead = 1 << 10

// inode names a file as the kernel does, for as long as somebody holds it.
type inode struct{ dev, ino uint64 }

// prefix is a hash of a file's first size bytes. Sizes are powers of two, so
// that prefixes of files of different length can be compared; a file's prefix
// grows with the file.
type prefix struct {
	size uint16
	hash uint64
}

// prefixOf hashes as much of a file's first bytes as a prefix takes.
func prefixOf(first []byte) prefix {
	if len(first) == 0 {
		return prefix{}
	}
	size := min(1<<(bits.Len(uint(len(first)))-1), maxHead)
	return prefix{uint16(size), xxhash.Sum64(first[:size])}
}

// covers says whether first, a file's first bytes, can be those of the file
// with prefix p.
func (p prefix) covers(first []byte) bool {
	return len(first) >= int(p.size) && (p.size == 0 || xxhash.Sum64(first[:p.size]) == p.hash)
}

// tailHash hashes the last bytes before a position, at most overlap of them.
func tailHash(before []byte) uint64 {
	if len(before) > overlap {
		before = before[len(before)-overlap:]
	}
	return xxhash.Sum64(before)
}

// nameOf gives the text of a file's identity, without its generation. born is
// when the file was created, in nanoseconds, or when it was first seen where
// the file system does not tell: an inode that is used again has another name.
// It is a function of the file alone where the file system tells, so that a
// crash before the first checkpoint does not give the lines new ids.
func nameOf(id inode, born int64) string {
	b := [8]byte{}
	for i := range b {
		b[i] = byte(born >> (8 * i))
	}
	return fmt.Sprintf("%x-%x-%010x", id.dev, id.ino, xxhash.Sum64(b[:])>>24)
}
