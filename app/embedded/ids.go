package embedded

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
)

const (
	idShards    = 64
	idSlot      = 12
	idHeader    = 2 * idSlot
	idMagic     = "lfids001"
	idFirstSize = 1024 // slots of a new shard, 768 KiB in all
)

// idKey stands for one document id of one index: the head of a SHA-256, so that
// no two ids meet, not even two that somebody made for the purpose.
type idKey [idSlot]byte

// idHasher makes keys; one goroutine uses it at a time.
type idHasher struct{ buf []byte }

func (h *idHasher) key(index, id string) idKey {
	h.buf = append(append(append(h.buf[:0], index...), 0), id...)
	sum := sha256.Sum256(h.buf)
	k := idKey(sum[:idSlot])
	if k == (idKey{}) {
		k[0] = 1 // an empty slot is all zeros
	}
	return k
}

// idSet is the set of all ids ever stored, in files that are mapped into
// memory: 12 bytes an id at a load of 40 to 80 percent, which the kernel may
// write out and take back. What a killed process has put in is there at the
// next start. One goroutine uses it at a time.
type idSet struct {
	dir    string
	shards [idShards]idShard
}

// openIDs opens the set in dir, which is made when absent.
func openIDs(dir string) (*idSet, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &idSet{dir: dir}
	for i := range s.shards {
		if err := s.open(i); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *idSet) has(k idKey) bool { return s.shards[k.shard()].has(k) }

// add puts k in; to add what is there changes nothing. An error means that the
// disk has no room for the set to grow, and k is not in.
func (s *idSet) add(k idKey) error {
	i := k.shard()
	if sh := &s.shards[i]; sh.count() >= sh.slots/5*4 {
		if err := s.grow(i); err != nil {
			return fmt.Errorf("grow the set of ids: %w", err)
		}
	}
	s.shards[i].add(k)
	return nil
}

func (s *idSet) len() int {
	n := uint64(0)
	for i := range s.shards {
		n += s.shards[i].count()
	}
	return int(n)
}

// sync waits until the set is on the disk.
func (s *idSet) sync() error {
	for i := range s.shards {
		if err := msync(s.shards[i].data); err != nil {
			return err
		}
	}
	return nil
}

func (s *idSet) close() {
	for i := range s.shards {
		s.shards[i].unmap()
	}
}

func (s *idSet) path(i int) string { return filepath.Join(s.dir, fmt.Sprintf("%02x.ids", i)) }

func (s *idSet) open(i int) error {
	if _, err := os.Stat(s.path(i)); os.IsNotExist(err) {
		if err := s.write(i, newShard(idFirstSize)); err != nil {
			return err
		}
	}
	return s.mapIn(i)
}

func (s *idSet) mapIn(i int) error {
	data, err := mmap(s.path(i))
	if err != nil {
		return fmt.Errorf("map %s: %w", s.path(i), err)
	}
	if len(data) < idHeader+idSlot || string(data[:len(idMagic)]) != idMagic {
		munmap(data)
		return fmt.Errorf("%s is not a set of ids", s.path(i))
	}
	s.shards[i] = shardOf(data)
	return nil
}

// grow writes the shard anew, twice as big. The new file is written and
// not mapped, so that a full disk is an error here and not a fault at a later
// store; and renamed over the old one, which is whole until then.
func (s *idSet) grow(i int) error {
	old := &s.shards[i]
	bigger := newShard(2 * old.slots)
	for n := range old.slots {
		if k := old.at(n); k != (idKey{}) {
			bigger.add(k)
		}
	}
	if err := s.write(i, bigger); err != nil {
		return err
	}
	old.unmap()
	return s.mapIn(i)
}

func (s *idSet) write(i int, sh idShard) error {
	tmp := s.path(i) + ".tmp"
	if err := os.WriteFile(tmp, sh.data, 0o600); err != nil {
		os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, s.path(i))
}

// idShard is a hash table with open addressing. A key's slot is its value
// scaled to the number of slots, so the keys lie in order, and growing walks
// both tables from front to end.
type idShard struct {
	data  []byte // magic, count, slots
	slots uint64
}

func newShard(slots uint64) idShard {
	data := make([]byte, idHeader+slots*idSlot)
	copy(data, idMagic)
	return idShard{data: data, slots: slots}
}

func shardOf(data []byte) idShard {
	return idShard{data: data, slots: uint64(len(data)-idHeader) / idSlot}
}

func (k *idKey) shard() int { return int(k[0] >> 2) }

func (sh *idShard) count() uint64 { return binary.LittleEndian.Uint64(sh.data[len(idMagic):]) }

func (sh *idShard) at(n uint64) idKey { return idKey(sh.data[idHeader+n*idSlot:]) }

// find gives the slot that holds k, or the empty one where it belongs.
func (sh *idShard) find(k idKey) (slot uint64, ok bool) {
	h := binary.BigEndian.Uint64(k[:]) << 6 // the shard's own bits are all alike
	n, _ := bits.Mul64(h, sh.slots)
	for {
		switch sh.at(n) {
		case k:
			return n, true
		case idKey{}:
			return n, false
		}
		if n++; n == sh.slots {
			n = 0
		}
	}
}

func (sh *idShard) has(k idKey) bool {
	_, ok := sh.find(k)
	return ok
}

func (sh *idShard) add(k idKey) {
	n, ok := sh.find(k)
	if ok {
		return
	}
	// A process killed within the copy leaves a slot with half a key: it
	// matches nothing, and the journal brings the key again.
	copy(sh.data[idHeader+n*idSlot:], k[:])
	binary.LittleEndian.PutUint64(sh.data[len(idMagic):], sh.count()+1)
}

func (sh *idShard) unmap() {
	if sh.data != nil {
		munmap(sh.data)
		sh.data = nil
	}
}
