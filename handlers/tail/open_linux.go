package tail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY

// noOpenat2 is set once the kernel or a filter said that there is no openat2.
var noOpenat2 atomic.Bool

func openat2(dir int, path string, flags, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags, Resolve: resolve}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		// EAGAIN: a rename elsewhere made a ".." in the path uncertain.
		if err == unix.EINTR || err == unix.EAGAIN && resolve&unix.RESOLVE_BENEATH != 0 {
			continue
		}
		return fd, err
	}
}

// openAny opens path, whatever it is, beneath a root. A symbolic link that is
// absolute, or leads through another root, cannot be resolved beneath one by
// the kernel: it is resolved here, and then opened without following any.
func (r *roots) openAny(path string) (int, error) {
	if !noOpenat2.Load() {
		if r.any {
			fd, err := openat2(unix.AT_FDCWD, path, openFlags, unix.RESOLVE_NO_MAGICLINKS)
			if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
				return fd, err
			}
			noOpenat2.Store(true)
			return r.openResolved(path)
		}
		for _, root := range r.dirs {
			if !beneath(root.path, path) {
				continue
			}
			fd, err := openBeneath(root.real, path[len(root.path):], unix.RESOLVE_NO_MAGICLINKS)
			if err == nil || !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
				return fd, err
			}
			break
		}
	}
	return r.openResolved(path)
}

// openResolved resolves all links of path, checks where they end, and opens
// that without following a link that was put there since.
func (r *roots) openResolved(path string) (int, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return -1, err
	}
	if r.any {
		return unix.Open(real, openFlags|unix.O_NOFOLLOW, 0)
	}
	for _, root := range r.dirs {
		if !beneath(root.real, real) {
			continue
		}
		fd, err := openBeneath(root.real, real[len(root.real):], unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_SYMLINKS)
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			// check reads the name of what was opened and compares it.
			return unix.Open(real, openFlags|unix.O_NOFOLLOW, 0)
		}
		return fd, err
	}
	return -1, errOutside
}

func openBeneath(root, rel string, resolve uint64) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	rel = strings.TrimLeft(rel, "/")
	if rel == "" {
		return -1, errNotRegular
	}
	return openat2(dir, rel, openFlags, resolve|unix.RESOLVE_BENEATH)
}

// nameOfHandle returns the present name of an open file.
func nameOfHandle(fd int) (string, error) {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return strings.TrimSuffix(name, " (deleted)"), err
}
