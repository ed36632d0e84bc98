package tail

import "time"

// A document's id is made of its file's identity. So nothing of a file is
// handed out before the checkpoint knows the file, with its first bytes: should
// we be killed, and the file be copied and cut before we are back, its copy is
// recognised, and what comes again has the same id. Written is enough, the disk
// is not waited for: what a killed process wrote is there.

// maxUntold is how long lines wait for that at most: a disk that hangs, or
// refuses, stops no line.
const maxUntold = 250 * time.Millisecond

// maxKept is how many batches wait for it: no more files are begun until they
// went.
const maxKept = 64

// tell keeps a packet back until the checkpoint knows its file, and says
// whether it does that.
func (s *Source) tell(p *packet) bool {
	f := p.file
	if f.told || f.fleeting || s.writeFailed != nil {
		return false
	}
	p.kept = true
	s.kept++
	s.tellOf(f)
	return true
}

// tellOf has the checkpoint know at once what f is.
func (s *Source) tellOf(f *file) {
	s.touch(&f.entry)
	if f.told = false; f.telling {
		return
	}
	f.telling = true
	if len(s.untold)+len(s.telling) == 0 {
		s.tellAt = s.now.Add(maxUntold)
	}
	s.untold = append(s.untold, f)
}

// tellTold takes note of whether what the keeper was given last is written.
func (s *Source) tellTold(err error) {
	for _, f := range s.telling {
		f.told, f.telling = err == nil && !f.dirty, false
		s.letPass(f)
	}
	clear(s.telling)
	s.telling = s.telling[:0]
	if err != nil {
		s.tellLate()
	}
	s.tellAt = s.now.Add(maxUntold)
}

// tellLate hands out what waited for too long.
func (s *Source) tellLate() {
	for _, f := range s.telling {
		s.letPass(f)
	}
	for _, f := range s.untold {
		s.letPass(f)
	}
	s.tellAt = s.now.Add(maxUntold)
}

// letPass hands out what was kept back of f.
func (s *Source) letPass(f *file) {
	for _, p := range f.flight {
		if p.kept {
			p.kept = false
			s.kept--
			s.later = append(s.later, retry{s.now, p})
		}
	}
}
