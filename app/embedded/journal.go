package embedded

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

const (
	frameHeader = 8 // length and checksum of what follows
	maxFrame    = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal holds the accepted documents of which it is not known that the log
// storage has them on its disk: one frame per bulk request. A frame that was
// written survives the process; [journal.sync] makes it survive the machine.
// Not safe for concurrent use, apart from sync.
type journal struct {
	f    *os.File
	size int64
}

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{f: f}, nil
}

// newFrame starts a frame in buf's memory.
func newFrame(buf []byte) []byte { return append(buf[:0], make([]byte, frameHeader)...) }

// appendDoc adds a document to a frame.
func appendDoc(frame []byte, d *document) []byte {
	frame = binary.LittleEndian.AppendUint64(frame, uint64(d.time))
	if d.opens {
		frame = append(frame, 1)
	} else {
		frame = append(frame, 0)
	}
	frame = binary.AppendUvarint(frame, uint64(len(d.index)))
	frame = append(frame, d.index...)
	frame = binary.AppendUvarint(frame, uint64(len(d.id)))
	frame = append(frame, d.id...)
	frame = binary.AppendUvarint(frame, uint64(len(d.source)))
	return append(frame, d.source...)
}

// sealFrame makes the frame ready for [journal.append].
func sealFrame(frame []byte) {
	body := frame[frameHeader:]
	binary.LittleEndian.PutUint32(frame, uint32(len(body)))
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(body, castagnoli))
}

// append writes a sealed frame. After an error the journal is as before.
func (j *journal) append(frame []byte) error {
	if _, err := j.f.WriteAt(frame, j.size); err != nil {
		if terr := j.f.Truncate(j.size); terr != nil {
			err = errors.Join(err, terr)
		}
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(frame))
	return nil
}

// sync waits until what was appended is on the disk.
func (j *journal) sync() error { return j.f.Sync() }

// reset empties the journal.
func (j *journal) reset() error {
	if err := j.f.Truncate(0); err != nil {
		return fmt.Errorf("empty journal: %w", err)
	}
	j.size = 0
	return nil
}

func (j *journal) close() error { return j.f.Close() }

// replay calls fn for each document, whose strings and source are valid until
// fn returns. A frame that was cut off by a kill was never answered: what
// follows the last whole frame is removed, and lost tells how many bytes.
func (j *journal) replay(fn func(*document)) (lost int64, err error) {
	if _, err := j.f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	r := bufio.NewReaderSize(j.f, 1<<20)
	var header [frameHeader]byte
	var body []byte
	for j.size = 0; ; {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			break
		}
		n := int(binary.LittleEndian.Uint32(header[:]))
		if n == 0 || n > maxFrame {
			break
		}
		if cap(body) < n {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(r, body); err != nil {
			break
		}
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(header[4:]) || !eachDoc(body, fn) {
			break
		}
		j.size += int64(frameHeader + n)
	}
	info, err := j.f.Stat()
	if err != nil {
		return 0, err
	}
	if lost = info.Size() - j.size; lost > 0 {
		err = j.f.Truncate(j.size)
	}
	return lost, err
}

func eachDoc(body []byte, fn func(*document)) bool {
	for len(body) > 0 {
		if len(body) < 9 {
			return false
		}
		d := document{time: int64(binary.LittleEndian.Uint64(body)), opens: body[8] == 1}
		body = body[9:]
		var part [3][]byte
		for i := range part {
			n, w := binary.Uvarint(body)
			if w <= 0 || n > uint64(len(body)-w) {
				return false
			}
			part[i], body = body[w:w+int(n)], body[w+int(n):]
		}
		d.index, d.id, d.source = asString(part[0]), asString(part[1]), part[2]
		fn(&d)
	}
	return true
}
