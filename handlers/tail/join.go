package tail

import (
	"golang.org/x/text/encoding"

	"github.com/logferry/logferry/handlers/logs"
)

// joiner makes events of the lines in one chunk. Lines of the file become
// lines of a stream, which a container's runtime may have cut into pieces, and
// those become events.
//
// A turn that comes later, or after a crash, begins with nothing but a place.
// So reading stands only where a place says all there is to know: between two
// events, or inside one that is too long to be handed out at once. What was
// read behind that is read again. It follows that the events, and the parts of
// long ones, do not depend on how the file was read, but for those that a
// quiet time ended.
type joiner struct {
	*rules
	lim   limits
	dec   *encoding.Decoder
	data  []byte
	base  int64 // position of data[0]
	lines []logs.Line
	text  []byte // of the events, unless they alias data
	quiet bool   // what is open is ended because nothing came

	ev     event
	halves [streams]half
	inside bool // the next byte lies inside a line of the file
	last   int  // offset behind the last line that was taken

	done  place // where reading may stand,
	kept  int   // when so many lines are handed out
	group int   // offset of done.pos
}

// event is what the next line may belong to.
type event struct {
	open     bool  // it has a text that is not handed out
	line     int64 // position of its first byte
	part     int32 // how many parts of it were handed out
	skip     bool  // the rest of it is cut off
	n        int   // lines in the text
	from, to int   // of its text in j.text, or in data
	stream   int
	time     int64
}

// half is a stream's line that its runtime has not written to its end.
type half struct {
	open   bool
	from   int // offset of its first byte
	clean  bool
	pieces []piece

	rest bool // it belongs to an event of which parts were handed out:
	line int64
	part int32
	skip bool
}

// line is one line, or a part of a long one.
type line struct {
	from, end, next int  // offsets of its first byte, of its end, and behind its newline
	clean           bool // no other line was incomplete at from
	pieces          []piece
	of              *half // what it was a half of, if it was
	rest            bool  // it goes on where the event's last line was cut
	more            bool  // it goes on in the next part
}

// join cuts data, which begins at p.pos of the file, into events. It appends
// them to buf.lines and returns where reading stands, and what it left open.
// last says that nothing will follow, quiet that nothing came for a while.
func (r *rules) join(buf *buffer, data []byte, p place, lim limits, last, quiet bool) (place, rest) {
	j := &joiner{
		rules: r, lim: lim, data: data, base: p.pos, lines: buf.lines, text: buf.text[:0], quiet: quiet,
		done: p, inside: p.inside,
	}
	if r.code != nil {
		j.dec = r.code.NewDecoder()
	}
	if !r.alias() && cap(j.text) < len(data) {
		j.text = make([]byte, 0, len(data))
	}
	if p.part > 0 && p.half {
		h := &j.halves[p.stream]
		h.rest, h.line, h.part, h.skip = true, p.line, p.part, p.skip
	} else if p.part > 0 {
		j.ev.line, j.ev.part, j.ev.skip = p.line, p.part, p.skip
	}
	full := j.run(last)
	buf.lines, buf.text = j.lines[:j.kept], j.text
	return j.done, rest{full: full, open: j.ev.open || j.unfinished()}
}

// rest says what a chunk holds behind the place that reading stands at.
type rest struct {
	full bool // the batch was full
	open bool // an event, all of whose lines are complete, that may go on
}

func (j *joiner) run(last bool) (full bool) {
	off := 0
	if b := j.mark(); b > 0 {
		off = b
		j.settle(off, false)
	}
	for off < len(j.data) {
		if len(j.lines) >= j.lim.maxLines && j.kept > 0 {
			return true
		}
		l, ok := j.find(off, last)
		if !ok {
			break
		}
		if off > j.group && l.end-j.group > j.lim.maxLine && j.unfinished() {
			j.force(off, true)
		}
		j.take(&l)
		off = l.next
	}
	if len(j.lines) >= j.lim.maxLines && j.kept > 0 {
		return true
	}
	if j.quiet || last {
		j.force(off, !last)
		if j.ev.open {
			j.end()
			j.settle(off, j.inside)
		}
	}
	return false
}

// mark returns the length of the mark that a file may begin with.
func (j *joiner) mark() int {
	if j.base != 0 || j.code == nil || len(j.data) < len(j.code.bom) || string(j.data[:len(j.code.bom)]) != j.code.bom {
		return 0
	}
	return len(j.code.bom)
}

// find returns the file's line at off, or as much of it as a record may hold.
func (j *joiner) find(off int, last bool) (line, bool) {
	l := line{from: off, clean: !j.unfinished()}
	window := j.data[off:]
	if len(window) > j.lim.maxLine+j.unit() {
		window = window[:j.lim.maxLine+j.unit()]
	}
	i := j.newline(window)
	switch {
	case i >= 0:
		l.end, l.next = off+i, off+i+j.unit()
	case len(window) == j.lim.maxLine+j.unit():
		l.end, l.next, l.more = off+j.lim.maxLine, off+j.lim.maxLine, true
	case last:
		l.end, l.next = len(j.data), len(j.data)
	default:
		return l, false
	}
	return l, true
}

// take takes a line of the file. l.next is less afterwards when a character
// would have been cut.
func (j *joiner) take(l *line) {
	switch {
	case j.inside:
		l.rest = true
	case j.parse != nil && !l.more:
		if p, ok := (*j.parse)(j.data[l.from:l.end]); ok {
			j.takePiece(l, p)
			return
		}
	}
	j.inside = l.more
	j.add(l)
}

