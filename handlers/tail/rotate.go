package tail

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// settleNames follows up on what a scan saw: files that are called otherwise
// now, and files that no name is left of.
func (s *Source) settleNames() {
	t := &s.tree
	for _, f := range s.files {
		if f.seen == t.seq || f.gone || f.released || f.spoiled {
			continue
		}
		switch {
		case f.altSeen == t.seq:
			s.rename(f, f.alt)
			f.seen = t.seq
			if f.size < 0 {
				s.nudge(f) // it could not be opened by its old name
			}
		case t.unsure(f.path):
		default:
			s.lose(f)
		}
	}
}

// rename gives f its new name. Nothing else about it changes.
func (s *Source) rename(f *file, path string) {
	if f.path == path {
		return
	}
	s.log.Debug("file was renamed", "from", f.path, "to", path)
	s.tally.Rotations++
	s.leaves(f, false)
	s.leave(f, f.path)
	if f.path, f.origin = path, nil; path == f.home {
		f.home = "" // it is back
	}
	s.touch(&f.entry)
}

// lose takes note that no name leads to f any more. It is read to its end, as
// long as its handle lasts.
func (s *Source) lose(f *file) {
	if f.fd < 0 && !s.sibling(f) {
		if !s.starved { // else the next scan tries again
			s.leaves(f, false)
			s.wasKept(f)
			s.end(f)
		}
		return
	}
	s.leaves(f, false)
	s.leave(f, f.path)
	s.log.Debug("file has no name any more, reading it to its end", "path", f.path)
	s.tally.Rotations++
	f.gone = true
	f.changed, f.lostAt = s.now, s.now
	s.gone[f] = true
	s.goneAt = s.now
	s.nudge(f)
}

// found takes note that f has a name again.
func (s *Source) found(f *file, path string) {
	f.gone, f.last = false, false
	delete(s.gone, f)
	s.rename(f, path)
}

// sibling looks for f under another name in the folder it was last seen in,
// or in the one that its name, a link, pointed into, and opens it there. The
// name does not become f's: no input asks for it.
func (s *Source) sibling(f *file) bool {
	return s.siblingIn(filepath.Dir(f.path), f) || f.folder != "" && s.siblingIn(f.folder, f)
}

func (s *Source) siblingIn(dir string, f *file) bool {
	path := s.nameIn(dir, f.ino)
	if path == "" {
		return false
	}
	fd, st, err := s.openPath(path)
	if err != nil {
		return false
	}
	same := st.inode == f.inode
	switch {
	case !same:
	case f.packed != nil && f.packed.raw > 0:
		same = st.size == f.packed.raw
	case f.born != 0:
		same = bornAt(fd) == f.born // if it was cut off, its turn finds out
	default:
		first, err := s.firstBytes(fd)
		same = err == nil && st.size >= f.read.pos && f.head.covers(first) && tailStands(fd, f.read.pos, f.before)
	}
	if !same {
		unix.Close(fd)
		return false
	}
	s.hold(f, fd)
	return true
}

// nameIn returns a name in dir for an inode, or "". A folder is read once in a
// scan, however many of its files are looked for.
func (s *Source) nameIn(dir string, ino uint64) string {
	if s.siblingsOf != s.tree.seq {
		s.siblings, s.siblingsOf = map[string]map[uint64]string{}, s.tree.seq
	}
	names, ok := s.siblings[dir]
	if !ok {
		names = map[uint64]string{}
		s.siblings[dir] = names
		fd, err := openDir(dir)
		if err != nil {
			return ""
		}
		defer unix.Close(fd)
		err = readDir(fd, make([]byte, 16<<10), func(text []byte, kind byte, ino uint64) {
			if kind == typeFile || kind == typeUnknown {
				names[ino] = string(text)
			}
		})
		if err != nil {
			return ""
		}
	}
	if name, ok := names[ino]; ok {
		return filepath.Join(dir, name)
	}
	return ""
}

