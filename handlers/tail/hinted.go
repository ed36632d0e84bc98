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
	for path, op := range batch {
		if path == "" {
			s.scanSoon(0)
			continue
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
