package tail

import (
	"context"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	nxtail "github.com/nxadm/tail"
)

// A named pipe is read by nxadm/tail, behind a guard of ours that opens the
// pipe and can end. Its lines go the way that a file's lines go. But what was
// taken out of a pipe cannot be read again: positions count the bytes since we
// began, under a name that is used once, and no checkpoint keeps them.

// pipe follows one named pipe. It answers the turns of its file as a reader
// does, from what it has.
type pipe struct {
	path  string
	turns chan *turn // at most one is under way
	stop  func()     // takes no more out of the pipe; what was taken is handed out
	quit  func()     // ends at once

	// owned by run
	data  []byte // what came and was not handed out
	size  int64  // bytes that came
	over  bool   // no more will come
	short bool   // the last turn needed more than there was
	told  bool   // the source knows of all this
}

// hoard is how much is taken out of a pipe before some of it was handed out,
// unless one line is longer.
const hoard = 64 << 10

// updatePipes follows the pipes that inputs name now, and ends the others.
func (s *Source) updatePipes() {
	wanted := map[string]*input{}
	for _, in := range s.ordered {
		for _, path := range in.pipes {
			if has := wanted[path]; has == nil {
				wanted[path] = in
			} else if has != in {
				s.shared(has, in, path)
			}
		}
	}
	for path, f := range s.pipes {
		in := wanted[path]
		if in == f.in {
			continue
		}
		f.in.drop(f)
		s.measureInput(f, -1)
		f.in.unread -= f.lag
		f.lag = 0
		if in == nil {
			s.dropPipe(f)
			continue
		}
		f.in, f.origin = in, nil
		s.measureInput(f, 1)
		s.nudge(f)
	}
	for path, in := range wanted {
		if s.pipes[path] == nil {
			s.followPipe(in, path)
		}
	}
}

func (s *Source) followPipe(in *input, path string) {
	f := &file{in: in, fd: -1, checked: true, entry: entry{
		name: "pipe-" + strconv.FormatUint(xxhash.Sum64String(path), 16) + "-" + strconv.FormatInt(time.Now().UnixNano(), 16),
		gen:  1, path: path, fleeting: true,
	}}
	ctx, quit := context.WithCancel(context.Background())
	taking, stop := context.WithCancel(ctx)
	f.pipe = &pipe{path: path, turns: make(chan *turn, 1), stop: stop, quit: quit}
	s.pipes[path] = f
	s.measureInput(f, 1)
	s.work.Go(func() {
		defer quit()
		s.runPipe(ctx, taking, f)
	})
}

// dropPipe forgets a pipe, and what was taken out of it and not handed out.
func (s *Source) dropPipe(f *file) {
	f.pipe.quit()
	delete(s.pipes, f.path)
	f.retired = true
	s.forget(f)
}

// endPipe forgets a pipe that was handed out to its end.
func (s *Source) endPipe(f *file) {
	s.measureInput(f, -1)
	s.dropPipe(f)
}

// endPipes takes no more out of the pipes. Those that nobody reads are dropped.
func (s *Source) endPipes() {
	for _, f := range s.pipes {
		if f.in.sub == nil {
			s.endPipe(f)
			continue
		}
		f.pipe.stop()
		s.nudge(f)
	}
}

// runPipe follows a pipe until all was handed out after taking ended, or until
// ctx or the source does.
func (s *Source) runPipe(ctx, taking context.Context, f *file) {
	p := f.pipe
	g := startGuard(ctx, taking, s, p.path)
	lines := g.lines
	for {
		take := lines
		if len(p.data) >= hoard && !p.short {
			take = nil
		}
		tell := s.piped
		if p.told {
			tell = nil
		}
		select {
		case l, ok := <-take:
			if ok {
				p.add(l, g.newline(l.Num))
			} else {
				lines, p.over = nil, true
			}
			p.told = false
		case tell <- f:
			p.told = true
		case t := <-p.turns:
			p.told = true
			p.take(t, &s.buffers)
			s.turned <- t
		case <-ctx.Done():
			g.close()
			select {
			case t := <-p.turns: // the source awaits its return
				s.turned <- t
			default:
			}
			return
		case <-s.quit:
			p.quit()
			g.close()
			return
		}
	}
}

func (p *pipe) add(l *nxtail.Line, newline bool) {
	before := len(p.data)
	p.data = append(p.data, l.Text...)
	if newline {
		p.data = append(p.data, '\n')
	}
	p.size += int64(len(p.data) - before)
}

// take takes a turn, as turn.run does with a file.
func (p *pipe) take(t *turn, b *buffers) {
	n := min(len(p.data), t.chunk)
	more := n < len(p.data)
	t.to, t.size, t.links, t.read = t.from, p.size, 1, time.Now()
	t.last = p.over
	buf := b.get(n)
	copy(buf.bytes, p.data[:n])
	t.cut(buf, 0, n, more, t.quiet > 0 && t.quiet == p.size)
	if t.verdict == handOut {
		t.buf = buf
		p.data = append(p.data[:0], p.data[t.to.pos-t.from.pos:]...)
	} else {
		b.put(buf)
	}
	p.short = t.verdict == quiet
	t.over = p.over && len(p.data) == 0
	if cap(p.data) > 4*hoard && len(p.data) < hoard {
		p.data = append([]byte(nil), p.data...) // a long line has passed
	}
}
