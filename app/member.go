package app

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// member is what consumer groups know a process by, restart after restart. It
// is kept in data_dir, and locked there: two processes never have the same.
type member struct {
	name string   // empty: none
	file *os.File // nil: none
}

const memberFile = "member"

var memberName = regexp.MustCompile(`^logferry-[0-9a-f]{16}$`)

// openMember returns the name in a data_dir, and makes one if there is none.
// Without one a transfer works as well: if it is killed, its partitions wait
// until the brokers miss it.
func openMember(dir string, log *slog.Logger) *member {
	m, err := lockMember(dir)
	if err != nil {
		log.Warn("no name of its own in consumer groups: after a crash, partitions will wait until the session times out", "error", err)
		return &member{}
	}
	return m
}

func lockMember(dir string) (m *member, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data_dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, memberFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open data_dir: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data_dir %q: another transfer uses it", dir)
		}
		return nil, fmt.Errorf("lock data_dir: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return nil, fmt.Errorf("read data_dir: %w", err)
	}
	if memberName.Match(text) {
		return &member{string(text), f}, nil
	}
	// The file is new, or a crash cut it off: then nobody waits for the name.
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails
	name := "logferry-" + hex.EncodeToString(random[:])
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(name), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("write data_dir: %w", err)
	}
	return &member{name, f}, nil
}

// close lets another process have the name.
func (m *member) close() {
	if m.file != nil {
		m.file.Close()
	}
}
