package tail

import (
	"log/slog"
	"slices"

	"github.com/logferry/logferry/config"
)

// minTurn is the least room a turn is given: less would be turns without end.
const minTurn = 16 << 10

// reader takes turns until there are no more.
func (s *Source) reader() {
	first := make([]byte, maxHead)
	for t := range s.turns {
		t.run(&s.buffers, first)
		s.turned <- t
	}
}

// nudge says that something may have happened to f.
func (s *Source) nudge(f *file) {
	f.want = true
	s.enqueue(f)
}

// enqueue puts f into its input's queue when it wants a turn and may have one.
func (s *Source) enqueue(f *file) {
	if !f.want || f.busy || f.queued || f.retired || f.released || f.spoiled || s.stopped && f.pipe == nil ||
		len(f.flight) >= maxFlight || !f.in.configured {
		return
	}
	if f.pipe != nil {
		f.in.push(f, false)
		return
	}
	if f.packed != nil && !s.mayUnpack(f) {
		return
	}
	if f.fd < 0 && !s.reopen(f) {
		s.unpack(f)
		f.want = false
		f.size = -1 // the next scan tries again
		return
	}
	if f.fd < 0 || f.busy || f.queued || !s.original(f) || s.holds(f) {
		return // it began again as another file, or may be a copy
	}
	// What has no name any more is the oldest of its name: it goes first. So
	// does what may be deleted before it is read.
	f.in.push(f, f.gone && f.size < 0 || f.risk)
}

// dispatch gives turns to the readers that have none. Inputs take turns, and
// within an input its files do.
func (s *Source) dispatch() {
	for s.idle > 0 && (!s.stopped || len(s.pipes) > 0) {
		if !s.dispatchOne() {
			return
		}
	}
}

func (s *Source) dispatchOne() bool {
	if in := s.endangered(); in != nil && s.giveTurn(in) {
		return true
	}
	for i := range s.ordered {
		k := (s.turnOf + i) % len(s.ordered)
		if s.giveTurn(s.ordered[k]) {
			s.turnOf = (k + 1) % len(s.ordered)
			return true
		}
	}
	return false
}

// giveTurn gives in's next file a turn, if it has one and may.
func (s *Source) giveTurn(in *input) bool {
	if in.head == nil || in.sub == nil || in.handed+in.reading >= maxHanded || s.kept >= maxKept {
		return false
	}
	room, lines, cost := s.room(in, in.head.need)
	if cost == 0 {
		return false
	}
	f := in.pop()
	if s.holds(f) {
		return true
	}
	lim := in.limits()
	lim.maxLines = lines
	if f.need == 0 {
		room, lim.maxLines = throttled(in.cfg.Throttle, room, lim.maxLines)
		room = in.roomFor(lim.maxLines, room)
	}
	f.busy, f.want = true, false
	if f.read.pos == 0 && f.pipe == nil {
		s.firstTurns = append(s.firstTurns, f)
	}
	s.idle--
	s.reserved += cost
	in.reserved += cost
	in.reading++
	t := &turn{
		file: f, in: in, fd: f.fd, from: f.read, before: f.before, dry: f.dry, head: f.head,
		rules: in.rules, lim: lim, chunk: room, last: f.last || f.packed != nil, quiet: f.quiet, cost: cost,
		packed: f.packed, nuls: f.nuls, prior: s.prior(f),
	}
	if f.pipe != nil {
		f.pipe.turns <- t
	} else {
		s.turns <- t
	}
	return true
}

// room returns how many bytes and lines in's next turn may take, and what that
// costs of the budget, or zeros when it must wait.
//
// An input may hold no more than what is left over for the others, so that one
// whose consumer is stuck takes half of the budget at most, and each further
// one half of the rest: whoever moves always has room.
func (s *Source) room(in *input, need int) (bytes, lines int, cost int64) {
	used := s.held + s.reserved
	free := s.o.MaxInFlightBytes - used
	may := (free - in.held - in.reserved) / 2
	if used == 0 {
		may = max(may, minTurn) // one batch at a time always goes
	}
	least := [...]int{16, 128, 1024} // lines without which a buffer is wasted
	for class := len(sizes) - 1; class >= 0; class-- {
		fixed := int64(sizes[class].bytes*in.rules.grows() + batchCost)
		n := int(min((may-fixed)/lineCost, maxLines))
		if may <= fixed || n < least[class] {
			continue
		}
		bytes, lines, cost = sizes[class].bytes-overlap, n, fixed+int64(n)*lineCost
		break
	}
	if need <= bytes {
		return bytes, lines, cost
	}
	// A long line needs a buffer of its own.
	cost = int64((need+overlap)*in.rules.grows() + batchCost + 16*lineCost)
	if cost > may && used > 0 {
		return 0, 0, 0
	}
	return need, 16, cost
}

