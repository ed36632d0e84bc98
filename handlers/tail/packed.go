package tail

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A gzip file under a pattern mostly is a file that was followed before it was
// packed. It waits until it is complete, and is then unpacked once without
// being read, to see whose content it holds: by the first bytes, and by what
// stands before the position where that file was left. If that is its end, all
// of it was handed out. Otherwise it is read on from there, under the identity
// of that file. Positions are those in the unpacked content.

// maxUnpackers is how many packed files have turns at once. Each costs some
// 100 KB, and the chunk that it was last read in.
const maxUnpackers = 2

// maxEnded bounds the positions that are kept of files that are gone, for a
// packed copy of them that may turn up.
const maxEnded = 4096

// stage is where a packed file stands.
type stage uint8

const (
	packing  stage = iota // it may still be written
	looking               // whose content it is, is being found out
	behind                // the file that it was made of is still read
	reading               // it is read
	finished              // all of it was handed out, or nothing is to be
)

// packed is what is known of a packed file.
type packed struct {
	stage stage
	raw   int64 // its size when it was looked at
	size  int64 // bytes it holds, once known
	skip  bool  // it was there before its input, which starts at the end
	u     *unpacker
	look  look
}

// kept is what the checkpoint knows of a packed file, zero for any other.
type keptPacked struct {
	raw, size int64
	done      bool
}

// isPacked says whether a file is a gzip file, by its name and, if there are
// any, by its first bytes.
func isPacked(path string, first []byte) bool {
	return strings.EqualFold(filepath.Ext(path), ".gz") &&
		(len(first) < 3 || first[0] == 0x1f && first[1] == 0x8b && first[2] == 8)
}

// recognise treats f as packed if it is. The entry may know it already.
func (s *Source) recognise(f *file, first []byte) {
	switch {
	case f.gz.raw > 0:
		f.packed = &packed{stage: reading, raw: f.gz.raw, size: f.gz.size}
		if f.gz.done {
			f.packed.stage = finished
		}
		f.size = f.gz.size
	case isPacked(f.path, first):
		f.packed = &packed{}
	default:
		return
	}
	f.checked = true
	f.changed = s.now
	if f.packed.stage != finished {
		s.packs[f] = true
		s.packedAt = s.now
	}
}

// of gives what a stat of the packed file means for what it holds.
func (f *file) of(st stat) stat {
	if f.packed != nil {
		st.size = max(f.size, 0)
	}
	return st
}

// observePacked compares what the kernel says of a packed file with what it
// was when it was looked at.
func (s *Source) observePacked(f *file, st stat) {
	p := f.packed
	switch {
	case p.stage == packing || f.busy:
	case st.size != p.raw:
		if f.fd < 0 && !s.reopen(f) {
			return
		}
		if f.fd >= 0 { // else it was another file, which is followed now
			s.beginAgain(f, whyRewritten)
		}
	case p.stage == looking || p.stage == reading:
		s.nudge(f)
	}
}

// checkPacked gets on with packed files.
func (s *Source) checkPacked() {
	s.packedAt = s.now.Add(time.Second)
	for f := range s.packs {
		if f.busy || f.retired || f.released || f.spoiled {
			continue
		}
		switch f.packed.stage {
		case packing:
			s.awaitPacked(f)
		case behind:
			s.decide(f)
		case looking, reading:
			s.nudge(f)
		}
	}
}

