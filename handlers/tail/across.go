package tail

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// An event may begin in a file and go on in the file that took its name. When
// lines of the new file are there and the old one was read to its end after
// that, its writer has moved. Until then the new file waits; then the old
// file's open event and the new file's first lines are looked at together. The
// event belongs to the old file, at its position there, and when it was acked
// both positions move.

// maxHold is how long a file that was cut off waits for the copy that its
// generation before goes on in: what is cut off again is gone.
const maxHold = 500 * time.Millisecond

// prior is the old file, and its side of a turn at both.
type prior struct {
	file   *file
	fd     int
	from   place
	before uint64
	size   int64
	ends   bool // its event ends with what there is

	moved bool // it is not what it was when this turn began
	torn  bool // it ends inside a line
	to    place
	after uint64
}

// leave remembers that f had the name path, for who gets it next.
func (s *Source) leave(f *file, path string) {
	if !f.in.rules.joins() || f.then != nil {
		return
	}
	if s.left[f.was] == f {
		delete(s.left, f.was)
	}
	s.left[path], f.was = f, path
}

// follows notes that g, which is new, took the name of f.
func (s *Source) follows(g, f *file) {
	if f == nil || f == g || f.then != nil || g.after != nil || f.in != g.in || !g.in.rules.joins() || !fresh(g) ||
		f.retired && !f.orphan || f.spoiled || f.released || f.packed != nil || g.packed != nil {
		return
	}
	g.after, f.then, g.asked, g.direct = f, g, false, false
	g.found = s.tree.seq
	if f.orphan {
		g.heldTo = s.now.Add(min(g.in.rules.wait(), maxHold))
	}
}

// named lets a new file follow who had its name before.
func (s *Source) named(g *file, path string, had *file) {
	if f := s.left[path]; f != nil {
		delete(s.left, path)
		s.follows(g, f)
	}
	s.follows(g, had)
}

// fresh says whether nothing was read of g.
func fresh(g *file) bool { return g.read.pos == 0 && len(g.flight) == 0 && !g.busy }

// part lets g, if it is held back, be read as any other file.
func (s *Source) part(g *file) {
	if g == nil || g.after == nil {
		return
	}
	g.after.then, g.after = nil, nil
	g.need = 0
	s.nudge(g)
}

// partFrom lets go of the file that f is held back for.
func (s *Source) partFrom(f *file) {
	if s.left[f.was] == f {
		delete(s.left, f.was)
	}
	if f.after != nil {
		f.after.then, f.after = nil, nil
	}
}

// holds says whether g is not to be read yet. If it may be, and is still tied
// to another file, then together with that.
func (s *Source) holds(g *file) bool {
	f := g.after
	if f == nil {
		return false
	}
	st, err := fstat(g.fd)
	switch {
	case err != nil, !fresh(g), f.in != g.in, !g.in.rules.joins(), f.spoiled, f.released:
	case f.orphan:
		if s.now.Before(g.heldTo) {
			return true // its copy may turn up
		}
	case f.retired:
	case st.size == 0:
		g.size, g.mtime, g.want = 0, st.mtime, false
		return true
	default:
		if !g.asked {
			g.asked = true
			s.nudge(f)
		}
		if !f.idle() {
			return true
		}
		if _, waits := s.waiting[f]; !waits || f.fd < 0 || f.size <= f.read.pos {
			break
		}
		if !g.direct && (s.scanning || g.found == s.tree.seq) {
			s.unchecked = append(s.unchecked, g) // another file may turn up between them
			s.scanSoon(0)
			return true
		}
		if g.direct = g.direct || s.direct(f, g); !g.direct {
			break
		}
		g.need = max(g.need, int(f.size-f.read.pos)+minTurn)
		return false
	}
	g.after, f.then = nil, nil
	g.need = 0
	return false
}

// direct says whether the writer of f went on in g and in no file between
// them: g has the name that is written to, and no other rotated file was
// written as late as f.
func (s *Source) direct(f, g *file) bool {
	if f.name == g.name && f.gen+1 == g.gen {
		return true
	}
	st, err := fstat(f.fd)
	if err != nil || f.born == 0 || f.born >= g.born {
		return false
	}
	for _, h := range s.files {
		if h == f || h == g || h.in != g.in || filepath.Dir(h.path) != filepath.Dir(g.path) {
			continue
		}
		if len(h.path) < len(g.path) && rotatedOf(h.path, g.path) {
			return false
		}
		if !related(g.path, h.path) || !h.gone && !rotatedOf(g.path, h.path) {
			continue
		}
		if h.born > f.born && h.born < g.born {
			return false
		}
		mtime := h.mtime
		if h.fd >= 0 {
			if now, err := fstat(h.fd); err == nil {
				mtime = now.mtime
			}
		}
		if mtime >= st.mtime || mtime == 0 {
			return false
		}
	}
	return true
}

// rotatedOf says whether path may be a name of what was called live.
func rotatedOf(live, path string) bool {
	return related(live, path) &&
		(strings.ContainsAny(filepath.Base(path), "0123456789") || slices.Contains([]string{".old", ".bak", ".prev"}, filepath.Ext(path)))
}

// prior returns what a turn at g must know of the file before it.
func (s *Source) prior(g *file) *prior {
	f := g.after
	if f == nil {
		return nil
	}
	f.busy = true
	return &prior{file: f, fd: f.fd, from: f.read, before: f.before, size: f.size, ends: f.overdue}
}

