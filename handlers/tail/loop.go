package tail

import (
	"context"
	"errors"
	"time"

	"github.com/logferry/logferry/config"
)

// state is all that the source knows. It is owned by Run.
type state struct {
	inputs  map[string]*input
	ordered []*input // the configured ones, in the configuration's order
	turnOf  int      // index in ordered of the input whose turn is next

	files      map[inode]*file     // what is followed, by the name the kernel has for it
	retired    map[*file]bool      // ended, with batches in flight
	orphans    map[*file]time.Time // cut off, waiting for their copy until then
	waiting    map[*file]wait      // with an event that may go on
	waitAt     time.Time           // when the first of them is due
	suspects   map[*file]*file     // new files that seem to be copies of known ones
	firstTurns []*file             // that are read from their beginning right now
	unchecked  []*file             // new files that cannot be decided about yet
	heads      map[prefix][]*file  // files that were read, by their first bytes
	packs      map[*file]bool      // packed files that are not finished
	packedAt   time.Time           // when they are looked at
	unpackers  int
	rhythms    map[string]*rhythm // by path that files are rotated at
	paces      map[*file]*pace    // of files with unread bytes at such paths
	risks      []Risk
	weighAt    time.Time
	jumped     bool              // the last turn was of a file at risk
	ended      map[string]*entry // files that are gone, by key, for their packed copies
	scanning   bool
	gathering  bool               // more new files may come with this batch of hints
	superseded []*entry           // of the checkpoint: cut off, their copies were not found yet
	left       map[string]*file   // who had a name last, by path
	trail      map[string]passing // what a file was called, by a name that it had for a moment
	pipes      map[string]*file   // named pipes, by path
	gone       map[*file]bool     // without a name, read to their end
	past       map[inode]*entry   // what the checkpoint knows and nobody follows
	byIno      map[uint64]inode   // past at the start, by number alone
	known      map[string]bool    // inputs that were scanned before
	tree       tree
	siblings   map[string]map[uint64]string // names by inode, of folders looked into
	siblingsOf uint32                       // by this scan
	open       openFiles
	maxOpen    int
	starved    bool   // a file could not be opened for want of handles
	full       uint32 // the last scan that found that so
	said       map[string]bool

	idle     int // readers without a turn
	held     int64
	reserved int64
	flights  int // messages handed out and not settled, of all inputs
	later    []retry
	messages uint64

	keeper      *keeper
	dirty       []*entry
	newInputs   []string
	untold      []*file   // with packets that wait until the checkpoint knows the file
	telling     []*file   // the same, of the write under way
	kept        int       // how many packets that are
	tellAt      time.Time // when they wait no longer
	writing     bool
	unsynced    bool  // something was written and may not be on disk
	wholesale   bool  // the next write is a snapshot
	journal     int64 // bytes since the last snapshot
	snapshot    int64 // bytes of it
	scratch     []byte
	first       [maxHead]byte
	writeFailed error
	rewrite     bool // the last write failed: write again, whatever changed
	expireAt    time.Time
	lost        bool // there was a checkpoint, and it was no good
	hints       *hints

	draining []chan error
	stopped  bool // nothing is read any more
	closed   bool
	crashing bool // tests: end as a killed process does
	blind    bool // tests: no folder can be watched

	now       time.Time
	scanAt    time.Time
	scanned   time.Time     // when the last scan ended
	scanTook  time.Duration // and what it took
	opening   time.Duration // what opening new files took of it
	goneAt    time.Time
	suspectAt time.Time // when suspects and orphans are looked at
	flushAt   time.Time // when what changed may be written
	syncAt    time.Time // when what was written may be synced
	statsAt   time.Time
	tally     Stats
	changed   bool // tally differs from what was published
}

func (st *state) init(s *Source, c *checkpoint) {
	*st = state{
		inputs:     map[string]*input{},
		files:      map[inode]*file{},
		retired:    map[*file]bool{},
		gone:       map[*file]bool{},
		pipes:      map[string]*file{},
		left:       map[string]*file{},
		trail:      map[string]passing{},
		orphans:    map[*file]time.Time{},
		waiting:    map[*file]wait{},
		suspects:   map[*file]*file{},
		heads:      map[prefix][]*file{},
		packs:      map[*file]bool{},
		ended:      c.ended,
		superseded: c.superseded,
		rhythms:    map[string]*rhythm{},
		paces:      map[*file]*pace{},
		past:       c.entries,
		byIno:      map[uint64]inode{},
		known:      c.inputs,
		said:       map[string]bool{},
		idle:       readers,
		keeper:     c.keeper,
		maxOpen:    s.o.MaxOpenFiles,
		wholesale:  true,
		lost:       c.lost,
		now:        time.Now(),
	}
	st.expireAt = st.now.Add(time.Hour)
	for id := range c.entries {
		st.byIno[id.ino] = id
	}
	st.tree.init()
}

