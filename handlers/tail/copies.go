package tail

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A file that is rotated by copying it and cutting it off ends here and goes
// on in its copy. Until it is cut, the copy looks like a new file; afterwards
// nothing is left to compare the copy with. So a new file that begins as a
// known one does, and is called after it, waits (a suspect); and a generation
// that was cut off waits for its copy to turn up (an orphan).

const (
	// maxAlike bounds how many files with the same beginning are compared.
	maxAlike = 32
	// compared is how many bytes at the end of a copy are compared.
	compared = 4 << 10
	// minOrphan is how long a generation waits for its copy at least: a scan
	// and a bit more.
	minOrphan = 3 * time.Second
)

// mark is a position that a batch ended at, and a hash of what stands before.
type mark struct {
	pos  int64
	tail uint64
}

// marks are the last few of a file: the copy may end before what was read.
type marks struct {
	at [16]mark
	n  int
}

func (m *marks) add(pos int64, tail uint64) {
	m.at[m.n%len(m.at)] = mark{pos, tail}
	m.n++
}

// indexHead lets files be found by their first bytes.
func (s *Source) indexHead(f *file) { s.indexAs(f, f.head) }

// indexAs is indexHead for a file that was not read yet and begins with head.
func (s *Source) indexAs(f *file, head prefix) {
	if head.size == 0 || f.indexed == head || f.packed != nil {
		return
	}
	s.dropHead(f)
	if alike := s.heads[head]; len(alike) < maxAlike {
		s.heads[head] = append(alike, f)
		f.indexed = head
	}
}

func (s *Source) dropHead(f *file) {
	if f.indexed.size == 0 {
		return
	}
	alike := s.heads[f.indexed]
	for i, g := range alike {
		if g == f {
			alike[i] = alike[len(alike)-1]
			alike[len(alike)-1] = nil
			alike = alike[:len(alike)-1]
			break
		}
	}
	if len(alike) == 0 {
		delete(s.heads, f.indexed)
	} else {
		s.heads[f.indexed] = alike
	}
	f.indexed = prefix{}
}

// original decides whether the new file f is one of its own. If not, or if
// that is not known yet, f is not to be read now.
func (s *Source) original(f *file) bool {
	if f.checked {
		s.indexUnread(f)
		return true
	}
	if s.suspects[f] != nil {
		return false
	}
	if s.scanning || s.gathering {
		// What f may be a copy of is perhaps looked at next.
		s.unchecked = append(s.unchecked, f)
		return false
	}
	st, err := fstat(f.fd)
	if err != nil {
		return true // the turn finds out
	}
	first, err := s.firstBytes(f.fd)
	if err != nil {
		return true
	}
	if len(first) == 0 {
		// A turn might read what is written after this look.
		f.size, f.mtime, f.want = 0, st.mtime, false
		return false
	}
	s.decideFirst(f)
	if s.firstTurnOf(f) {
		s.unchecked = append(s.unchecked, f)
		return false
	}
	heads := make([]prefix, 0, 11)
	for size := int(prefixOf(first).size); size > 0; size /= 2 {
		heads = append(heads, prefixOf(first[:size]))
	}
	for _, head := range heads {
		alike := s.heads[head]
		for i := 0; i < len(alike); i++ {
			o := alike[i]
			// What was cut and is filled with the same again is no copy.
			if o == f || o.inode == f.inode || o.spoiled || o.released || !related(o.path, f.path) {
				continue
			}
			if !o.orphan {
				if o.busy {
					s.unchecked = append(s.unchecked, f)
					return false
				}
				if o.fd < 0 {
					continue
				}
				if sameEnd(o.fd, f.fd) {
					s.log.Debug("file may be a copy, waiting", "path", f.path, "file", f.key(), "of", o.key())
					s.suspects[f] = o
					f.changed, f.suspected = s.now, s.now
					s.suspectAt = s.now
					return false
				}
				if s.stands(o) {
					continue
				}
				s.beginAgain(o, whyTruncated)
				alike = s.heads[head]
				i = -1
				if !o.orphan {
					continue
				}
			}
			if s.claim(o, f) {
				return false
			}
			if s.allRead(o, f) {
				break
			}
		}
	}
	f.checked = true
	s.indexUnread(f)
	return true
}

// decideFirst lets those files have their turn of thought before c that c may be
// a copy of by its name, and of which nothing was read: app.log before
// app.log.1.
func (s *Source) decideFirst(c *file) {
	folder := s.tree.folders[filepath.Dir(c.path)]
	if folder == nil {
		return
	}
	text := filepath.Base(c.path)
	for {
		i := strings.LastIndexAny(text, ".-_")
		if i <= 0 {
			return
		}
		text = text[:i]
		if n := folder.names[text]; n != nil && n.file != nil && n.file != c {
			if o := n.file; o.head.size == 0 && o.packed == nil && o.fd >= 0 && o.idle() && s.files[o.inode] == o {
				s.nudge(o)
			}
		}
	}
}

