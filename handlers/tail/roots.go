package tail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	errOutside    = errors.New("it is outside allowed_paths")
	errNotRegular = errors.New("it is not a regular file")
	errNotPipe    = errors.New("it is not a named pipe")
	errOurs       = errors.New("it belongs to logferry itself")
)

// roots are the folders that no open can leave.
type roots struct {
	any  bool
	dirs []root
	own  string // data_dir, resolved: nothing in it is read
	logs []inode
}

type root struct {
	path string // as configured, absolute
	real string // without symbolic links
}

// newRoots takes allowed_paths, empty for any, and the folder of our own state.
func newRoots(allowed []string, own string) (*roots, error) {
	r := &roots{any: len(allowed) == 0, own: own}
	for _, path := range allowed {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("read allowed path %q: %w", path, err)
		}
		// A root that does not exist yet is itself until it does.
		real, err := filepath.EvalSymlinks(abs)
		if err != nil {
			real = abs
		}
		r.dirs = append(r.dirs, root{abs, real})
	}
	// A log that standard output or error goes to must not feed itself.
	for _, fd := range []int{1, 2} {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			r.logs = append(r.logs, inode{uint64(st.Dev), st.Ino})
		}
	}
	return r, nil
}

// open opens the regular file at path for reading and says what it is. The
// caller owns the descriptor. Symbolic links are followed when they end inside
// a root.
func (r *roots) open(path string) (int, stat, error) {
	fd, err := r.openAny(path)
	if err != nil {
		return -1, stat{}, err
	}
	st, err := fstat(fd)
	if err == nil && !st.regular() {
		err = errNotRegular
	}
	if err == nil {
		err = r.check(fd, st)
	}
	if err != nil {
		unix.Close(fd)
		return -1, stat{}, err
	}
	return fd, st, nil
}

// openPipe opens the named pipe at path for reading, whether it has a writer
// or not.
func (r *roots) openPipe(path string) (*os.File, inode, error) {
	fd, err := r.openAny(path)
	if err != nil {
		return nil, inode{}, err
	}
	st, err := fstat(fd)
	if err == nil && st.mode&unix.S_IFMT != unix.S_IFIFO {
		err = errNotPipe
	}
	if err == nil {
		err = r.check(fd, st)
	}
	if err != nil {
		unix.Close(fd)
		return nil, inode{}, err
	}
	return os.NewFile(uintptr(fd), path), st.inode, nil
}

func (r *roots) check(fd int, st stat) error {
	for _, own := range r.logs {
		if st.inode == own {
			return errOurs
		}
	}
	name, err := nameOfHandle(fd)
	if err != nil {
		return nil // no /proc: the open itself was confined
	}
	switch {
	case beneath(r.own, name):
		return errOurs
	case beneath("/proc", name), beneath("/sys", name):
		return errNotRegular
	case r.any:
		return nil
	}
	for _, root := range r.dirs {
		if beneath(root.real, name) {
			return nil
		}
	}
	return errOutside
}

// allows says whether a folder may be looked into: it is above a root, or in
// one. What is read is decided by open alone.
func (r *roots) allows(dir string) bool {
	if r.any {
		return true
	}
	for _, root := range r.dirs {
		if beneath(root.path, dir) || beneath(dir, root.path) || beneath(root.real, dir) || beneath(dir, root.real) {
			return true
		}
	}
	return false
}

// beneath says whether path is dir or in it. Both are absolute and clean.
func beneath(dir, path string) bool {
	if dir == "" {
		return false
	}
	if dir == "/" {
		return true
	}
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}
