package tail

import "golang.org/x/sys/unix"

// stat is what the kernel says of a file.
type stat struct {
	inode
	size  int64
	mtime int64 // nanoseconds
	ctime int64 // the same, of any change
	mode  uint32
	links uint64
}

func (s stat) regular() bool { return s.mode&unix.S_IFMT == unix.S_IFREG }
func (s stat) dir() bool     { return s.mode&unix.S_IFMT == unix.S_IFDIR }

func statOf(st *unix.Stat_t) stat {
	return stat{
		inode: inode{uint64(st.Dev), st.Ino},
		size:  st.Size,
		mtime: st.Mtim.Nano(),
		ctime: st.Ctim.Nano(),
		mode:  st.Mode,
		links: uint64(st.Nlink),
	}
}

func fstat(fd int) (stat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return stat{}, err
	}
	return statOf(&st), nil
}

// statAt follows a symbolic link.
func statAt(dir int, name string) (stat, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, 0); err != nil {
		return stat{}, err
	}
	return statOf(&st), nil
}

// isLocal says whether an open folder is of a file system whose folders' times
// change with each name in them, whoever changes it.
func isLocal(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true
	}
	return false
}

// bornAt returns when the file was created, in nanoseconds, or 0 when the file
// system does not tell.
func bornAt(fd int) int64 { return born(fd, "", unix.AT_EMPTY_PATH) }

// bornNamed is bornAt for the file that path leads to.
func bornNamed(path string) int64 { return born(unix.AT_FDCWD, path, 0) }

func born(dir int, path string, flags int) int64 {
	var st unix.Statx_t
	if unix.Statx(dir, path, flags, unix.STATX_BTIME, &st) != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
}