// adopt finishes files that were rotated out of sight while we were stopped:
// an entry that nobody follows, and whose inode has a name beside its old one.
func (s *Source) adopt() {
	for id, e := range s.past {
		if e.left != 0 || s.files[id] != nil {
			continue
		}
		in := s.inputOf(e.path)
		if in == nil || s.tree.unsure(e.path) {
			continue
		}
		f := &file{entry: *e, in: in, fd: -1, size: -1, read: e.acked, before: e.tail, dry: e.acked.pos,
			checked: e.head.size > 0, told: e.head.size > 0}
		f.dirty = false
		s.recognise(f, nil)
		if !s.sibling(f) {
			delete(s.packs, f)
			e.left = s.now.Unix()
			s.touch(e)
			continue
		}
		delete(s.past, id)
		s.files[id] = f
		s.indexHead(f)
		s.measureInput(f, 1)
		s.lose(f)
		if f.fd >= 0 && !f.busy && f.packed == nil && !s.stands(f) {
			s.beginAgain(f, whyRewritten) // before it is decided about its copy
		}
	}
	s.siblings = nil
	s.siblingsOf = 0
}

// checkGone reads on in files without a name, and ends those that were quiet
// for rotate_wait.
func (s *Source) checkGone() {
	pause := time.Second
	for f := range s.gone {
		wait := f.in.cfg.RotateWait.D()
		pause = min(pause, max(wait/4, 5*time.Millisecond))
		if f.busy {
			continue
		}
		st, err := fstat(f.fd)
		if err != nil {
			s.end(f)
			continue
		}
		s.deletion(f, st.links)
		if s.suspects[f] != nil {
			continue // its time runs while nothing changes, and is not to be begun anew here
		}
		st = f.of(st)
		if f.packed == nil && (st.size != f.size || st.mtime != f.mtime) {
			f.changed = s.now
			s.nudge(f)
		}
		if !f.gone || !f.idle() || s.now.Sub(f.changed) < wait {
			continue
		}
		switch {
		case s.packs[f] && (f.packed.stage != packing || !f.packed.look.begun):
			// It has its own time, unless it is incomplete for good.
		case s.mayGoOn(f):
			// Until max_wait.
		case f.read.pos < st.size && !f.last && f.packed == nil:
			f.last = true
			s.nudge(f)
		case len(f.flight) == 0:
			s.end(f)
		}
	}
	s.relieve()
	s.goneAt = s.now.Add(pause)
}

// end stops following a file that will give nothing more.
func (s *Source) end(f *file) {
	s.measureInput(f, -1)
	f.retired = true
	s.measure(f)
	delete(s.gone, f)
	delete(s.waiting, f)
	if s.files[f.inode] == f {
		delete(s.files, f.inode)
	}
	if !f.busy {
		s.closeFile(f)
		s.unpack(f)
	}
	delete(s.packs, f)
	s.retired[f] = true
	s.forget(f)
}

// forget drops a file that ended or that nobody wants, once nothing of it is
// under way. Its entry stays for as long as it may come back.
func (s *Source) forget(f *file) {
	if f.busy || f.orphan || !f.retired && !f.released && !f.spoiled {
		return
	}
	for _, p := range f.flight {
		if !p.done {
			return
		}
	}
	s.closeFile(f)
	s.unpack(f)
	s.dropHead(f)
	delete(s.packs, f)
	s.part(f.then)
	s.partFrom(f)
	delete(s.gone, f)
	delete(s.retired, f)
	delete(s.suspects, f)
	delete(s.waiting, f)
	f.in.drop(f)
	current := s.files[f.inode] == f
	if current {
		delete(s.files, f.inode)
	}
	switch {
	case f.pipe != nil:
	case f.deleted && f.retired || f.followed:
		if !s.keepEnded(f.entry) {
			s.remove(&f.entry)
		}
	case s.past[f.inode] == nil && s.files[f.inode] == nil:
		e := f.entry
		if f.retired || f.released {
			e.left = s.now.Unix()
		}
		e.dirty = false
		s.past[f.inode] = &e
		s.touch(&e) // written after f's, if that is to be written
	}
}

