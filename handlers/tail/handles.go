package tail

import (
	"errors"

	"golang.org/x/sys/unix"
)

// openLimit leaves half of the process's descriptors to others.
func openLimit() int {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil {
		return 512
	}
	return int(max(16, min(lim.Cur/2, 1<<16)))
}

// makeRoom closes the files that were idle for the longest until another one
// may be opened. Files that were not read to their end stay open as long as
// any other can be closed, and files without a name always.
func (s *Source) makeRoom() bool {
	for _, spare := range []bool{true, false} {
		for f := s.open.back; f != nil && s.open.n >= s.maxOpen; {
			newer := f.newer
			if f.idle() && !f.gone && !(spare && f.unread() > 0) {
				s.closeFile(f)
			}
			f = newer
		}
	}
	s.starved = s.open.n >= s.maxOpen
	return !s.starved
}

// scarce says whether descriptors are better kept for files that hold something.
func (s *Source) scarce() bool { return s.open.n >= s.maxOpen/4*3 }

// hold gives f an open descriptor.
func (s *Source) hold(f *file, fd int) {
	f.fd = fd
	f.active = s.now
	s.open.add(f)
}

func (s *Source) closeFile(f *file) {
	if f.fd < 0 {
		return
	}
	f.in.drop(f)
	unix.Close(f.fd)
	f.fd = -1
	f.origin, f.marks = nil, nil
	s.open.remove(f)
}

// openPath opens a file that is to be followed, when there is room.
func (s *Source) openPath(path string) (int, stat, error) {
	if s.scanning && s.full == s.tree.seq {
		return -1, stat{}, unix.EMFILE // nothing can be closed before this scan ends
	}
	if !s.makeRoom() {
		if s.scanning {
			s.full = s.tree.seq
		}
		return -1, stat{}, unix.EMFILE
	}
	fd, st, err := s.roots.open(path)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		// Others took their part: make do with what there is.
		s.maxOpen = max(16, s.open.n-1)
		if s.makeRoom() {
			fd, st, err = s.roots.open(path)
		}
	}
	return fd, st, err
}

// reopen opens f again and makes sure that it is the same file. It says
// whether f, or the file that f began again as, is open.
func (s *Source) reopen(f *file) bool {
	fd, st, err := s.openPath(f.path)
	if err == nil && st.inode != f.inode {
		unix.Close(fd)
		err = unix.ENOENT
	}
	if err != nil {
		if !errors.Is(err, unix.ENOENT) {
			s.cannotOpen(f.path, err)
		}
		return false
	}
	if f.born != 0 {
		if born := bornAt(fd); born != 0 && born != f.born {
			s.replace(f, fd, born)
			return true
		}
	}
	s.hold(f, fd)
	first, err := s.firstBytes(fd)
	if err == nil && f.packed == nil && !f.head.covers(first) {
		s.beginAgain(f, whyRewritten)
	}
	return true
}

// firstBytes reads what a file's prefix is made of. The bytes are valid until
// the next call.
func (s *Source) firstBytes(fd int) ([]byte, error) {
	n, err := pread(fd, s.first[:], 0)
	return s.first[:n], err
}