func (j *joiner) takePiece(l *line, p piece) {
	h := &j.halves[p.stream]
	if h.rest && h.skip {
		if l.end-j.group > j.lim.maxLine {
			j.end() // it does not wait for the end of another long line
		}
		h.rest = p.partial
		j.last = l.next
		j.settleIfDone(l.next)
		return
	}
	if !h.open {
		h.from, h.clean, h.pieces = l.from, l.clean, h.pieces[:0]
	}
	h.open = true
	h.pieces = append(h.pieces, p)
	if !p.partial {
		j.finish(h, l.end, l.next, false)
	}
}

// finish takes a half as a line, or as a part of one when more follows.
func (j *joiner) finish(h *half, end, next int, more bool) {
	h.open = false
	j.add(&line{
		from: h.from, end: end, next: next, clean: h.clean, pieces: h.pieces,
		of: h, rest: h.rest, more: more,
	})
}

// unfinished says whether a stream's line lacks its end.
func (j *joiner) unfinished() bool {
	for i := range j.halves {
		if j.halves[i].open {
			return true
		}
	}
	return false
}

// force takes the halves as they are at off, those that began first first.
func (j *joiner) force(off int, more bool) {
	for j.unfinished() {
		var first *half
		for i := range j.halves {
			if h := &j.halves[i]; h.open && (first == nil || h.from < first.from) {
				first = h
			}
		}
		j.finish(first, off, off, more)
	}
}

// add adds a line to the event it belongs to.
func (j *joiner) add(l *line) {
	if l.of != nil && l.rest {
		j.end()
		j.ev = event{line: l.of.line, part: l.of.part, skip: l.of.skip}
		l.of.rest = false
	}
	mark := len(j.text)
	from, to := j.put(l)
	clean := l.clean && j.last <= l.from
	j.last = l.next
	ev := &j.ev
	switch {
	case l.rest:
	case j.multi == nil, !ev.open && ev.part == 0, !j.multi.continues(j.bytes(from, to)):
		j.end()
		*ev = event{line: j.base + int64(l.from)}
		if clean {
			j.settle(l.from, false)
		}
	case ev.open && (ev.n >= j.multi.maxLines || l.end-j.group > j.lim.maxLine):
		j.cut()
		if clean {
			j.settle(l.from, false)
		}
	}
	if ev.skip {
		j.text = j.text[:mark]
	} else {
		if !ev.open {
			ev.open, ev.from, ev.n, ev.stream, ev.time = true, from, 0, 0, 0
			if len(l.pieces) > 0 {
				ev.stream, ev.time = l.pieces[0].stream, l.pieces[0].time
			}
		}
		ev.to = to
		ev.n++
		if l.more {
			j.cut()
		}
	}
	if !l.more && j.multi == nil {
		j.end()
	}
	if l.more && l.of != nil {
		l.of.rest, l.of.line, l.of.part, l.of.skip = true, ev.line, ev.part, ev.skip
		*ev = event{}
	}
	j.settleIfDone(l.next)
}

// put makes the text of a line, behind the event's if it may belong to that,
// and returns where it stands.
func (j *joiner) put(l *line) (from, to int) {
	if j.alias() {
		return l.from, l.end
	}
	if j.ev.open && !l.rest {
		j.text = append(j.text, '\n')
	}
	from = len(j.text)
	raw := j.data[l.from:l.end]
	switch {
	case l.pieces != nil:
		for _, p := range l.pieces {
			if p.escaped {
				j.text = unescape(j.text, p.text)
			} else {
				j.text = append(j.text, p.text...)
			}
		}
	case j.code == nil:
		j.text = append(j.text, raw...)
	default:
		var n int
		j.text, n = decodeText(j.dec, j.text, raw, !l.more)
		if l.more && n > 0 && n < len(raw) {
			l.end, l.next = l.from+n, l.from+n
		}
	}
	return from, len(j.text)
}

// bytes returns a text that put made.
func (j *joiner) bytes(from, to int) []byte {
	if j.alias() {
		return j.data[from:to:to]
	}
	return j.text[from:to:to]
}

// end hands out the event, if there is something left of it, and forgets it.
func (j *joiner) end() {
	if j.ev.open {
		j.emit(0)
	}
	j.ev = event{}
}

// cut hands out what there is of an event that is too long.
func (j *joiner) cut() {
	if j.lim.truncate && !j.quiet {
		j.emit(logs.FlagTruncated)
		j.ev.skip = true
	} else {
		j.emit(logs.FlagSplit)
	}
	j.ev.part++
	j.ev.open = false
}

func (j *joiner) emit(flags logs.Flags) {
	if j.ev.part > 0 {
		flags |= logs.FlagSplit
	}
	if j.ev.stream == 1 {
		flags |= logs.FlagStderr
	}
	j.lines = append(j.lines, logs.Line{
		Value: j.bytes(j.ev.from, j.ev.to), Pos: j.ev.line, Part: j.ev.part, Flags: flags, Time: j.ev.time,
	})
}

func (j *joiner) settleIfDone(off int) {
	if !j.ev.open && !j.unfinished() {
		j.settle(off, j.inside)
	}
}

// settle notes that reading may stand at off. What a place cannot tell is
// forgotten, so that going on is the same as beginning here.
func (j *joiner) settle(off int, inside bool) {
	p := at(j.base + int64(off))
	if j.ev.part > 0 {
		p.line, p.part, p.skip, p.inside = j.ev.line, j.ev.part, j.ev.skip, inside
	}
	for i := range j.halves {
		h := &j.halves[i]
		if !h.rest {
			continue
		}
		if p.part > 0 {
			h.rest = false
			continue
		}
		p.line, p.part, p.skip, p.half, p.stream = h.line, h.part, h.skip, true, uint8(i)
	}
	j.done, j.kept, j.group = p, len(j.lines), off
}
