package kafka

import "github.com/twmb/franz-go/pkg/kgo"

// keyed chooses partitions as Kafka's own producer does, by the murmur2 hash of
// the key, which the publisher worked out once for the whole batch and left in
// the record's Partition field. Records without a key go where the publisher's
// random number says, all of one batch to the same partition.
type keyed struct{}

func (keyed) ForTopic(string) kgo.TopicPartitioner { return keyed{} }

// RequiresConsistency lets records without a key go round a partition that
// cannot be written.
func (keyed) RequiresConsistency(r *kgo.Record) bool { return r.Key != nil }

func (keyed) Partition(r *kgo.Record, n int) int { return int(r.Partition) % n }

// keyHash is Kafka's hash of a record's key, made positive.
func keyHash(key []byte) int32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(key))
	for len(key) >= 4 {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
		key = key[4:]
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(key[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return int32(h & 0x7fffffff)
}