// throttled limits a turn to what the input may send in 50 ms, so that its
// throttle, which waits for a whole batch, stays smooth.
func throttled(t config.Throttle, bytes, lines int) (int, int) {
	if t.LinesPerSecond > 0 {
		lines = min(lines, max(1, int(t.LinesPerSecond/20)))
	}
	if t.BytesPerSecond > 0 {
		bytes = min(bytes, max(1, int(t.BytesPerSecond/20)))
	}
	return bytes, lines
}

// roomFor is as much of room as so many lines of in are likely to need, so that a
// few lines do not hold a large buffer while they wait.
func (in *input) roomFor(lines, room int) int {
	if in.lines == 0 || lines >= maxLines {
		return room
	}
	return min(room, max(sizes[0].bytes-overlap, 2*lines*int(in.bytes/in.lines)))
}

// turnEnded takes a turn back from its reader.
func (s *Source) turnEnded(t *turn) {
	f := t.file
	f.busy = false
	if i := slices.Index(s.firstTurns, f); i >= 0 {
		s.firstTurns = slices.Delete(s.firstTurns, i, i+1)
	}
	s.idle++
	s.reserved -= t.cost
	t.in.reserved -= t.cost
	t.in.reading--
	s.changed = true
	if t.prior != nil {
		s.bothEnded(t)
		return
	}
	if s.stopped && f.pipe == nil || f.retired || f.released || f.spoiled {
		s.buffers.put(t.buf)
		s.forget(f)
		return
	}
	if t.verdict < shrunk {
		s.waitFor(f, t)
		f.size, f.mtime, f.dry, f.need = t.size, t.mtime, t.dry, 0
		s.deletion(f, t.links)
	}
	if t.last && !t.more {
		f.last = false
	}
	switch t.verdict {
	case handOut:
		f.read, f.before = t.to, t.after
		if t.hole > 0 {
			s.tally.SkippedBytes += uint64(t.hole)
			s.log.Info("file begins with a hole, which is passed over", "path", f.path, "file", f.key(), "bytes", t.hole)
		}
		if f.marks == nil {
			f.marks = &marks{}
		}
		f.marks.add(t.to.pos, t.after)
		s.grew(f, t.head)
		f.active = s.now
		if f.fd >= 0 {
			s.open.touch(f)
		}
		s.handOutLines(t)
		f.want = f.want || t.more
		if f.packed != nil && f.read.pos >= f.packed.size {
			s.unpack(f)
		}
	case quiet:
		s.grew(f, t.head)
		f.want = f.want || t.more
	case lookedInto:
		s.looked(t)
	case needMore:
		f.need = t.need
		f.want = true
	case shrunk:
		f = s.beginAgain(f, whyTruncated)
	case rewritten:
		f = s.beginAgain(f, whyRewritten)
	case failed:
		s.tally.ReadErrors++
		s.fail(t.err)
		s.sayOnce(slog.LevelWarn, "cannot read file, trying again", "path", f.path, "error", t.err)
		s.closeFile(f)
		f.size = -1
		s.unpack(f)
	}
	s.measure(f)
	if t.over {
		s.endPipe(f)
	}
	s.enqueue(f)
	if f.then != nil {
		s.enqueue(f.then)
	}
	if s.starved && f.idle() {
		s.starved = false
		s.scanSoon(0)
	}
}

// grew takes a longer prefix of f's first bytes.
func (s *Source) grew(f *file, head prefix) {
	if head != f.head {
		f.head = head
		s.indexHead(f)
		s.touch(&f.entry)
	}
}

// measure updates what f adds to its input's unread bytes.
func (s *Source) measure(f *file) {
	lag := f.unread()
	if f.retired || f.released {
		lag = 0
	}
	f.in.unread += lag - f.lag
	f.lag = lag
}
