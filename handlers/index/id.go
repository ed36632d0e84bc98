package index

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/logferry/logferry/handlers/logs"
)

// A document's _id is 24 bytes in 32 characters of an alphabet whose order is
// that of the bytes, so that ids grow with the position within a file, which
// Elasticsearch looks up and stores cheaper than random ones:
//
//	8  hash of node, and file identity and generation (or topic and partition)
//	6  position of the line in the file (or offset), big-endian: 256 TiB
//	   (a replayed letter keeps topic, partition and offset of its first time)
//	3  number of the part of a split line, big-endian; all ones for a record
//	   that came from elsewhere
//	7  hash of the record's bytes
//
// Two lines get one id only when all parts meet. Among a million file
// generations in one index the chance that any two share the first part is
// 10^12 / 2^65 = 3 * 10^-8, among 10^9 it is 3%; then still the same position
// must hold the same bytes, or bytes whose hashes meet: 2^-56 for each pair.
const (
	idBytes  = 24
	idLength = 32

	maxPosition = 1<<48 - 1
	maxPart     = 1<<24 - 2
	foreignPart = 1<<24 - 1
)

var idAlphabet = base64.NewEncoding("-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz").
	WithPadding(base64.NoPadding)

// place is where a record came from: a position in a file, or an offset.
type place struct {
	ours     bool
	position int64
	part     int32
}

// placeOf reads the position from the record's headers. A record whose headers
// are damaged is one from elsewhere.
func placeOf(r *logs.Record) place {
	foreign := place{position: r.Offset, part: foreignPart}
	if again := r.Meta.Replayed; again != nil && again.Known {
		foreign.position = again.Place.Offset
	}
	if !r.Meta.Ours() {
		return foreign
	}
	position, ok := parseDecimal(r.Meta.Pos, maxPosition)
	if !ok {
		return foreign
	}
	part, ok := parseDecimal(r.Meta.Part, maxPart)
	if !ok && len(r.Meta.Part) > 0 {
		return foreign
	}
	return place{ours: true, position: position, part: int32(part)}
}

func parseDecimal(b []byte, limit int64) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n <= limit
}

// identifier makes ids. It remembers the hash of the last file, since records
// come in runs. Not safe for concurrent use.
type identifier struct {
	node, file []byte
	hash       uint64
}

// append appends the _id of r, which came from p.
func (d *identifier) append(dst []byte, r *logs.Record, p place) []byte {
	var id [idBytes]byte
	// The position's two highest bytes, which are 0, give way to the hash.
	binary.BigEndian.PutUint64(id[6:], uint64(p.position)&maxPosition)
	binary.BigEndian.PutUint64(id[0:], d.origin(r, p))
	id[14], id[15], id[16] = byte(p.part>>16), byte(p.part>>8), byte(p.part)
	line := xxhash.Sum64(r.Value)
	for i := 17; i < idBytes; i++ {
		id[i] = byte(line >> (8 * (idBytes - 1 - i)))
	}
	return idAlphabet.AppendEncode(dst, id[:])
}

func (d *identifier) origin(r *logs.Record, p place) uint64 {
	if !p.ours {
		var digits [11]byte
		topic, partition := []byte(r.Topic), r.Partition
		if again := r.Meta.Replayed; again != nil && again.Known {
			topic, partition = again.Place.Topic, again.Place.Partition
		}
		return hashOf("topic", topic, strconv.AppendInt(digits[:0], int64(partition), 10))
	}
	if d.hash == 0 || string(d.file) != string(r.Meta.File) || string(d.node) != string(r.Meta.Node) {
		d.node = append(d.node[:0], r.Meta.Node...)
		d.file = append(d.file[:0], r.Meta.File...)
		d.hash = hashOf("file", r.Meta.Node, r.Meta.File)
	}
	return d.hash
}

// hashOf hashes the parts with a byte between them that no name holds.
func hashOf(kind string, a, b []byte) uint64 {
	var h xxhash.Digest
	h.Reset()
	_, _ = h.WriteString(kind)
	for _, part := range [][]byte{a, b} {
		_, _ = h.Write([]byte{0})
		_, _ = h.Write(part)
	}
	return h.Sum64()
}
