package tail

import (
	"maps"
	"slices"
	"time"
)

// Stats is what a source has done, and where it stands: counters since New,
// and gauges. It is a snapshot, not older than a twentieth of a second when
// something happens.
type Stats struct {
	Files    int // followed, those without a name included
	Open     int // with an open handle
	Active   int // with something to read or in flight
	Gone     int // without a name, being read to their end
	Waiting  int // with a last event that may go on
	Inputs   map[string]InputStats
	InFlight int64 // bytes of the budget in use
	Messages int   // handed out and not settled

	Lines, Bytes uint64 // read, repeats after a nack not counted
	Batches      uint64 // acked
	Nacks        uint64

	Truncated, Rewritten, Replaced uint64 // generations begun, by reason
	Copies                         uint64 // copies of truncated or packed files that were read on
	Unpacked                       uint64 // packed files whose content was recognised or is read
	Rotations                      uint64 // names changed or lost
	LostBytes                      uint64 // known to be cut off or deleted before they were read
	LostRanges                     uint64 // the number of ranges that these were in
	AtRisk                         int    // files that will be deleted before they are read, at this rate
	Risks                          []Risk // the first of them to go
	LossWarnings                   uint64 // files that were at risk once
	HeldBytes                      int64  // size of deleted files that are still read
	SkippedBytes                   uint64 // holes at the beginning of files
	ReadErrors                     uint64

	Scans            uint64
	ScanTime         time.Duration
	CheckpointWrites uint64
	CheckpointErrors uint64

	LastError   string // empty when there was none
	LastErrorAt time.Time
}

// InputStats is the same for one input.
type InputStats struct {
	Files        int
	Lines, Bytes uint64
	Unread       int64 // bytes known to wait in files
	InFlight     int64
	Messages     int
	Subscribed   bool
}

// Stats returns a snapshot. It never blocks.
func (s *Source) Stats() Stats {
	st := *s.stats.Load()
	st.Inputs = maps.Clone(st.Inputs)
	st.Risks = slices.Clone(st.Risks)
	return st
}

// publish makes the snapshot that others see.
func (s *Source) publish() {
	st := s.tally
	st.Files, st.Open, st.Gone = len(s.files), s.open.n, len(s.gone)
	st.Waiting = len(s.waiting)
	st.InFlight, st.Messages = s.held, s.flights
	st.Risks = slices.Clone(s.risks)
	st.Inputs = make(map[string]InputStats, len(s.inputs))
	for name, in := range s.inputs {
		st.Inputs[name] = InputStats{
			Files: in.files, Lines: in.lines, Bytes: in.bytes, Unread: in.unread,
			InFlight: in.held, Messages: in.handed, Subscribed: in.sub != nil,
		}
		for f := in.head; f != nil; f = f.next {
			st.Active++
		}
	}
	st.Active += readers - s.idle
	s.stats.Store(&st)
	s.changed = false
}

// fail remembers the last error for Stats.
func (s *Source) fail(err error) {
	s.tally.LastError, s.tally.LastErrorAt = err.Error(), s.now
	s.changed = true
}