// runBoth looks at the end of the old file and the beginning of the new one.
func (t *turn) runBoth(b *buffers) {
	p := t.prior
	st, err := fstat(t.fd)
	if err != nil {
		t.fail(err)
		return
	}
	old, err := fstat(p.fd)
	if err != nil {
		t.fail(err)
		return
	}
	t.to, t.size, t.mtime, t.links = t.from, st.size, st.mtime, st.links
	p.to, p.moved = p.from, old.size != p.size
	k, rest := int(min(overlap, p.from.pos)), int(p.size-p.from.pos)
	n := int(min(st.size, int64(max(t.chunk-rest, 0))))
	buf := b.get(k + rest + n)
	defer func() {
		if t.buf == nil {
			b.put(buf)
		}
	}()
	got, err := pread(p.fd, buf.bytes[:k+rest], p.from.pos-int64(k))
	if err == nil && got == k+rest {
		n, err = pread(t.fd, buf.bytes[k+rest:k+rest+n], 0)
	}
	if err != nil {
		t.fail(err)
		return
	}
	if got < k+rest || k > 0 && xxhash.Sum64(buf.bytes[:k]) != p.before {
		p.moved = true
	}
	end := buf.bytes[k+max(rest-t.rules.unit(), 0) : k+rest]
	if p.torn = t.rules.newline(end) < 0; p.torn || p.moved {
		return
	}
	t.read = time.Now()
	buf.lines = buf.lines[:0]
	lim := t.lim
	lim.maxLines = 1
	data := buf.bytes[k : k+rest+n]
	more := int64(n) < st.size
	var left int
	p.to, left = t.rules.across(buf, data, p.from, lim, p.ends && !more)
	if p.to == p.from {
		if more {
			t.verdict, t.need = needMore, min(2*len(data), t.rules.most(t.lim.maxLine)+rest)
		}
		return
	}
	t.verdict, t.buf = handOut, buf
	p.after = tailHash(buf.bytes[:k+min(left, rest)])
	if left > rest {
		p.to = at(p.size)
		t.to, t.head = at(int64(left-rest)), prefixOf(data[rest:])
		t.after = tailHash(data[rest:left])
	}
}

// across is join, and also returns how many bytes of data it took.
func (r *rules) across(buf *buffer, data []byte, p place, lim limits, quiet bool) (place, int) {
	to, _ := r.join(buf, data, p, lim, false, quiet)
	return to, int(to.pos - p.pos)
}

// bothEnded takes back a turn at two files.
func (s *Source) bothEnded(t *turn) {
	g, p := t.file, t.prior
	f := p.file
	f.busy = false
	if s.stopped || g.after != f || g.retired || g.released || g.spoiled || f.retired || f.released || f.spoiled {
		s.buffers.put(t.buf)
		s.part(g)
		s.forget(g)
		s.forget(f)
		s.enqueue(f)
		return
	}
	g.size, g.mtime, g.need = t.size, t.mtime, 0
	g.deleted = t.links == 0
	switch {
	case t.verdict == failed, p.torn && !p.moved:
		s.part(g) // its own turn finds out
		s.nudge(f)
	case p.moved:
		g.asked = false
		s.nudge(g)
	case t.verdict == needMore:
		g.need = t.need
		s.nudge(g)
	case t.verdict == handOut:
		s.handOutBoth(t)
	}
	s.measure(f)
	s.measure(g)
	s.enqueue(f)
	s.enqueue(g)
}

func (s *Source) handOutBoth(t *turn) {
	g, p := t.file, t.prior
	f := p.file
	delete(s.waiting, f)
	f.quiet, f.overdue = 0, false
	f.read, f.before, f.dry, f.want = p.to, p.after, p.to.pos, true
	f.active = s.now
	own := *t
	own.file, own.from, own.to, own.after = f, p.from, p.to, p.after
	s.handOutLines(&own)
	if f.read.pos < p.size {
		g.asked = false // there is another event before it
		g.want = true
		return
	}
	if t.to.pos > 0 {
		// The new file's part is done with when the event is.
		g.read, g.before, g.dry = t.to, t.after, t.to.pos
		s.grew(g, t.head)
		q := &packet{file: g, in: g.in, end: t.to, tail: t.after}
		g.flight = append(g.flight, q)
		g.turn = f.turn
		if len(f.flight) > 0 && f.flight[len(f.flight)-1].batch != nil {
			f.flight[len(f.flight)-1].then = q
		} else {
			s.settle(q)
		}
	}
	s.part(g)
}

// mayGoOn says whether f's open event may go on in what is in the next file.
func (s *Source) mayGoOn(f *file) bool {
	g := f.then
	if _, waits := s.waiting[f]; !waits || g == nil || f.overdue || f.orphan || g.fd < 0 {
		return false
	}
	st, err := fstat(g.fd)
	return err == nil && st.size > 0
}

// endBoth gives an event whose file was quiet for long enough a last chance to
// go on in the next file. It says whether that is so.
func (s *Source) endBoth(f *file) bool {
	if !s.mayGoOn(f) {
		return false
	}
	g := f.then
	f.overdue = true
	s.nudge(g)
	return g.queued || g.busy || g.after == f && g.want
}
