package tail

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// piece is one entry of a container's log: what the runtime wrote for a line,
// or for a piece of a long one.
type piece struct {
	text    []byte // aliases the entry
	escaped bool   // text is the inside of a JSON string
	partial bool   // the line goes on in the stream's next entry
	stream  int    // 0: standard output, 1: standard error
	time    int64  // when it was written, Unix nanoseconds; 0 for not known
}

const streams = 2

// parser reads an entry, and says whether it is one.
type parser func(entry []byte) (piece, bool)

// parsers are by the name of their format. Each is a pointer, so that rules
// can be compared.
var parsers = map[string]*parser{"cri": ptr(parseCRI), "docker": ptr(parseDocker)}

func ptr(p parser) *parser { return &p }

// parseCRI reads what the container runtimes of Kubernetes write:
//
//	2026-01-02T15:04:05.999999999Z stdout F the line
//
// P in the place of F marks a piece that the line goes on after. Further tags
// may follow it after a colon.
func parseCRI(entry []byte) (piece, bool) {
	when, rest, _ := bytes.Cut(entry, []byte{' '})
	stream, rest, _ := bytes.Cut(rest, []byte{' '})
	tags, text, ok := bytes.Cut(rest, []byte{' '})
	if !ok { // an empty line may come without the space after its tag
		tags, text = rest, nil
	}
	p := piece{text: text}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	switch string(tag) {
	case "F":
	case "P":
		p.partial = true
	default:
		return p, false
	}
	p.time, ok = parseTime(when)
	return p, ok && p.from(stream)
}

// from notes the stream by its name, and says whether it is one.
func (p *piece) from(stream []byte) bool {
	switch string(stream) {
	case "stdout":
	case "stderr":
		p.stream = 1
	default:
		return false
	}
	return true
}

func parseTime(b []byte) (int64, bool) {
	var t time.Time
	if t.UnmarshalText(b) != nil || t.Year() < 1970 || t.Year() > 2200 {
		return 0, false
	}
	return t.UnixNano(), true
}

// parseDocker reads what Docker's json-file driver writes:
//
//	{"log":"the line\n","stream":"stdout","time":"2026-01-02T15:04:05.999999999Z"}
//
// A log without a newline at its end is a piece that the line goes on after.
func parseDocker(entry []byte) (piece, bool) {
	p := piece{escaped: true}
	o := object{rest: entry}
	var log, stream bool
	for o.next() {
		switch string(o.key) {
		case "log":
			if !o.text || !escapesGood(o.value) {
				return p, false
			}
			log = true
			p.text, p.partial = o.value, true
			if text, ok := bytes.CutSuffix(o.value, []byte(`\n`)); ok && !escapedBy(text) {
				p.text, p.partial = text, false
			}
		case "stream":
			stream = o.text && p.from(o.value)
		case "time":
			p.time, _ = parseTime(o.value)
		}
	}
	return p, o.good && log && stream
}

// escapedBy says whether text ends in a backslash that escapes what follows.
func escapedBy(text []byte) bool {
	n := len(text) - len(bytes.TrimRight(text, `\`))
	return n%2 == 1
}

// object reads the members of a JSON object one by one. It is good once next
// has returned false behind the object's end.
type object struct {
	rest       []byte
	begun      bool
	good       bool
	key, value []byte // inside their quotes, escapes and all
	text       bool   // the value is a string
}

func (o *object) next() bool {
	sep := byte(',')
	if !o.begun {
		o.begun, sep = true, '{'
	} else if o.skip('}') {
		o.good = len(bytes.TrimSpace(o.rest)) == 0
		return false
	}
	if !o.skip(sep) {
		return false
	}
	var ok bool
	if o.key, ok = o.quoted(); !ok || !o.skip(':') {
		return false
	}
	o.value, o.text = o.quoted()
	return o.text || o.other()
}

// skip takes spaces and then c.
func (o *object) skip(c byte) bool {
	o.rest = bytes.TrimLeft(o.rest, " \t\r")
	if len(o.rest) == 0 || o.rest[0] != c {
		return false
	}
	o.rest = o.rest[1:]
	return true
}

// quoted takes a string.
func (o *object) quoted() ([]byte, bool) {
	if !o.skip('"') {
		return nil, false
	}
	for i := 0; ; {
		j := bytes.IndexByte(o.rest[i:], '"')
		if j < 0 {
			return nil, false
		}
		i += j
		if s := o.rest[:i]; !escapedBy(s) {
			o.rest = o.rest[i+1:]
			return s, true
		}
		i++
	}
}

// other takes a value that is no string, as far as to know where it ends.
func (o *object) other() bool {
	depth := 0
	for len(o.rest) > 0 {
		switch c := o.rest[0]; {
		case c == '"':
			if _, ok := o.quoted(); !ok {
				return false
			}
			continue
		case c == '{' || c == '[':
			depth++
		case depth == 0 && (c == ',' || c == '}'):
			return true
		case c == '}' || c == ']':
			depth--
		}
		o.rest = o.rest[1:]
	}
	return false
}

// escapesGood says whether unescape can read the inside of a JSON string.
func escapesGood(s []byte) bool {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return true
		}
		n := 2
		if i+1 >= len(s) {
			return false
		}
		if s[i+1] == 'u' {
			n = 6
			if _, ok := hex4(s[i:]); !ok {
				return false
			}
		} else if bytes.IndexByte([]byte(`"\/bfnrt`), s[i+1]) < 0 {
			return false
		}
		s = s[i+n:]
	}
}

// hex4 reads \uXXXX at the start of s.
func hex4(s []byte) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	return rune(n), err == nil
}

// unescape appends what the inside of a JSON string stands for.
func unescape(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		r, n := rune(s[1]), 2
		switch s[1] {
		case 'b':
			r = '\b'
		case 'f':
			r = '\f'
		case 'n':
			r = '\n'
		case 'r':
			r = '\r'
		case 't':
			r = '\t'
		case 'u':
			r, _ = hex4(s)
			n = 6
			if low, ok := hex4(s[6:]); ok && utf16.IsSurrogate(r) {
				if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
					r, n = both, 12
				}
			}
		}
		dst = utf8.AppendRune(dst, r) // half a surrogate pair is U+FFFD
		s = s[n:]
	}
}