// Run follows files until ctx ends, writes the last checkpoint, and leaves
// nothing behind. It is called once.
func (s *Source) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return ErrClosed
	}
	defer close(s.done)
	s.hints = startHints(s.log, s.blind)
	for range readers {
		s.work.Go(s.reader)
	}
	writes := make(chan write)
	s.keeper.writes = writes
	keeping := make(chan struct{})
	go func() {
		defer close(keeping)
		s.keeper.run(writes, s.written)
	}()

	s.loop(ctx)

	// Stop reading first and recording last.
	close(s.quit)
	s.hints.close()
	close(s.turns)
	s.work.Wait()
	s.stopped = true
	s.collect()
	s.closeAll()
	if s.writing {
		s.wrote(<-s.written)
	}
	var err error
	if !s.crashing {
		err = s.lastWrite(writes)
	}
	close(writes)
	<-keeping
	s.keeper.close()
	s.publish()
	return err
}

// collect takes what readers and waiters had sent before they ended.
func (s *Source) collect() {
	for {
		select {
		case t := <-s.turned:
			s.buffers.put(t.buf)
			t.file.busy = false
		case v := <-s.verdicts:
			if v.acked {
				s.settle(v.packet)
			}
		default:
			return
		}
	}
}

func (s *Source) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	closing := s.closing
	for {
		select {
		case f := <-s.calls:
			s.now = time.Now()
			f()
		case t := <-s.turned:
			s.now = time.Now()
			s.turnEnded(t)
		case v := <-s.verdicts:
			s.now = time.Now()
			s.decided(v)
		case h := <-s.hints.batches:
			s.now = time.Now()
			s.hinted(h)
		case f := <-s.piped:
			s.now = time.Now()
			s.nudge(f)
		case err := <-s.written:
			s.now = time.Now()
			s.wrote(err)
		case <-closing:
			s.now = time.Now()
			s.closed, closing = true, nil
			for _, in := range s.inputs {
				s.unsubscribe(in)
			}
		case <-timer.C:
			s.now = time.Now()
		case <-ctx.Done():
			return
		}
		s.due()
		s.dispatch()
		timer.Reset(s.next().Sub(s.now))
	}
}

// due does what the clock asks for.
func (s *Source) due() {
	if !s.stopped {
		if !s.now.Before(s.scanAt) {
			s.scan()
		}
		if len(s.gone) > 0 && !s.now.Before(s.goneAt) {
			s.checkGone()
		}
		if len(s.suspects)+len(s.orphans) > 0 && !s.now.Before(s.suspectAt) {
			s.checkSuspects()
		}
		if len(s.waiting) > 0 && !s.now.Before(s.waitAt) {
			s.endWaits()
		}
		if len(s.packs) > 0 && !s.now.Before(s.packedAt) {
			s.checkPacked()
		}
		if len(s.rhythms) > 0 && !s.now.Before(s.weighAt) {
			s.weigh()
		}
		s.recheck()
	}
	if len(s.untold)+len(s.telling) > 0 && !s.now.Before(s.tellAt) {
		s.tellLate()
	}
	s.retryLater()
	if s.pendingWrite() && !s.writing && (len(s.untold) > 0 && s.writeFailed == nil || !s.now.Before(s.writeAt())) {
		s.flush()
	}
	s.answerDrains()
	if s.changed && !s.now.Before(s.statsAt) {
		s.publish()
		s.statsAt = s.now.Add(50 * time.Millisecond)
	}
}

// next returns when due has something to do again.
func (s *Source) next() time.Time {
	at := s.now.Add(time.Minute)
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	if !s.stopped {
		sooner(s.scanAt)
		if len(s.gone) > 0 {
			sooner(s.goneAt)
		}
		if len(s.suspects)+len(s.orphans) > 0 {
			sooner(s.suspectAt)
		}
		if len(s.waiting) > 0 {
			sooner(s.waitAt)
		}
		if len(s.packs) > 0 {
			sooner(s.packedAt)
		}
	}
	for _, r := range s.later {
		sooner(r.at)
	}
	if s.pendingWrite() && !s.writing {
		sooner(s.writeAt())
	}
	if len(s.untold)+len(s.telling) > 0 {
		sooner(s.tellAt)
	}
	if s.changed {
		sooner(s.statsAt)
	}
	return at
}

func (s *Source) update(configs []config.Input) error {
	if s.stopped {
		return errors.New("update inputs: source is draining")
	}
	// A dry run first: nothing changes when one input is refused.
	for i, c := range configs {
		if err := (&input{name: c.Name}).configure(c, i); err != nil {
			return err
		}
	}
	named := map[string]bool{}
	ordered := make([]*input, 0, len(configs))
	for i, c := range configs {
		named[c.Name] = true
		in := s.input(c.Name)
		first := !in.configured
		if err := in.configure(c, i); err != nil {
			return err
		}
		if first {
			in.startEnd = c.StartAt == "end" && !s.known[c.Name] && !s.lost
		}
		ordered = append(ordered, in)
	}
	s.ordered, s.turnOf = ordered, 0
	for _, in := range s.inputs {
		if !named[in.name] {
			in.configured, in.patterns, in.pipes = false, nil, nil
		}
	}
	s.reassign()
	for f := range s.waiting {
		s.nudge(f) // what an event is may have changed
	}
	s.updatePipes()
	s.tree.build(ordered, s)
	s.scan()
	for _, in := range s.inputs {
		if !in.configured {
			s.finishInput(in)
		}
	}
	s.changed = true
	return nil
}

func (s *Source) input(name string) *input {
	in := s.inputs[name]
	if in == nil {
		in = &input{name: name}
		s.inputs[name] = in
	}
	return in
}
