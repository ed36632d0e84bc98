package selftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
)

// keep is how many rotated files a stream has.
const keep = 4

// stream writes lines into files of its own folder, and rotates them in one way.
type stream struct {
	number int
	kind   string
	rotate func(*stream, context.Context) (bool, error)
	dir    string
	pace   time.Duration // a line
	seed   uint64
	rnd    *rand.Rand
	ledger *ledger

	held      map[string][]int // numbers of the lines in each file, by name
	rotations int
	buf       []byte
}

// kinds are the ways in which files are rotated.
var kinds = []struct {
	name   string
	rotate func(*stream, context.Context) (bool, error)
}{
	{"rename", (*stream).rename},
	{"late", (*stream).renameLate},
	{"copytruncate", (*stream).copyTruncate},
	{"truncate", (*stream).truncate},
	{"delete", (*stream).recreate},
	{"hardlink", (*stream).hardlink},
	{"symlink", (*stream).symlink},
	{"storm", (*stream).storm},
	{"gzip", (*stream).gzip},
}

func newStream(number int, dir string, seed uint64, pace time.Duration, l *ledger) *stream {
	k := kinds[number%len(kinds)]
	return &stream{
		number: number, kind: k.name, rotate: k.rotate, pace: pace, seed: seed, ledger: l,
		dir:  filepath.Join(dir, fmt.Sprintf("%d-%s", number, k.name)),
		rnd:  rand.New(rand.NewPCG(seed, uint64(number))),
		held: map[string][]int{},
	}
}

func (s *stream) path(name string) string { return filepath.Join(s.dir, name) }

const live = "app.log"

func rotated(i int) string {
	if i == 0 {
		return live
	}
	return fmt.Sprintf("%s.%d", live, i)
}

// run writes and rotates until ctx ends.
func (s *stream) run(ctx context.Context) error {
	if err := os.MkdirAll(s.path("real"), 0o750); err != nil {
		return err
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		n := 1 + s.rnd.IntN(100)
		if err := s.write(live, n); err != nil {
			return fmt.Errorf("write lines: %w", err)
		}
		if s.rnd.IntN(12) == 0 {
			did, err := s.rotate(s, ctx)
			if err != nil {
				return fmt.Errorf("rotate (%s): %w", s.kind, err)
			}
			if did {
				s.rotations++
			}
		}
		pause.Reset(time.Duration(n) * s.pace)
		for {
			select {
			case <-pause.C:
			case <-ctx.Done():
				return nil
			}
			if _, waiting := s.ledger.standing(); waiting < maxWaiting {
				break
			}
			pause.Reset(50 * time.Millisecond)
		}
	}
}

