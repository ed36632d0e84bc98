package tail

import "time"

// The last event of a file may go on. It stays in the file, unread as far as
// positions go, until the next one begins or nothing came for max_wait.

// wait is how long a file's last event may go on, if the file keeps its size.
type wait struct {
	until time.Time
	size  int64
}

// waitFor notes after turn t whether f waits for more of an event.
func (s *Source) waitFor(f *file, t *turn) {
	f.quiet = 0
	w, waits := s.waiting[f]
	switch {
	case t.cutUp && !t.open:
		delete(s.waiting, f)
		return
	case !t.cutUp && !waits, waits && w.size == t.size:
		return
	}
	f.overdue = false
	until := s.now.Add(t.rules.wait())
	if len(s.waiting) == 0 || until.Before(s.waitAt) {
		s.waitAt = until
	}
	s.waiting[f] = wait{until, t.size}
}

// endWaits ends the events that nothing was added to for long enough.
func (s *Source) endWaits() {
	s.waitAt = s.now.Add(time.Hour)
	for f, w := range s.waiting {
		if !w.until.After(s.now) {
			if !s.endBoth(f) {
				delete(s.waiting, f)
				f.quiet, f.overdue = w.size, false
				s.nudge(f)
				continue
			}
			w.until = s.now.Add(f.in.rules.wait())
			s.waiting[f] = w
		}
		if w.until.Before(s.waitAt) {
			s.waitAt = w.until
		}
	}
}
