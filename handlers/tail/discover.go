package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const levelWarn = slog.LevelWarn

// refusedPause is how long a file that could not be opened is left alone.
const refusedPause = 5 * time.Second

// see takes what a scan or a hint found under a name that an input asks for.
func (s *Source) see(n *name, st stat) {
	if !st.regular() {
		s.cannotOpen(n.path, errNotRegular)
		return
	}
	f := s.files[st.inode]
	if f == nil {
		if s.now.Before(n.again) && n.ino == st.ino {
			return
		}
		n.ino = st.ino
		if f = s.discover(n, st); f == nil {
			if s.open.n < s.maxOpen {
				n.again = s.now.Add(refusedPause)
			}
			return
		}
	}
	if f.spoiled {
		return
	}
	if n.file != f {
		s.named(f, n.path, n.file)
	}
	n.file = f
	if len(n.inputs) > 1 {
		s.shared(n.inputs[0], n.inputs[1], n.path)
	}
	if f.released {
		f.released, f.in = false, n.inputs[0]
		f.origin = nil
		f.in.files++
	}
	if f.gone {
		s.found(f, n.path)
	}
	switch {
	case f.path == n.path:
		f.seen = s.tree.seq
	default:
		f.alt, f.altSeen = n.path, s.tree.seq
		if n.inputs[0] != f.in {
			s.shared(f.in, n.inputs[0], n.path)
		}
	}
	s.observe(f, st)
}

func (s *Source) shared(has, asks *input, path string) {
	key := has.name + " and " + asks.name
	if !s.said[key] {
		s.said[key] = true
		s.log.Warn("file matches two inputs, the first has it", "input", has.name, "other", asks.name, "path", path)
	}
}

// observe compares what the kernel says of f with what its last turn saw.
func (s *Source) observe(f *file, st stat) {
	if f.packed != nil {
		s.observePacked(f, st)
		return
	}
	if st.size != f.size || st.mtime != f.mtime {
		s.nudge(f)
		if f.want && !f.busy && f.size >= 0 && s.suspects[f] == nil {
			f.size = st.size // to know what waits; its turn will look itself
			s.measure(f)
		}
	}
}

// discover begins to follow the file under a name, and returns nil when it
// cannot be read.
func (s *Source) discover(n *name, st stat) *file {
	in := n.inputs[0]
	began := time.Now()
	defer func() { s.opening += time.Since(began) }()
	if st.size == 0 && s.scarce() {
		if f := s.unopened(in, n.path, st); f != nil {
			return f
		}
	}
	fd, st, err := s.openPath(n.path)
	if err != nil {
		if !errors.Is(err, unix.ENOENT) {
			s.cannotOpen(n.path, err)
		}
		return nil
	}
	if f := s.files[st.inode]; f != nil {
		unix.Close(fd) // the name changed hands since it was looked at
		return f
	}
	first, err := s.firstBytes(fd)
	if err != nil {
		unix.Close(fd)
		s.cannotOpen(n.path, err)
		return nil
	}
	born := bornAt(fd)
	f := s.resume(in, n.path, fd, st, first, born)
	if f == nil {
		f = s.fresh(in, n.path, fd, st, first, born)
	}
	s.measureInput(f, 1)
	s.changed = true
	if folder := folderOf(n.path, f.fd); folder != f.folder {
		f.folder = folder
		s.touch(&f.entry)
	}
	return f
}

// folderOf returns the folder that the open file is in when path, its name, is
// a symbolic link: rotated files are looked for there, too.
func folderOf(path string, fd int) string {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return ""
	}
	name, err := nameOfHandle(fd)
	if err != nil {
		return ""
	}
	return filepath.Dir(name)
}

// unopened begins to follow an empty file that nobody has seen before without
// opening it. It is opened when it holds something.
func (s *Source) unopened(in *input, path string, st stat) *file {
	if _, known := s.byIno[st.ino]; known || s.past[st.inode] != nil {
		return nil
	}
	born := bornNamed(path)
	f := &file{in: in, fd: -1, mtime: st.mtime, entry: entry{
		name: s.nameFor(st.inode, born), gen: 1, inode: st.inode, born: born, path: path,
	}}
	s.recognise(f, nil)
	s.files[f.inode] = f
	f.seen = s.tree.seq
	s.touch(&f.entry)
	s.measureInput(f, 1)
	s.changed = true
	return f
}

