package tail

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Types of a name in a folder, as the folder tells them.
const (
	typeUnknown = unix.DT_UNKNOWN
	typeDir     = unix.DT_DIR
	typeFile    = unix.DT_REG
	typeLink    = unix.DT_LNK
)

func openDir(path string) (int, error) {
	return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
}

// readDir calls visit for each name in the folder that fd is at the start of.
// The name is valid during the call alone.
func readDir(fd int, buf []byte, visit func(name []byte, kind byte, ino uint64)) error {
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			// struct linux_dirent64: ino, off, reclen, type, name with a NUL.
			ino := binary.NativeEndian.Uint64(rest)
			size := binary.NativeEndian.Uint16(rest[16:])
			name := rest[19:size]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			if string(name) != "." && string(name) != ".." {
				visit(name, rest[18], ino)
			}
			rest = rest[size:]
		}
	}
}
