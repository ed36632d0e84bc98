package tail

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A checkpoint file is a header, the records of all entries, a record that
// ends them, and then a journal: records of what changed since. Each record is
// its length, its checksum and its payload; the later one of two with the same
// key counts. Cut or damaged anywhere, what stands before is good.

const journalHeader = "logferry checkpoint 1\n"

const (
	recordEntry  = 'e'
	recordRemove = 'r'
	recordInput  = 'i'
	recordEnd    = '.'
)

// An entry may end with parts that most files do not have.
const (
	partEnded  = 'e'
	partPacked = 'z'
	partFolder = 'd'
)

func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// maxRecord is more than any entry takes: paths have at most 4 KiB.
const maxRecord = 64 << 10

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errTorn    = errors.New("it ends inside a record")
	errDamaged = errors.New("a record is damaged")
)

// appendRecord appends a record whose payload fill appends to what it is given.
func appendRecord(b []byte, fill func([]byte) []byte) []byte {
	at := len(b)
	b = fill(append(b, 0, 0, 0, 0, 0, 0, 0, 0))
	payload := b[at+8:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(payload, castagnoli))
	return b
}

// nextRecord returns the first record's payload and what follows it.
func nextRecord(b []byte) (payload, rest []byte, err error) {
	if len(b) < 8 {
		return nil, nil, errTorn
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > maxRecord {
		return nil, nil, errDamaged
	}
	if int(n) > len(b)-8 {
		return nil, nil, errTorn
	}
	payload = b[8 : 8+n]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, nil, errDamaged
	}
	return payload, b[8+n:], nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendEntry(b []byte, e *entry) []byte {
	if e.dead {
		return appendRecord(b, func(b []byte) []byte {
			return appendText(append(b, recordRemove), e.key())
		})
	}
	return appendRecord(b, func(b []byte) []byte {
		b = appendText(append(b, recordEntry), e.name)
		b = binary.AppendUvarint(b, uint64(e.gen))
		b = binary.AppendUvarint(b, e.dev)
		b = binary.AppendUvarint(b, e.ino)
		b = binary.AppendVarint(b, e.born)
		b = appendText(b, e.path)
		b = binary.AppendUvarint(b, uint64(e.head.size))
		b = binary.LittleEndian.AppendUint64(b, e.head.hash)
		b = binary.AppendUvarint(b, uint64(e.acked.pos))
		b = binary.AppendUvarint(b, uint64(e.acked.line))
		b = binary.AppendUvarint(b, uint64(e.acked.part))
		b = append(b, e.acked.flags())
		b = binary.LittleEndian.AppendUint64(b, e.tail)
		b = binary.AppendVarint(b, e.left)
		if e.ended {
			b = append(b, partEnded)
		}
		if e.folder != "" {
			b = appendText(append(b, partFolder), e.folder)
		}
		if e.gz.raw > 0 {
			b = binary.AppendUvarint(append(b, partPacked), uint64(e.gz.raw))
			b = binary.AppendUvarint(b, uint64(e.gz.size))
			b = append(b, truth(e.gz.done))
		}
		return b
	})
}

// flags packs what a place says beside numbers.
func (p place) flags() byte {
	b := p.stream << 3
	for i, set := range [...]bool{p.skip, p.inside, p.half} {
		if set {
			b |= 1 << i
		}
	}
	return b
}

func (p *place) setFlags(b byte) {
	p.skip, p.inside, p.half = b&1 != 0, b&2 != 0, b&4 != 0
	p.stream = b >> 3 & (streams - 1)
}

// fields reads the fields of a payload; bad is set when one was not there.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.b)
	return v * f.take(n)
}

func (f *fields) int() int64 {
	v, n := binary.Varint(f.b)
	return v * int64(f.take(n))
}

func (f *fields) take(n int) uint64 {
	if n <= 0 || n > len(f.b) {
		f.bad, f.b = true, nil
		return 0
	}
	f.b = f.b[n:]
	return 1
}

func (f *fields) fixed() uint64 {
	if len(f.b) < 8 {
		f.take(0)
		return 0
	}
	v := binary.LittleEndian.Uint64(f.b)
	f.b = f.b[8:]
	return v
}

func (f *fields) text() string {
	n := f.uint()
	if n > uint64(len(f.b)) {
		f.take(0)
		return ""
	}
	s := string(f.b[:n])
	f.b = f.b[n:]
	return s
}

func decodeEntry(payload []byte) (*entry, bool) {
	f := fields{b: payload}
	e := &entry{}
	e.name = f.text()
	e.gen = uint32(f.uint())
	e.dev, e.ino = f.uint(), f.uint()
	e.born = f.int()
	e.path = f.text()
	e.head.size = uint16(f.uint())
	e.head.hash = f.fixed()
	e.acked.pos, e.acked.line, e.acked.part = int64(f.uint()), int64(f.uint()), int32(f.uint())
	if len(f.b) > 0 {
		e.acked.setFlags(f.b[0])
	}
	f.take(1)
	e.tail = f.fixed()
	e.left = f.int()
	for len(f.b) > 0 {
		part := f.b[0]
		f.take(1)
		switch part {
		case partEnded:
			e.ended = true
		case partFolder:
			e.folder = f.text()
		case partPacked:
			e.gz.raw, e.gz.size = int64(f.uint()), int64(f.uint())
			e.gz.done = len(f.b) > 0 && f.b[0] == 1
			f.take(1)
			f.bad = f.bad || e.gz.raw <= 0 || e.gz.size < 0
		default:
			f.take(0)
		}
	}
	ok := !f.bad && e.head.size <= maxHead && e.acked.pos >= 0 && e.acked.line >= 0 &&
		e.acked.line <= e.acked.pos && e.acked.part >= 0
	return e, ok
}

// image is what a checkpoint file says.
type image struct {
	entries map[string]*entry // by key
	order   []string          // keys in the order of their last record; may repeat
	inputs  map[string]bool
	whole   bool // all entries were there, whatever became of the journal
}

// decode reads a checkpoint file. The image is good as far as it goes when
// whole is set, even with an error.
func decode(b []byte) (*image, error) {
	im := &image{entries: map[string]*entry{}, inputs: map[string]bool{}}
	if len(b) < len(journalHeader) || string(b[:len(journalHeader)]) != journalHeader {
		return im, errors.New("it does not begin as a checkpoint")
	}
	b = b[len(journalHeader):]
	for len(b) > 0 {
		payload, rest, err := nextRecord(b)
		if err != nil {
			return im, err
		}
		switch payload[0] {
		case recordEntry:
			e, ok := decodeEntry(payload[1:])
			if !ok {
				return im, errDamaged
			}
			im.entries[e.key()] = e
			im.order = append(im.order, e.key())
		case recordRemove:
			f := fields{b: payload[1:]}
			delete(im.entries, f.text())
		case recordInput:
			f := fields{b: payload[1:]}
			im.inputs[f.text()] = true
		case recordEnd:
			im.whole = true
		}
		b = rest
	}
	if !im.whole {
		return im, errTorn
	}
	return im, nil
}
