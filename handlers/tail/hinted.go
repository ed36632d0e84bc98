package tail

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// hinted follows up on what the kernel told. Nothing here is needed for a file
// to be read; it is read sooner.
func (s *Source) hinted(batch map[string]hint) {
	if s.stopped {
		return
	}
	s.gathering = true
	defer func() { s.gathering = false }()
	for path, h := range batch {
		op := h.op
		if path == "" {
			s.scanSoon(0)
			continue
		}
		if h.from != "" {
			s.renamed(path, h.from)
		}
		if f := s.tree.folders[path]; f != nil && op&(fsnotify.Remove|fsnotify.Rename) != 0 {
			f.watched = false
			s.scanSoon(0)
			continue
		}
		f := s.tree.folders[filepath.Dir(path)]
		if f == nil {
			continue
		}
		text := filepath.Base(path)
		n := f.names[text]
		switch {
		case op&(fsnotify.Remove|fsnotify.Rename|fsnotify.Create) != 0:
			s.nameChanged(f, text, path)
		case n != nil && n.file != nil && n.file.path == path && s.files[n.file.inode] == n.file:
			s.nudge(n.file)
		case n != nil:
			s.nameChanged(f, text, path)
		}
	}
}

// passing is the first name of a file that was renamed twice at once.
type passing struct {
	name string
	at   time.Time
}

// forgetPassing forgets the names that nothing came of.
func (s *Source) forgetPassing() {
	for path, p := range s.trail {
		if s.now.Sub(p.at) > time.Second {
			delete(s.trail, path)
		}
	}
}

// renamed looks at a file that was called from before. If that is a name which
// an input asks for, and the file had it for so short a time that it was not
// seen, it is followed all the same, as a file that lost its name.
func (s *Source) renamed(path, from string) {
	if first, ok := s.trail[from]; ok {
		delete(s.trail, from)
		from = first.name
	}
	f := s.tree.folders[filepath.Dir(from)]
	if f == nil {
		return
	}
	n := f.names[filepath.Base(from)]
	if n == nil {
		n = f.look(filepath.Base(from))
	}
	if n == nil || len(n.inputs) == 0 {
		return
	}
	st, err := statAt(unix.AT_FDCWD, path)
	switch {
	case errors.Is(err, unix.ENOENT):
		if len(s.trail) < 1024 {
			s.trail[path] = passing{from, s.now} // renamed again: the next batch tells
		}
		return
	case err != nil, !st.regular(), s.files[st.inode] != nil, s.inputOf(path) != nil:
		return
	}
	s.scanSoon(20 * time.Millisecond)
	g := s.discover(&name{path: path, inputs: n.inputs}, st)
	if g == nil || g.path != path {
		return
	}
	s.log.Debug("file had its name for a moment", "path", from, "now", path, "file", g.key())
	g.path, g.origin = from, nil
	s.touch(&g.entry)
	s.nudge(g)
}

// nameChanged looks at one name that was made, or made to be something else.
func (s *Source) nameChanged(f *folder, text, path string) {
	n := f.names[text]
	if n == nil {
		if n = f.look(text); n == nil {
			return
		}
		f.names[text] = n
	}
	st, err := statAt(unix.AT_FDCWD, path)
	if err != nil {
		if errors.Is(err, unix.ENOENT) && n.file != nil {
			// It may be on its way to another name: look at all of them
			// a moment later.
			s.scanSoon(20 * time.Millisecond)
		}
		return
	}
	if st.dir() {
		if len(n.states) > 0 {
			s.scanSoon(0)
		}
		return
	}
	if len(n.inputs) == 0 {
		return
	}
	s.see(n, st)
	if known := n.file; known != nil && known.path != path {
		// Two names, or one that moved?
		if old, err := statAt(unix.AT_FDCWD, known.path); errors.Is(err, unix.ENOENT) || err == nil && old.inode != known.inode {
			s.rename(known, path)
		}
	}
	s.scanSoon(20 * time.Millisecond)
}

// scanSoon brings the next scan forward, but never so far that scanning takes
// more of the processor than it may.
func (s *Source) scanSoon(d time.Duration) {
	at := s.now.Add(d)
	if rest := s.scanned.Add(20 * s.scanTook); rest.After(at) {
		at = rest
	}
	if at.Before(s.scanAt) {
		s.scanAt = at
	}
}
