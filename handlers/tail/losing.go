package tail

import (
	"slices"
	"time"
)

// Time-to-loss: the paths that files are rotated at have a rhythm, and what was
// rotated is kept for a while. A file whose unread bytes, at the rate that they
// are read at, need longer than it will be there is at risk: that is said
// before it happens, and the file has every second turn until it is not.

const (
	// weighEvery is how often risks are weighed.
	weighEvery = time.Second
	// maxRhythms bounds the paths whose rhythm is known.
	maxRhythms = 10_000
	// maxRisks is how many files at risk Stats names.
	maxRisks = 10
)

// rhythm is what was seen of the rotations at one path.
type rhythm struct {
	last  time.Time     // when a file left the path, or was cut there
	every time.Duration // from one to the next, 0 until two were seen
	kept  time.Duration // how long a file was there after it left
	goes  bool          // kept is known: one was seen to be deleted
	cut   bool          // it was cut, and no copy of it turned up
}

// pace is how a file with unread bytes was read lately.
type pace struct {
	at         time.Time
	pos, size  int64
	read, grow float64 // bytes a second
	warned     bool
	seen       bool // in the weighing under way
}

// Risk is a file that will be deleted before it was read.
type Risk struct {
	Path, File string
	Unread     int64         // bytes
	Rate       int64         // bytes read a second
	Left       time.Duration // until it is deleted
}

// leaves notes that f is not at its path any more: it was renamed, or has no
// name, or was cut.
func (s *Source) leaves(f *file, cut bool) {
	if f.home == "" {
		f.home, f.leftAt = f.path, s.now
	} else if !cut {
		return // one more step of a file that left before
	}
	r := s.rhythms[f.home]
	if r == nil {
		if len(s.rhythms) >= maxRhythms {
			return
		}
		r = &rhythm{}
		s.rhythms[f.home] = r
	}
	if !r.last.IsZero() {
		every := s.now.Sub(r.last)
		if r.every > 0 {
			every = (every + r.every) / 2
		}
		r.every = every
	}
	r.last, r.cut = s.now, cut
}

// wentOn notes that the copy of a file that was cut was found.
func (s *Source) wentOn(f *file) {
	if r := s.rhythms[f.home]; r != nil {
		r.cut = false
	}
}

// deletion notes how many names f has, and when it was that the last one went.
func (s *Source) deletion(f *file, names uint64) {
	was := f.deleted
	if f.deleted = names == 0; f.deleted && !was {
		s.wasKept(f)
	}
}

// wasKept notes that f is there no more.
func (s *Source) wasKept(f *file) {
	if r := s.rhythms[f.home]; r != nil {
		kept := s.now.Sub(f.leftAt)
		if r.goes {
			kept = (kept + r.kept) / 2
		}
		r.kept, r.goes = kept, true
	}
}

// lossAt returns when f, as far as is known, will be deleted or cut, and until
// when it may grow.
func (s *Source) lossAt(f *file) (at, grows time.Time, known bool) {
	home := f.home
	if home == "" {
		home = f.path
	}
	r := s.rhythms[home]
	if r == nil || r.every == 0 || !r.goes && !r.cut {
		return at, grows, false
	}
	// What is overdue is expected after a while.
	soon := func(t time.Time, span time.Duration) time.Time { return maxTime(t, s.now.Add(span/10)) }
	if f.home != "" {
		return soon(f.leftAt.Add(r.kept), r.kept), s.now, r.goes
	}
	grows = soon(r.last.Add(r.every), r.every)
	if r.cut {
		return grows, grows, true
	}
	return grows.Add(r.kept), grows, true
}

// weigh looks for files that will be deleted before they were read.
func (s *Source) weigh() {
	s.weighAt = s.now.Add(weighEvery)
	s.changed = s.changed || s.tally.AtRisk > 0
	s.risks = s.risks[:0]
	s.tally.AtRisk = 0
	for _, f := range s.files {
		f.risk = false
		if f.size < 0 || f.unread() == 0 || f.orphan || f.packed != nil {
			continue
		}
		at, grows, known := s.lossAt(f)
		if !known {
			continue
		}
		p := s.paces[f]
		if p == nil {
			s.paces[f] = &pace{at: s.now, pos: f.read.pos, size: f.size, seen: true}
			continue
		}
		p.seen = true
		if span := s.now.Sub(p.at).Seconds(); span >= weighEvery.Seconds()/2 {
			p.read = (p.read + float64(f.read.pos-p.pos)/span) / 2
			p.grow = (p.grow + float64(f.size-p.size)/span) / 2
			p.at, p.pos, p.size = s.now, f.read.pos, f.size
		}
		left := at.Sub(s.now)
		lost := float64(f.unread()) + p.grow*max(0, grows.Sub(s.now).Seconds()) - p.read*left.Seconds()
		if lost <= 0 {
			continue
		}
		f.risk = true
		s.tally.AtRisk++
		if len(s.risks) < maxRisks {
			s.risks = append(s.risks, Risk{f.path, f.key(), f.unread(), int64(p.read), left.Round(time.Second)})
		}
		if !p.warned {
			p.warned = true
			s.tally.LossWarnings++
			s.log.Warn("file will be deleted before it is read, at this rate",
				"log.file", f.path, "file", f.key(), "from", f.read.pos, "to", f.size, "unread_bytes", f.unread(),
				"bytes_per_second", int64(p.read), "left", left.Round(time.Second))
		}
	}
	for f, p := range s.paces {
		if !p.seen {
			delete(s.paces, f)
		}
		p.seen = false
	}
	slices.SortFunc(s.risks, func(a, b Risk) int { return int(a.Left - b.Left) })
	s.changed = s.changed || s.tally.AtRisk > 0
}

// endangered returns the input whose next file is at risk, every second time.
func (s *Source) endangered() *input {
	if s.tally.AtRisk == 0 {
		return nil
	}
	if s.jumped = !s.jumped; !s.jumped {
		return nil
	}
	for _, in := range s.ordered {
		if in.head != nil && in.head.risk {
			return in
		}
	}
	return nil
}