// indexUnread lets a file of which nothing was read be found by what it begins
// with now: a copy may be made of it before it has its turn.
func (s *Source) indexUnread(f *file) {
	if f.head.size > 0 || f.packed != nil {
		return
	}
	if first, err := s.firstBytes(f.fd); err == nil {
		s.indexAs(f, prefixOf(first))
	}
}

// firstTurnOf says whether a file that c may be a copy of is read for the first
// time right now: what it begins with will be known in a moment.
func (s *Source) firstTurnOf(c *file) bool {
	return slices.ContainsFunc(s.firstTurns, func(o *file) bool {
		return o.inode != c.inode && related(o.path, c.path)
	})
}

// recheck decides about the files that could not be decided about: about the
// shorter names first, since a copy's name is made of the original's.
func (s *Source) recheck() {
	if len(s.unchecked) == 0 {
		return
	}
	files := s.unchecked
	s.unchecked = nil
	slices.SortStableFunc(files, func(a, b *file) int { return len(a.path) - len(b.path) })
	for _, f := range files {
		s.enqueue(f)
	}
}

// related says whether one file's name is made of the other's, as names of
// rotated files are: app.log, app.log.1, app-20260102.log, app.1.log.
func related(name, copied string) bool {
	a, b := filepath.Base(name), filepath.Base(copied)
	if i := strings.LastIndexByte(a, '.'); i > 0 {
		a = a[:i]
	}
	return strings.HasPrefix(b, a)
}

// sameEnd says whether two files are the same as far as both go, by the last
// bytes of that.
func sameEnd(a, b int) bool {
	x, errX := fstat(a)
	y, errY := fstat(b)
	if errX != nil || errY != nil {
		return false
	}
	end := min(x.size, y.size)
	n := min(end, compared)
	if n == 0 {
		return false
	}
	p, q := make([]byte, n), make([]byte, n)
	i, errX := pread(a, p, end-n)
	j, errY := pread(b, q, end-n)
	return errX == nil && errY == nil && int64(i) == n && int64(j) == n && bytes.Equal(p, q)
}

// stands says whether an open file still is what was read of it.
func (s *Source) stands(f *file) bool {
	st, err := fstat(f.fd)
	if err != nil || st.size < f.read.pos || !tailStands(f.fd, f.read.pos, f.before) {
		return false
	}
	first, err := s.firstBytes(f.fd)
	return err == nil && f.head.covers(first)
}

// claim lets the orphan o go on in its copy c, if that is what c is.
func (s *Source) claim(o, c *file) bool {
	st, err := fstat(c.fd)
	if err != nil {
		return false
	}
	if st.size < o.read.pos && o.marks == nil && len(o.flight) == 0 {
		// Nothing is known of what stands in between. Read again from its
		// beginning, nothing is lost, and what is a repeat has the same id.
		o.read, o.acked, o.before, o.tail = place{}, place{}, 0, 0
	}
	if st.size < o.read.pos || !tailStands(c.fd, o.read.pos, o.before) {
		return false
	}
	s.log.Info("copy of a truncated file goes on where that was left", "path", c.path, "file", o.key(), "from", o.read.pos)
	s.tally.Copies++
	s.wentOn(o)
	fd, in := c.fd, c.in
	in.drop(c)
	s.open.remove(c)
	c.fd = -1
	s.measureInput(c, -1)
	s.drop(c)

	o.orphan, o.retired, o.followed = false, false, false
	delete(s.retired, o)
	delete(s.orphans, o)
	o.inode, o.born, o.path, o.folder, o.origin = c.inode, c.born, c.path, c.folder, nil
	o.in, o.lag, o.size, o.lost = in, 0, -1, 0
	o.gone, o.deleted, o.changed, o.seen, o.last = c.gone, c.deleted, s.now, c.seen, false
	o.lostAt = c.lostAt
	if o.gone {
		s.gone[o] = true
	}
	s.files[o.inode] = o
	s.measureInput(o, 1)
	s.hold(o, fd)
	s.tellOf(o)
	s.nudge(o)
	return true
}

// drop forgets a new file of which nothing was read, as if it had never been.
func (s *Source) drop(c *file) {
	c.retired = true
	delete(s.suspects, c)
	delete(s.gone, c)
	if s.files[c.inode] == c {
		delete(s.files, c.inode)
	}
	s.dropHead(c)
	s.partFrom(c)
	s.remove(&c.entry)
}

