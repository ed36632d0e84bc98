package tail

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// keeper writes checkpoints. Its goroutine is the only one that waits for the
// disk to have them.
type keeper struct {
	dir    string
	log    *slog.Logger
	lock   *os.File
	seq    uint64 // number of the newest file, good or not
	good   uint64 // number of the newest good file, 0 for none
	file   *os.File
	writes chan<- write // to the goroutine that runs it
	killed atomic.Bool  // tests: nothing is written any more, as by a killed process
}

// write is one thing to write: a whole checkpoint, or records that follow it.
type write struct {
	data     []byte
	snapshot bool
	sync     bool
}

// run writes what it is given, and answers each.
func (k *keeper) run(writes <-chan write, written chan<- error) {
	for w := range writes {
		written <- k.write(w)
	}
	if k.file != nil {
		k.file.Close()
	}
}

func (k *keeper) write(w write) error {
	if k.killed.Load() {
		return os.ErrClosed
	}
	if w.snapshot {
		return k.snapshot(w.data)
	}
	if k.file == nil {
		return fmt.Errorf("write checkpoint: %w", os.ErrClosed)
	}
	_, err := k.file.Write(w.data)
	if err == nil && w.sync {
		err = k.file.Sync()
	}
	if err != nil {
		// Part of it may be there: nothing can follow it.
		k.file.Close()
		k.file = nil
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

// snapshot writes a new file, and removes all but it and the one before it.
func (k *keeper) snapshot(data []byte) error {
	n := k.seq + 1
	path := filepath.Join(k.dir, checkpointPrefix+itoa(n))
	f, err := writeFile(path, data)
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if k.file != nil {
		k.file.Close()
	}
	before := k.good
	k.file, k.seq, k.good = f, n, n
	numbers, err := checkpointFiles(k.dir)
	if err != nil {
		return nil // the next one tidies up
	}
	for _, old := range numbers {
		if old != n && old != before {
			if err := os.Remove(filepath.Join(k.dir, checkpointPrefix+itoa(old))); err != nil {
				k.log.Debug("cannot remove old checkpoint", "error", err)
			}
		}
	}
	return nil
}

// writeFile makes a file that is there whole or not at all, and leaves it open
// for more.
func writeFile(path string, data []byte) (f *os.File, err error) {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	f, err = os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = os.Remove(tmp)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return nil, err
	}
	if err = f.Sync(); err != nil {
		return nil, err
	}
	if err = os.Rename(tmp, path); err != nil {
		return nil, err
	}
	return f, syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// close gives the folder free for another process.
func (k *keeper) close() {
	if k.lock != nil {
		k.lock.Close()
		k.lock = nil
	}
}
