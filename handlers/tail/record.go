package tail

import (
	"time"
)

const (
	// writeEvery is how often positions are written, for a kill to repeat
	// little. Writes of more than writeBytes come less often, so that a
	// second has about a megabyte of them at most.
	writeEvery = 100 * time.Millisecond
	writeBytes = 64 << 10
	// syncEvery is how often the disk is waited for: what a loss of power
	// repeats.
	syncEvery = time.Second
	// retryFlush is how often it is tried while the disk refuses.
	retryFlush = 5 * time.Second
	// keepPast is how long the position of a file that vanished is kept.
	keepPast = 7 * 24 * time.Hour
	// journalMin is how long a journal may grow beside a small checkpoint.
	journalMin = 1 << 20
)

// touch marks an entry as changed.
func (s *Source) touch(e *entry) {
	if !e.dirty && !e.fleeting {
		if len(s.dirty) == 0 {
			s.flushAt = maxTime(s.flushAt, s.now.Add(writeEvery))
		}
		e.dirty = true
		s.dirty = append(s.dirty, e)
	}
}

// remove drops an entry from the checkpoint.
func (s *Source) remove(e *entry) {
	e.dead = true
	s.touch(e)
}

// markKnown remembers that an input's files were looked at once.
func (s *Source) markKnown(name string) {
	if !s.known[name] {
		s.known[name] = true
		s.newInputs = append(s.newInputs, name)
	}
}

func (s *Source) pendingWrite() bool {
	return len(s.dirty) > 0 || len(s.newInputs) > 0 || s.unsynced || s.rewrite
}

// writeAt returns when there is something to do for the checkpoint.
func (s *Source) writeAt() time.Time {
	if len(s.dirty) > 0 || len(s.newInputs) > 0 || s.rewrite {
		return s.flushAt
	}
	return maxTime(s.flushAt, s.syncAt)
}

// flush gives what changed to the keeper. What was written is there when we
// are killed; only a loss of power needs the disk to be waited for, which is
// done less often, and if it can be not while lines wait.
func (s *Source) flush() {
	syncAt := s.syncAt
	if len(s.untold) > 0 {
		syncAt = syncAt.Add(syncEvery)
	}
	w := write{sync: !s.now.Before(syncAt) || len(s.draining) > 0}
	w.data, w.snapshot = s.records()
	s.telling, s.untold = s.untold, s.telling
	s.rewrite = false
	s.unsynced = !w.sync && !w.snapshot
	if !s.unsynced {
		s.syncAt = s.now.Add(syncEvery)
	}
	s.flushAt = s.now.Add(writeEvery * time.Duration(1+min(len(w.data)/writeBytes, 9)))
	s.writing = true
	s.keeper.writes <- w
}

// records encodes what is to be written next, and whether that is everything.
func (s *Source) records() ([]byte, bool) {
	b := s.scratch[:0]
	whole := s.wholesale || s.journal > max(journalMin, 2*s.snapshot)
	if whole {
		b = append(b, journalHeader...)
		for name := range s.known {
			b = appendInput(b, name)
		}
		for _, e := range s.past {
			b = appendEntry(b, e)
		}
		for _, e := range s.superseded {
			b = appendEntry(b, e)
		}
		for _, e := range s.ended {
			b = appendEntry(b, e)
		}
		for f := range s.retired {
			if !f.dead {
				b = appendEntry(b, &f.entry)
			}
		}
		for _, f := range s.files {
			b = appendEntry(b, &f.entry)
		}
		b = appendRecord(b, func(b []byte) []byte { return append(b, recordEnd) })
		s.journal, s.snapshot = 0, int64(len(b))
		s.wholesale = false
	} else {
		for _, name := range s.newInputs {
			b = appendInput(b, name)
		}
		for _, e := range s.dirty {
			b = appendEntry(b, e)
		}
		s.journal += int64(len(b))
	}
	for _, e := range s.dirty {
		e.dirty = false
	}
	clear(s.dirty)
	s.dirty, s.newInputs = s.dirty[:0], s.newInputs[:0]
	s.scratch = b
	if cap(b) > 4*len(b)+journalMin {
		s.scratch = nil // it was large once
	}
	return b, whole
}

func appendInput(b []byte, name string) []byte {
	return appendRecord(b, func(b []byte) []byte { return appendText(append(b, recordInput), name) })
}

// wrote takes the keeper's answer.
func (s *Source) wrote(err error) {
	s.writing = false
	s.changed = true
	if s.crashing {
		return
	}
	defer s.tellTold(err)
	if err == nil {
		s.tally.CheckpointWrites++
		if s.writeFailed != nil {
			s.log.Info("checkpoints can be written again")
		}
		s.writeFailed = nil
		return
	}
	s.tally.CheckpointErrors++
	if s.writeFailed == nil {
		s.log.Error("cannot write checkpoint, shipping goes on and a crash would repeat more", "error", err)
	}
	s.writeFailed = err
	s.fail(err)
	s.wholesale = true
	s.flushAt, s.syncAt = s.now.Add(retryFlush), s.now
	s.rewrite = true
}

// lastWrite writes what is left at the end of Run.
func (s *Source) lastWrite(writes chan<- write) error {
	if !s.pendingWrite() {
		return nil
	}
	data, whole := s.records()
	writes <- write{data: data, snapshot: whole, sync: true}
	err := <-s.written
	if err != nil && !whole {
		s.wholesale = true
		data, _ = s.records()
		writes <- write{data: data, snapshot: true}
		err = <-s.written
	}
	return err
}

// expire drops the positions of files that vanished long ago.
func (s *Source) expire() {
	if s.now.Before(s.expireAt) {
		return
	}
	s.expireAt = s.now.Add(time.Hour)
	limit := s.now.Add(-keepPast).Unix()
	for id, e := range s.past {
		switch {
		case e.left == 0:
			e.left = s.now.Unix()
			s.touch(e)
		case e.left < limit:
			delete(s.past, id)
			s.remove(e)
		}
	}
	for key, e := range s.ended {
		if e.left < limit {
			delete(s.ended, key)
			s.remove(e)
		}
	}
}

// closeAll ends all subscriptions and closes all files.
func (s *Source) closeAll() {
	for _, in := range s.inputs {
		s.unsubscribe(in)
	}
	for s.open.back != nil {
		s.closeFile(s.open.back)
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
