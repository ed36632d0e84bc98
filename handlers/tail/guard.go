package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	nxtail "github.com/nxadm/tail"
	"golang.org/x/sys/unix"
)

// guard stands between a named pipe and nxadm/tail, which waits for ever in
// open and in read, opens whatever has the name by then, takes the end of a
// writer for the end of the pipe, and keeps a line of any length in memory.
// The guard opens the pipe beneath the roots, without waiting for a writer,
// and copies it into a pipe that is its own, with a newline behind each piece.
// What it broke, newline mends.
type guard struct {
	lines chan *nxtail.Line

	source *Source
	path   string
	tail   *nxtail.Tail
	cancel func()
	copied sync.WaitGroup

	mu     sync.Mutex
	ends   int   // newlines written
	breaks []int // which of them were not in the pipe
}

const (
	// maxPiece is what nxadm/tail keeps of a line.
	maxPiece = 4 << 10
	// pipePause is how often a pipe without a writer is looked at.
	pipePause = 100 * time.Millisecond
	// pipeAway is how often a pipe that cannot be opened is tried again.
	pipeAway = time.Second
)

// startGuard begins to copy. It takes nothing out of the pipe any more when
// taking ends; the lines end after what was taken, or when ctx ends.
func startGuard(ctx, taking context.Context, s *Source, path string) *guard {
	ctx, cancel := context.WithCancel(ctx)
	g := &guard{source: s, path: path, cancel: cancel}
	w, err := g.connect()
	if err != nil {
		s.log.Error("named pipe is not read", "path", path, "error", err)
		g.lines = make(chan *nxtail.Line)
		close(g.lines)
		return g
	}
	g.lines = g.tail.Lines
	g.copied.Go(func() {
		defer w.Close()
		defer context.AfterFunc(ctx, func() { _ = w.SetWriteDeadline(time.Unix(1, 0)) })()
		g.copy(taking, w)
	})
	return g
}

// connect lets nxadm/tail read a pipe of ours and returns its other end.
func (g *guard) connect() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// What is in there is lost with us: it need not be much.
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	_ = unix.SetNonblock(int(w.Fd()), true)
	g.tail, err = nxtail.TailFile(fmt.Sprintf("/proc/self/fd/%d", r.Fd()), nxtail.Config{
		Pipe: true, MustExist: true, Logger: nxtail.DiscardingLogger,
	})
	if err != nil {
		w.Close()
	}
	r.Close()
	return w, err
}

// close ends the guard and waits for it.
func (g *guard) close() {
	g.cancel()
	if g.tail == nil {
		return
	}
	g.tail.Kill(nil)
	for range g.lines {
	}
	_ = g.tail.Wait()
	g.copied.Wait()
}

// newline says whether the line with a number ends with a newline of the pipe.
func (g *guard) newline(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.breaks) > 0 && g.breaks[0] == n {
		g.breaks = g.breaks[1:]
		return false
	}
	return true
}

// copy copies the pipe to w until ctx ends, through all its writers, and the
// pipes that take its place.
func (g *guard) copy(ctx context.Context, w io.Writer) {
	said := ""
	for ctx.Err() == nil {
		f, id, err := g.source.roots.openPipe(g.path)
		if err != nil {
			if text := err.Error(); text != said && !errors.Is(err, unix.ENOENT) {
				said = text
				g.source.log.Warn("named pipe is not read, trying again", "path", g.path, "error", err)
			}
			pause(ctx, pipeAway)
			continue
		}
		said = ""
		ok := g.copyOpen(ctx, f, id, w)
		f.Close()
		if !ok {
			return
		}
	}
}

// copyOpen copies one pipe until it has lost its name and its writers, and
// says whether w still takes anything.
func (g *guard) copyOpen(ctx context.Context, f *os.File, id inode, w io.Writer) bool {
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, maxPiece)
	var out []byte
	for {
		n, err := f.Read(buf)
		if n > 0 {
			out = g.broken(out[:0], buf[:n])
			if _, err := w.Write(out); err != nil {
				return false
			}
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil || !errors.Is(err, io.EOF) {
			return true
		}
		if st, err := statAt(unix.AT_FDCWD, g.path); err != nil || st.inode != id {
			return true
		}
		pause(ctx, pipePause)
	}
}

// broken appends b to out, with a newline at its end if it has none: nxadm/tail
// keeps what has none.
func (g *guard) broken(out, b []byte) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends += bytes.Count(b, []byte{'\n'})
	out = append(out, b...)
	if b[len(b)-1] != '\n' {
		out = append(out, '\n')
		g.ends++
		g.breaks = append(g.breaks, g.ends)
	}
	return out
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
