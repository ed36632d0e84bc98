package tail

import (
	"bytes"

	"github.com/logferry/logferry/handlers/logs"
)

// place is where reading stands in a file, and all that reading on from there
// needs to know.
type place struct {
	// pos is the next byte to hand out.
	pos int64
	// line is where the line, or the event, that pos lies in begins. It
	// equals pos except inside one that is longer than the limit.
	line int64
	// part is how many parts of that line were handed out.
	part int32
	// skip says that the rest of that line is cut off.
	skip bool
	// inside says that pos lies inside a line of the file. A long event may
	// be left between two of its lines.
	inside bool
	// half says that pos lies inside a line of a container's stream, whose
	// next piece need not be the next entry.
	half   bool
	stream uint8
}

func at(pos int64) place { return place{pos: pos, line: pos} }

// limits bound what one turn hands out.
type limits struct {
	maxLine  int  // bytes of a line, or of a part of one; at least 1
	truncate bool // cut long lines off instead of splitting them
	maxLines int
}

// split cuts data, which begins at p.pos of the file, into lines that alias
// data, appends them to lines, and returns where reading stands afterwards. An
// incomplete line at the end stays, unless it is longer than the limit or last
// says that nothing will follow.
func split(lines []logs.Line, data []byte, p place, lim limits, last bool) ([]logs.Line, place) {
	for len(data) > 0 && len(lines) < lim.maxLines {
		if p.skip {
			i := bytes.IndexByte(data, '\n')
			if i < 0 {
				p.pos += int64(len(data))
				return lines, p
			}
			p = at(p.pos + int64(i) + 1)
			data = data[i+1:]
			continue
		}
		// No more than one line's worth is searched, so that a long line
		// is not searched to its end again for each of its parts.
		window := data
		if len(window) > lim.maxLine+1 {
			window = window[:lim.maxLine+1]
		}
		i := bytes.IndexByte(window, '\n')
		if i >= 0 && p.part == 0 {
			lines = append(lines, logs.Line{Value: data[:i:i], Pos: p.pos})
			data = data[i+1:]
			p = at(p.pos + int64(i) + 1)
			continue
		}
		if i < 0 && len(window) > lim.maxLine {
			n := lim.maxLine
			l := logs.Line{Value: data[:n:n], Pos: p.line, Part: p.part, Flags: logs.FlagSplit}
			if lim.truncate {
				l.Part, l.Flags, p.skip = 0, logs.FlagTruncated, true
			}
			lines = append(lines, l)
			p.part++
			p.inside = true
			p.pos += int64(n)
			data = data[n:]
			continue
		}
		if i < 0 && !last {
			break
		}
		n, next := i, i+1
		if i < 0 {
			n, next = len(data), len(data)
		}
		l := logs.Line{Value: data[:n:n], Pos: p.line, Part: p.part}
		if p.part > 0 {
			l.Flags = logs.FlagSplit
		}
		lines = append(lines, l)
		p = at(p.pos + int64(next))
		data = data[next:]
	}
	return lines, p
}
