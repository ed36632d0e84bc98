package poison

import (
	"crypto/sha256"

	"github.com/logferry/logferry/handlers/logs"
)

// live knows which record of the poison topic is each letter's last word. A
// topic that was not compacted yet holds older ones too, and letters that a
// tombstone has answered; and what is to be done with a letter must be done to
// the last one. It keeps 24 bytes for each live letter, in maps that are two
// thirds full on average: about 40 bytes, and never the letter itself.
type live struct {
	partitions map[partition]map[digest]int64
	count      int64
}

type partition struct {
	topic  string
	number int32
}

// digest stands for a letter's id. Half of SHA-256 is beyond all chance, and
// beyond those who choose their lines.
type digest [16]byte

func digestOf(key []byte) digest {
	sum := sha256.Sum256(key)
	return digest(sum[:16])
}

func newLive() *live { return &live{partitions: map[partition]map[digest]int64{}} }

// note takes the next record of a partition.
func (l *live) note(r *logs.Record) {
	p := partition{r.Topic, r.Partition}
	offsets := l.partitions[p]
	if offsets == nil {
		offsets = map[digest]int64{}
		l.partitions[p] = offsets
	}
	before := len(offsets)
	if d := digestOf(r.Key); r.Value == nil {
		delete(offsets, d)
	} else {
		offsets[d] = r.Offset
	}
	l.count += int64(len(offsets) - before)
}

// has says whether r is a letter's last word.
func (l *live) has(r *logs.Record) bool {
	offset, ok := l.partitions[partition{r.Topic, r.Partition}][digestOf(r.Key)]
	return ok && offset == r.Offset
}