// resume follows a file that the checkpoint knows, if it is that file.
func (s *Source) resume(in *input, path string, fd int, st stat, first []byte, born int64) *file {
	e := s.past[st.inode]
	if e == nil {
		if e = s.renumbered(fd, st, first, born); e == nil {
			return nil
		}
	}
	delete(s.past, e.inode)
	e.inode = st.inode
	if e.born != 0 && born != 0 && e.born != born {
		s.orphan(e) // the inode was used again
		return nil
	}
	why := whyNone
	switch {
	case e.gz.raw > 0 || e.acked.pos > 0 && isPacked(path, first):
		if st.size != e.gz.raw {
			why = whyRewritten
		}
	case st.size < e.acked.pos:
		why = whyTruncated
	case !e.head.covers(first) || !tailStands(fd, e.acked.pos, e.tail):
		why = whyRewritten
	}
	f := &file{entry: *e, in: in, size: -1, read: e.acked, before: e.tail, dry: e.acked.pos, checked: e.head.size > 0, told: e.head.size > 0}
	f.dirty, f.path, f.left = false, path, 0
	s.recognise(f, first)
	s.follow(f, fd)
	if why == whyNone {
		s.touch(&f.entry)
		return f
	}
	return s.beginAgain(f, why)
}

// renumbered finds the entry of a file whose device has another number since
// we were started: after a reboot, or a mount elsewhere.
func (s *Source) renumbered(fd int, st stat, first []byte, born int64) *entry {
	id, ok := s.byIno[st.ino]
	if !ok || born == 0 {
		return nil
	}
	e := s.past[id]
	if e != nil && e.gz.raw > 0 && e.born == born && e.gz.raw == st.size {
		return e
	}
	if e == nil || e.born != born || st.size < e.acked.pos || e.acked.pos == 0 ||
		!e.head.covers(first) || !tailStands(fd, e.acked.pos, e.tail) {
		return nil
	}
	return e
}

// fresh follows a file that nobody has seen before.
func (s *Source) fresh(in *input, path string, fd int, st stat, first []byte, born int64) *file {
	f := &file{in: in, size: -1, entry: entry{
		name: s.nameFor(st.inode, born), gen: 1, inode: st.inode, born: born, path: path,
	}}
	s.recognise(f, first)
	switch {
	case !in.startEnd:
	case f.packed != nil:
		f.packed.skip = true
	default:
		s.startAtEnd(f, fd, st, first)
	}
	s.log.Debug("file found", "path", path, "file", f.key(), "size", st.size)
	s.follow(f, fd)
	s.touch(&f.entry)
	return f
}

// nameFor gives a file the text of its identity. A file system that does not
// tell when a file was created leaves us with now.
func (s *Source) nameFor(id inode, born int64) string {
	if born == 0 {
		born = s.now.UnixNano()
	}
	return nameOf(id, born)
}

// follow adds f to what is followed, and gives it fd.
func (s *Source) follow(f *file, fd int) {
	s.files[f.inode] = f
	f.seen = s.tree.seq
	s.indexHead(f)
	s.hold(f, fd)
}

// startAtEnd puts f behind its last complete line.
func (s *Source) startAtEnd(f *file, fd int, st stat, first []byte) {
	pos := st.size - st.size%int64(f.in.rules.unit())
	buf := make([]byte, 64<<10)
	for pos > 0 {
		n := min(pos, int64(len(buf)))
		got, err := pread(fd, buf[:n], pos-n)
		if err != nil || int64(got) < n {
			break
		}
		if i := f.in.rules.lastNewline(buf[:n]); i >= 0 {
			pos -= n - int64(i+f.in.rules.unit())
			break
		}
		pos -= n
	}
	before := make([]byte, min(pos, overlap))
	if _, err := pread(fd, before, pos-int64(len(before))); err != nil {
		return
	}
	f.head, f.checked = prefixOf(first), true
	f.read, f.acked, f.dry = at(pos), at(pos), pos
	f.before, f.tail = tailHash(before), tailHash(before)
}

// tailStands says whether the bytes before pos are those that were read.
func tailStands(fd int, pos int64, tail uint64) bool {
	before := make([]byte, min(pos, overlap))
	n, err := pread(fd, before, pos-int64(len(before)))
	return err == nil && n == len(before) && (pos == 0 || tailHash(before) == tail)
}

// cannotOpen says once why a file is not read.
func (s *Source) cannotOpen(path string, err error) {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		s.sayOnce(levelWarn, "more files want to be open at once than may be, the rest wait: raise agent.max_open_files, "+
			"or the process's limit of open files (ulimit -n, LimitNOFILE=)", "open", s.open.n)
		return
	}
	s.fail(fmt.Errorf("open file %q: %w", path, err))
	s.sayOnce(levelWarn, "file is not read", "path", path, "reason", err)
}

// sayOnce logs what has not been said of this path before.
func (s *Source) sayOnce(level slog.Level, msg string, args ...any) {
	key := msg + fmt.Sprint(args...)
	if s.said[key] {
		return
	}
	if len(s.said) >= 10_000 {
		clear(s.said)
	}
	s.said[key] = true
	s.log.Log(context.Background(), level, msg, args...)
}

// measureInput counts a file at its input.
func (s *Source) measureInput(f *file, n int) { f.in.files += n }