// awaitPacked waits until a packed file was quiet for rotate_wait, and then
// looks into it.
func (s *Source) awaitPacked(f *file) {
	wait := f.in.cfg.RotateWait.D()
	if at := s.now.Add(max(wait/4, 5*time.Millisecond)); at.Before(s.packedAt) {
		s.packedAt = at
	}
	if f.fd < 0 && !s.reopen(f) {
		return
	}
	st, err := fstat(f.fd)
	if err != nil {
		return
	}
	if st.size != f.packed.raw || st.mtime != f.mtime {
		f.packed.raw, f.mtime, f.changed = st.size, st.mtime, s.now
		f.packed.look = look{}
		// It may have been quiet before it was seen.
		if at := time.Unix(0, st.ctime); at.Before(s.now) {
			f.changed = at
		}
	}
	if s.now.Sub(f.changed) < wait || st.size == 0 || f.packed.look.begun {
		return // begun: it was incomplete, and did not grow since
	}
	first, err := s.firstBytes(f.fd)
	if err != nil {
		return
	}
	if len(first) < 3 && first[0] == 0x1f && (len(first) < 2 || first[1] == 0x8b) {
		return // somebody has begun to pack it
	}
	if !isPacked(f.path, first) || len(first) < 3 {
		s.unpack(f)
		f.packed, f.checked, f.size = nil, false, -1
		delete(s.packs, f)
		s.nudge(f)
		return
	}
	if f.packed.skip {
		s.finishPacked(f)
		return
	}
	f.packed.stage = looking
	s.nudge(f)
}

// mayUnpack says whether f may have a turn, and gives it an unpacker.
func (s *Source) mayUnpack(f *file) bool {
	p := f.packed
	if p.stage != looking && (p.stage != reading || f.read.pos >= p.size) {
		f.want = false
		return false
	}
	if p.u == nil {
		if s.unpackers >= maxUnpackers {
			return false
		}
		s.unpackers++
		p.u = &unpacker{}
	}
	return true
}

// unpack takes f's unpacker back; whoever waits for one gets it.
func (s *Source) unpack(f *file) {
	if f.packed == nil || f.packed.u == nil {
		return
	}
	f.in.drop(f)
	f.packed.u = nil
	s.unpackers--
	if len(s.packs) > 1 {
		s.packedAt = s.now
	}
}

// looked takes what a turn found out about a packed file.
func (s *Source) looked(t *turn) {
	f, p := t.file, t.file.packed
	switch {
	case errors.Is(t.err, errIncomplete):
		s.unpack(f)
		p.stage = packing
		s.sayOnce(slog.LevelInfo, "packed file is incomplete, waiting for the rest", "path", f.path)
	case t.err != nil:
		s.tally.ReadErrors++
		s.fail(t.err)
		s.sayOnce(slog.LevelError, "packed file is not read", "path", f.path, "error", t.err)
		s.unpack(f)
		p.stage = packing // until it changes
	case p.look.done:
		p.size, p.look.buf = p.look.size, nil
		s.unpack(f)
		s.decide(f)
	default:
		if p.look.want == nil && len(p.look.tails) == 0 {
			p.look.want = s.positions(f)
		}
		f.want = true
	}
}

