package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// pollFile finds what the hints miss: NFS, inotify limits, symlinks elsewhere.
	pollFile = 3 * time.Second
	// settleFile lets an editor finish before the file is read.
	settleFile = 100 * time.Millisecond
)

// WatchFile calls nudge, from its own goroutine, when the contents of a file
// are others than before; and once at its start, since the file may have
// changed after it was loaded. It follows files that are replaced by a rename
// and the symlinks of Kubernetes. A file that is gone or cannot be read is no
// change. It returns nil when ctx ends.
func WatchFile(ctx context.Context, path string, nudge func()) error {
	var hint <-chan fsnotify.Event
	var overflow <-chan error
	// Without inotify there is still the poll.
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		if w.Add(filepath.Dir(path)) == nil {
			hint, overflow = w.Events, w.Errors
		}
	}
	last := sumFile(path)
	nudge()
	poll := time.NewTicker(pollFile)
	defer poll.Stop()
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hint:
			if settled == nil {
				settled = time.After(settleFile)
			}
			continue
		case <-overflow: //nolint:errcheck // what was missed is found by the poll
			continue
		case <-settled:
			settled = nil
		case <-poll.C:
		}
		if sum := sumFile(path); sum != nil && !bytes.Equal(sum, last) {
			last = sum
			nudge()
		}
	}
}

func sumFile(path string) []byte {
	// Reading a pipe could wait for ever.
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	data, err := readFile(path)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(data)
	return sum[:]
}
