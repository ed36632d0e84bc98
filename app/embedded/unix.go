package embedded

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mmap maps the whole of a file for reading and writing.
func mmap(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 || int64(int(info.Size())) != info.Size() {
		return nil, fmt.Errorf("cannot map %d bytes", info.Size())
	}
	return unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func munmap(data []byte) { _ = unix.Munmap(data) }

func msync(data []byte) error { return unix.Msync(data, unix.MS_SYNC) }