// positions returns where files that f may hold were left, ascending.
func (s *Source) positions(f *file) []int64 {
	var list []int64
	for e := range s.candidates(f) {
		list = append(list, e.acked.pos)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// candidates yields the files that f, by its first bytes and its name, may be
// a packed copy of. The file is nil for one that is not followed any more.
func (s *Source) candidates(f *file) func(func(*entry, *file) bool) {
	first := f.packed.look.first
	heads := map[prefix]bool{}
	for size := 1; size <= len(first); size *= 2 {
		heads[prefixOf(first[:size])] = true
	}
	may := func(e *entry) bool {
		return e.gz.raw == 0 && heads[e.head] && related(e.path, f.path)
	}
	return func(yield func(*entry, *file) bool) {
		for _, o := range s.files {
			if o != f && o.packed == nil && (may(&o.entry) || o.head.size == 0 && heads[o.indexed] && related(o.path, f.path)) &&
				!yield(&o.entry, o) {
				return
			}
		}
		for o := range s.retired {
			if o.packed == nil && may(&o.entry) && !yield(&o.entry, o) {
				return
			}
		}
		for _, e := range s.past {
			if may(e) && !yield(e, nil) {
				return
			}
		}
		for _, e := range s.ended {
			if may(e) && !yield(e, nil) {
				return
			}
		}
	}
}

// decide says what becomes of a packed file that was looked at.
func (s *Source) decide(f *file) {
	p := f.packed
	var best *entry
	for e, o := range s.candidates(f) {
		tail, known := p.look.tails[e.acked.pos]
		stands := e.acked.pos == 0 || known && tail == e.tail
		switch {
		case o != nil && (o.retired || o.orphan):
			if e.acked.pos <= p.size {
				p.stage = behind // it will be an ended one
				return
			}
		case o != nil && (stands && e.acked.pos == p.size || o.fd >= 0 && endsAt(o.fd, p.size, p.look.end)):
			if e.acked.pos >= p.size {
				s.finishPacked(f)
			} else {
				p.stage = behind
			}
			return
		case o != nil && o.fd >= 0 && (o.busy || !s.stands(o)):
			if !o.busy {
				s.beginAgain(o, whyTruncated)
			}
			p.stage = behind // what was cut off will be an ended one
			return
		case o != nil || e.acked.pos > p.size:
		case !known && e.acked.pos > 0:
			p.stage, p.look = looking, look{} // it ended meanwhile
			s.nudge(f)
			return
		case stands && (best == nil || e.acked.pos > best.acked.pos):
			best = e
		}
	}
	if best != nil {
		s.log.Info("packed file goes on where its original was left", "path", f.path, "file", best.key(),
			"from", best.acked.pos, "to", p.size)
		s.tally.Copies++
		s.inherit(f, best)
	}
	s.tally.Unpacked++
	if f.acked.pos == p.size {
		s.finishPacked(f)
		return
	}
	p.stage = reading
	f.size = p.size
	f.gz = keptPacked{raw: p.raw, size: p.size}
	s.touch(&f.entry)
	s.measure(f)
	p.look = look{}
	s.nudge(f)
}

// endsAt says whether the bytes before pos of an open file are end.
func endsAt(fd int, pos int64, end []byte) bool {
	b := make([]byte, len(end))
	n, err := pread(fd, b, pos-int64(len(end)))
	return err == nil && n == len(end) && string(b) == string(end)
}

// inherit lets f go on as the file that e is of, which nobody follows.
func (s *Source) inherit(f *file, e *entry) {
	own := f.entry
	own.dirty = false
	s.remove(&own)
	delete(s.ended, e.key())
	if s.past[e.inode] == e {
		delete(s.past, e.inode)
	}
	// What is written of f is the last that is written under this name.
	s.dirty = slices.DeleteFunc(s.dirty, func(d *entry) bool { return d == e || d == &f.entry })
	f.name, f.gen, f.head = e.name, e.gen, e.head
	f.acked, f.tail = e.acked, e.tail
	f.read, f.before, f.dry = e.acked, e.tail, e.acked.pos
	f.origin, f.dirty = nil, false
	s.touch(&f.entry)
}

// finishPacked marks a packed file as one of which nothing is to be read.
func (s *Source) finishPacked(f *file) {
	p := f.packed
	s.unpack(f)
	p.stage, p.look = finished, look{}
	f.read, f.acked, f.dry = at(p.size), at(p.size), p.size
	f.want, f.size = false, p.size
	f.gz = keptPacked{raw: p.raw, size: p.size, done: true}
	delete(s.packs, f)
	s.touch(&f.entry)
	s.measure(f)
	if !f.gone && !f.busy {
		s.closeFile(f)
	}
}

// keepEnded keeps where a file that is gone was left, if a packed copy of it
// may turn up.
func (s *Source) keepEnded(e entry) bool {
	if e.head.size == 0 || e.gz.raw > 0 || !s.mayBePacked(e.path) {
		return false
	}
	e.ended, e.left, e.dirty = true, s.now.Unix(), false
	s.ended[e.key()] = &e
	s.touch(&e)
	for len(s.ended) > maxEnded {
		var oldest *entry
		for _, o := range s.ended {
			if oldest == nil || o.left < oldest.left {
				oldest = o
			}
		}
		delete(s.ended, oldest.key())
		s.remove(oldest)
	}
	return true
}

// mayBePacked says whether an input asks for the names that packed copies of
// the file at path mostly have.
func (s *Source) mayBePacked(path string) bool {
	for _, in := range s.ordered {
		for _, suffix := range [...]string{".gz", ".1.gz", "-1.gz"} {
			if in.matches(path + suffix) {
				return true
			}
		}
	}
	return false
}