// write appends n lines to a file, now and then in two steps.
func (s *stream) write(name string, n int) error {
	f, err := os.OpenFile(s.path(name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.writeTo(f, name, n)
}

func (s *stream) writeTo(f *os.File, name string, n int) error {
	s.buf = s.buf[:0]
	for range n {
		number := s.ledger.issue(s.number)
		s.held[name] = append(s.held[name], number)
		s.buf = append(appendLine(s.buf, s.seed, s.number, number), '\n')
	}
	data := s.buf
	if s.rnd.IntN(4) == 0 {
		half := s.rnd.IntN(len(data))
		if _, err := f.Write(data[:half]); err != nil {
			return err
		}
		data = data[half:]
	}
	_, err := f.Write(data)
	return err
}

// spare says whether a file may be removed or cut: all of it has arrived, at
// the latest after a while, or this once it is done all the same, and what has
// not arrived is not owed.
func (s *stream) spare(ctx context.Context, name string, wait time.Duration) bool {
	numbers := s.held[name]
	until := time.Now().Add(wait)
	rash := s.rnd.IntN(16) == 0
	for !rash && !s.ledger.haveArrived(s.number, numbers) {
		if time.Now().After(until) {
			return false
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
	s.ledger.excuse(s.number, numbers, cut)
	delete(s.held, name)
	return true
}

func (s *stream) move(from, to string) error {
	if _, ok := s.held[from]; !ok {
		return nil
	}
	if err := os.Rename(s.path(from), s.path(to)); err != nil {
		return err
	}
	s.held[to] = s.held[from]
	delete(s.held, from)
	return nil
}

// shift makes room for app.log.1; it does nothing while the oldest is needed.
func (s *stream) shift(ctx context.Context) (bool, error) {
	oldest := rotated(keep)
	if _, ok := s.held[oldest]; ok {
		if !s.spare(ctx, oldest, 0) {
			return false, nil
		}
		if err := os.Remove(s.path(oldest)); err != nil {
			return false, err
		}
	}
	for i := keep - 1; i > 0; i-- {
		if err := s.move(rotated(i), rotated(i+1)); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *stream) rename(ctx context.Context) (bool, error) {
	if ok, err := s.shift(ctx); !ok {
		return false, err
	}
	return true, s.move(live, rotated(1))
}

// renameLate renames below a writer that goes on with its handle.
func (s *stream) renameLate(ctx context.Context) (bool, error) {
	f, err := os.OpenFile(s.path(live), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if ok, err := s.rename(ctx); !ok {
		return false, err
	}
	for range 1 + s.rnd.IntN(5) {
		if err := s.write(live, 1+s.rnd.IntN(5)); err != nil {
			return false, err
		}
		if err := s.writeTo(f, rotated(1), 1+s.rnd.IntN(20)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// gzip renames, and packs what was renamed the time before.
func (s *stream) gzip(ctx context.Context) (bool, error) {
	packed := func(i int) string { return rotated(i) + ".gz" }
	if _, ok := s.held[packed(keep)]; ok {
		if !s.spare(ctx, packed(keep), 0) {
			return false, nil
		}
		if err := os.Remove(s.path(packed(keep))); err != nil {
			return false, err
		}
	}
	for i := keep - 1; i > 1; i-- {
		if err := s.move(packed(i), packed(i+1)); err != nil {
			return false, err
		}
	}
	if _, ok := s.held[rotated(1)]; ok {
		if err := s.pack(rotated(1), packed(2)); err != nil {
			return false, err
		}
	}
	return true, s.move(live, rotated(1))
}

// pack does what the program gzip does.
func (s *stream) pack(from, to string) error {
	text, err := os.ReadFile(s.path(from))
	if err != nil {
		return err
	}
	out, err := os.OpenFile(s.path(to), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = z.Write(text)
	if err := errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	s.held[to] = s.held[from]
	delete(s.held, from)
	return os.Remove(s.path(from))
}

// storm renames several times with hardly anything between.
func (s *stream) storm(ctx context.Context) (bool, error) {
	for range keep - 1 {
		if ok, err := s.rename(ctx); !ok {
			return false, err
		}
		if err := s.write(live, 1+s.rnd.IntN(3)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// copyTruncate does what logrotate does, with a writer that does not wait.
func (s *stream) copyTruncate(ctx context.Context) (bool, error) {
	if ok, err := s.shift(ctx); !ok {
		return false, err
	}
	if err := s.copy(live, rotated(1)); err != nil {
		return false, err
	}
	copied := len(s.held[live])
	s.held[rotated(1)] = s.held[live]
	if s.rnd.IntN(4) == 0 {
		if err := s.write(live, 1+s.rnd.IntN(10)); err != nil {
			return false, err
		}
	}
	s.ledger.excuse(s.number, s.held[live][copied:], raced)
	delete(s.held, live)
	return true, os.Truncate(s.path(live), 0)
}

func (s *stream) copy(from, to string) (err error) {
	in, err := os.Open(s.path(from))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(s.path(to), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func (s *stream) truncate(ctx context.Context) (bool, error) {
	if !s.spare(ctx, live, 3*time.Second) {
		return false, nil
	}
	return true, os.Truncate(s.path(live), 0)
}

// recreate removes the file and makes one of the same name, which mostly gets
// the same inode.
func (s *stream) recreate(ctx context.Context) (bool, error) {
	if !s.spare(ctx, live, 3*time.Second) {
		return false, nil
	}
	if err := os.Remove(s.path(live)); err != nil {
		return false, err
	}
	return true, s.write(live, 1+s.rnd.IntN(20))
}

// hardlink renames by linking: for a moment the file has two names, and
// somebody writes.
func (s *stream) hardlink(ctx context.Context) (bool, error) {
	if ok, err := s.shift(ctx); !ok {
		return false, err
	}
	if err := os.Link(s.path(live), s.path(rotated(1))); err != nil {
		return false, err
	}
	if err := s.write(live, 1+s.rnd.IntN(20)); err != nil {
		return false, err
	}
	s.held[rotated(1)] = s.held[live]
	delete(s.held, live)
	return true, os.Remove(s.path(live))
}

// symlink points the name, which is a link, at another file.
func (s *stream) symlink(ctx context.Context) (bool, error) {
	info, err := os.Lstat(s.path(live))
	if err != nil {
		return false, err
	}
	if !s.spare(ctx, live, 3*time.Second) {
		return false, nil
	}
	target := ""
	if info.Mode()&os.ModeSymlink != 0 {
		if target, err = os.Readlink(s.path(live)); err != nil {
			return false, err
		}
	}
	next := s.path(filepath.Join("real", fmt.Sprintf("%d.log", s.rotations)))
	if err := os.WriteFile(next, nil, 0o600); err != nil {
		return false, err
	}
	if err := os.Symlink(next, s.path("next")); err != nil {
		return false, err
	}
	if err := os.Rename(s.path("next"), s.path(live)); err != nil {
		return false, err
	}
	if target == "" {
		return true, nil
	}
	return true, os.Remove(target)
}