// reason is why a file began again.
type reason uint8

const (
	whyNone reason = iota
	whyTruncated
	whyRewritten
	whyReplaced
)

// beginAgain follows the same inode as a new generation, from its start.
func (s *Source) beginAgain(f *file, why reason) *file {
	g := &file{in: f.in, fd: -1, size: -1, nuls: f.read.pos, entry: entry{
		name: f.name, gen: f.gen + 1, inode: f.inode, born: f.born, path: f.path, folder: f.folder,
	}}
	if own := s.nameFor(f.inode, f.born); own != f.name {
		// f went on in this file, whose generations are not f's.
		g.name, g.gen = own, 1
	}
	return s.succeed(f, g, f.fd, why)
}

// replace follows the file that has f's inode and name now, but is another.
func (s *Source) replace(f *file, fd int, born int64) *file {
	g := &file{in: f.in, fd: -1, size: -1, entry: entry{
		name: s.nameFor(f.inode, born), gen: 1, inode: f.inode, born: born, path: f.path,
	}}
	return s.succeed(f, g, fd, whyReplaced)
}

func (s *Source) succeed(f, g *file, fd int, why reason) *file {
	switch why {
	case whyTruncated:
		s.tally.Truncated++
	case whyRewritten:
		s.tally.Rewritten++
	case whyReplaced:
		s.tally.Replaced++
	}
	s.leaves(f, why != whyReplaced)
	if why == whyReplaced {
		s.wasKept(f)
	}
	s.log.Info("file begins again", "path", f.path, "file", g.key(), "reason", why.String(), "after", f.read.pos)
	f.lost = f.unread()
	g.seen, g.gone, g.changed, g.lostAt = f.seen, f.gone, s.now, f.lostAt
	if f.gone {
		s.gone[g] = true
	}
	if f.fd == fd && fd >= 0 {
		f.in.drop(f)
		s.open.remove(f)
		f.fd = -1
	}
	f.followed = true
	f.orphan = f.read.pos > 0 || f.head.size > 0
	if f.orphan {
		s.follows(g, f)
	}
	s.end(f)
	s.files[g.inode] = g
	s.measureInput(g, 1)
	s.hold(g, fd)
	if first, err := s.firstBytes(fd); err == nil {
		s.recognise(g, first)
	}
	s.touch(&g.entry)
	if f.orphan {
		s.awaitCopy(f)
	}
	s.nudge(g)
	return g
}

func (r reason) String() string {
	switch r {
	case whyTruncated:
		return "truncated"
	case whyRewritten:
		return "rewritten"
	case whyReplaced:
		return "replaced"
	}
	return ""
}

// orphan drops the entry of a file whose inode is another file now.
func (s *Source) orphan(e *entry) {
	if !s.keepEnded(*e) {
		s.remove(e)
	}
}

// reassign gives each file to the first input that asks for it now.
func (s *Source) reassign() {
	for _, f := range s.files {
		if f.spoiled || f.released {
			continue
		}
		in := s.inputOf(f.path)
		if in == f.in {
			continue
		}
		f.in.drop(f)
		s.measureInput(f, -1)
		f.in.unread -= f.lag
		f.lag = 0
		if in == nil {
			f.released = true
			s.forget(f)
			continue
		}
		f.in, f.origin = in, nil
		s.measureInput(f, 1)
		s.measure(f)
		s.enqueue(f)
	}
}

// closeInactive closes the files that gave nothing for close_inactive.
func (s *Source) closeInactive() {
	for f := s.open.back; f != nil; {
		newer := f.newer
		after := f.in.cfg.CloseInactive.D()
		if _, waits := s.waiting[f]; after > 0 && f.idle() && !f.gone && !waits && s.now.Sub(f.active) > after {
			s.closeFile(f)
		}
		f = newer
	}
}
