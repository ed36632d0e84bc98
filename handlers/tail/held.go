package tail

import "slices"

// A deleted file keeps its place on the disk for as long as it is open. We
// close it when it was read to its end. While nobody takes its lines that can
// be long, and the disk that it keeps is the host's: so there is a limit.

// relieve lets the files go that keep more of the disk than they may, or for
// longer, those first that were deleted first.
func (s *Source) relieve() {
	var held []*file
	var bytes int64
	for f := range s.gone {
		// One that was read to its end, and is not closed only because its
		// writer may go on, is not held for our sake.
		if !f.deleted || f.busy || f.unread() == 0 && len(f.flight) == 0 {
			continue
		}
		st, err := fstat(f.fd)
		if err != nil {
			continue
		}
		f.onDisk = st.size
		bytes += st.size
		held = append(held, f)
	}
	s.tally.HeldBytes = bytes
	if len(held) == 0 {
		return
	}
	slices.SortFunc(held, func(a, b *file) int { return a.lostAt.Compare(b.lostAt) })
	for _, f := range held {
		if bytes <= s.o.MaxHeldBytes && s.now.Sub(f.lostAt) <= s.o.MaxHeldTime {
			return
		}
		bytes -= f.onDisk
		s.tally.HeldBytes = bytes
		s.letGo(f)
	}
}

// letGo gives up what was not read of a deleted file, and says what is lost.
// What was read of it is in memory and goes on.
func (s *Source) letGo(f *file) {
	if lost := f.unread(); lost > 0 {
		s.lostRange(f, "a deleted file could not be read in time and keeps too much of the disk, or for too long", lost)
	}
	s.end(f)
}

// lostRange says which bytes are lost, and why.
func (s *Source) lostRange(f *file, why string, bytes int64) {
	s.tally.LostBytes += uint64(bytes)
	s.tally.LostRanges++
	s.changed = true
	s.log.Error("bytes are lost: "+why, "log.file", f.path, "file", f.key(),
		"from", f.read.pos, "to", f.read.pos+bytes, "bytes", bytes)
}