// allRead puts c, a copy that ends before what was read of o, at its end.
func (s *Source) allRead(o, c *file) bool {
	st, err := fstat(c.fd)
	if err != nil || o.marks == nil || st.size >= o.read.pos {
		return false
	}
	for _, m := range o.marks.at {
		if m.pos == 0 || m.pos > st.size || !tailStands(c.fd, m.pos, m.tail) {
			continue
		}
		before := make([]byte, min(st.size, overlap))
		if n, err := pread(c.fd, before, st.size-int64(len(before))); err != nil || n < len(before) {
			return false
		}
		s.tally.Copies++
		c.read, c.acked, c.dry = at(st.size), at(st.size), st.size
		c.before = tailHash(before)
		c.tail = c.before
		if first, err := s.firstBytes(c.fd); err == nil {
			c.head = prefixOf(first)
			s.indexHead(c)
		}
		s.touch(&c.entry)
		return true
	}
	return false
}

// awaitCopy lets a generation that was cut off wait for its copy.
func (s *Source) awaitCopy(f *file) {
	wait := max(f.in.cfg.RotateWait.D(), minOrphan)
	f.orphan = true
	s.orphans[f] = s.now.Add(wait)
	if f.then != nil && f.then.heldTo.Before(s.suspectAt) {
		s.suspectAt = f.then.heldTo
	}
	for c, o := range s.suspects {
		if o != f {
			continue
		}
		if s.claim(f, c) {
			return
		}
		s.log.Debug("file is no copy", "path", c.path, "file", c.key(), "of", f.key())
		delete(s.suspects, c)
		s.allRead(f, c)
		c.checked = true
		s.nudge(c)
	}
}

// outgrown says whether c, which seemed to be a copy of o, has more than that,
// and o was not cut off: somebody writes to c.
func (s *Source) outgrown(c, o *file) bool {
	if o.fd < 0 {
		return false
	}
	st, err := fstat(o.fd)
	return err == nil && c.size > st.size && s.stands(o)
}

// revive lets the generations that were cut off before we were stopped, and
// whose copy was not found, wait for it.
func (s *Source) revive() {
	if len(s.superseded) == 0 || len(s.ordered) == 0 {
		return
	}
	for _, e := range s.superseded {
		in := s.inputOf(e.path)
		if in == nil {
			s.orphan(e)
			continue
		}
		f := &file{
			entry: *e, in: in, fd: -1, size: -1, read: e.acked, before: e.tail, dry: e.acked.pos,
			checked: true, told: true, retired: true, followed: true,
		}
		f.dirty = false
		s.retired[f] = true
		s.indexHead(f)
		s.awaitCopy(f)
	}
	s.superseded = nil
	s.suspectAt = s.now
}

// checkSuspects lets suspects go that nothing was proved against, and gives up
// the orphans whose copy did not turn up.
func (s *Source) checkSuspects() {
	s.suspectAt = s.now.Add(time.Second)
	for c, o := range s.suspects {
		wait := c.in.cfg.RotateWait.D()
		if at := s.now.Add(wait / 2); at.Before(s.suspectAt) {
			s.suspectAt = at
		}
		if c.fd < 0 || c.retired {
			delete(s.suspects, c)
			continue
		}
		if o.fd >= 0 && !o.busy && !o.retired && !s.stands(o) {
			s.beginAgain(o, whyTruncated) // decides about its suspects
			continue
		}
		if st, err := fstat(c.fd); err == nil && st.size != c.size {
			c.size, c.changed = st.size, s.now
		}
		if s.now.Sub(c.changed) < wait && !o.retired && !(s.now.Sub(c.suspected) >= wait && s.outgrown(c, o)) {
			continue
		}
		if o.busy {
			s.suspectAt = s.now.Add(time.Millisecond) // its turn may find it cut off
			continue
		}
		s.log.Debug("file is no copy", "path", c.path, "file", c.key(), "of", o.key())
		delete(s.suspects, c)
		c.checked = true
		c.size = -1
		s.nudge(c)
	}
	for o, until := range s.orphans {
		if g := o.then; g != nil {
			s.enqueue(g) // it may be held back no longer
			if g.after == o && g.heldTo.Before(s.suspectAt) {
				s.suspectAt = g.heldTo
			}
		}
		if s.now.Before(until) {
			continue
		}
		delete(s.orphans, o)
		o.orphan = false
		s.dropHead(o)
		if o.lost > 0 {
			s.lostRange(o, "they were cut off before they were read", o.lost)
		}
		s.forget(o)
	}
}
