package tail

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkpoint is what was found on disk.
type checkpoint struct {
	entries map[inode]*entry
	ended   map[string]*entry // by key: gone, but a packed copy may turn up
	inputs  map[string]bool
	// superseded are generations before those of entries: they were cut off,
	// and it was not known yet what became of them.
	superseded []*entry
	// lost says that there was a checkpoint and none of it was good.
	lost   bool
	keeper *keeper
}

const checkpointPrefix = "checkpoint."

// openCheckpoint locks the folder and reads the newest good checkpoint in it.
func openCheckpoint(dir string, log *slog.Logger) (*checkpoint, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make folder of checkpoints: %w", err)
	}
	if err := ownFolder(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	c, err := loadCheckpoint(dir, log)
	if err != nil {
		lock.Close()
		return nil, err
	}
	c.keeper.lock = lock
	return c, nil
}

// ownFolder makes sure that nobody else can write, or redirect, what we keep.
func ownFolder(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("look at folder of checkpoints %q: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("open folder of checkpoints %q: it is not a folder", dir)
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("open folder of checkpoints %q: it belongs to user %d", dir, st.Uid)
	}
	if st.Mode&0o777 != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("protect folder of checkpoints: %w", err)
		}
	}
	return nil
}

func lockFolder(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of checkpoints: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock checkpoints: another process uses %q", dir)
		}
		return nil, fmt.Errorf("lock checkpoints: %w", err)
	}
	return lock, nil
}

func loadCheckpoint(dir string, log *slog.Logger) (*checkpoint, error) {
	numbers, err := checkpointFiles(dir)
	if err != nil {
		return nil, err
	}
	c := &checkpoint{entries: map[inode]*entry{}, ended: map[string]*entry{}, inputs: map[string]bool{}, keeper: &keeper{dir: dir, log: log}}
	for _, n := range numbers {
		c.keeper.seq = max(c.keeper.seq, n)
	}
	for i, n := range slices.Backward(numbers) {
		path := filepath.Join(dir, checkpointPrefix+itoa(n))
		b, err := readNoFollow(path)
		var im *image
		if err == nil {
			im, err = decode(b)
		}
		if im == nil || !im.whole {
			log.Error("checkpoint is damaged, trying the one before", "path", path, "error", err)
			c.lost = i == 0
			continue
		}
		if err != nil && !errors.Is(err, errTorn) {
			log.Error("checkpoint is damaged, lines since may be sent again", "path", path, "error", err)
		}
		c.lost = false
		c.keeper.good = n
		c.take(im)
		return c, nil
	}
	if c.lost {
		log.Error("no checkpoint is good, all files are read from their beginning", "dir", dir)
	}
	return c, nil
}

// take keeps the newest entry of each inode: what was written last.
func (c *checkpoint) take(im *image) {
	c.inputs = im.inputs
	last := map[string]int{}
	for i, key := range im.order {
		last[key] = i
	}
	for i, key := range im.order {
		e := im.entries[key]
		if e == nil || last[key] != i {
			continue
		}
		if e.ended {
			c.ended[key] = e
			continue
		}
		old := c.entries[e.inode]
		switch {
		case old == nil || old.name != e.name:
			c.entries[e.inode] = e
		case old.gen <= e.gen:
			c.entries[e.inode] = e
			c.superseded = append(c.superseded, old)
		default:
			c.superseded = append(c.superseded, e)
		}
	}
}

// checkpointFiles returns the numbers of the files there are, ascending.
func checkpointFiles(dir string) ([]uint64, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read folder of checkpoints: %w", err)
	}
	var numbers []uint64
	for _, name := range names {
		text, ok := strings.CutPrefix(name.Name(), checkpointPrefix)
		if n, err := strconv.ParseUint(text, 10, 64); ok && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func readNoFollow(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
