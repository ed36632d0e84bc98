package index

import (
	"encoding/binary"
	"math/bits"
)

// A line that is a JSON object is sent as it is, so it must be exactly what
// Elasticsearch's parser takes, and a few of its root members must be known.
// scan does both in one pass, in the time that gjson takes to validate alone.
// The parsers at hand were tried: gjson and fastjson recurse without a limit,
// which a line of brackets turns into a stack overflow, and would need a second
// pass for depth, keys and members; encoding/json takes four times as long.
// TestScanAgrees and FuzzScan hold scan to encoding/json's verdict.

// span is a range of bytes of a line; the zero value is none.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// Ranks of root members that may hold the document's time, the first wins.
const (
	rankTimestamp = iota // @timestamp
	rankTime             // time
	rankPlain            // timestamp
	rankTS               // ts
	ranks
)

type scanResult uint8

const (
	notObject scanResult = iota
	isObject
	beyondLimits
)

// shape is what scan learns of a line.
type shape struct {
	keys     int
	nonASCII bool
	// breaks says that line breaks stand between tokens.
	breaks bool
	// reserved says that the root holds members under log or logferry.
	reserved bool
	// hostTaken says that adding host.name would repeat a field or conflict
	// with one.
	hostTaken bool
	empty     bool
	times     [ranks]span
	// open and close are the places of the root's braces.
	open, close int
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// scan says whether line is one JSON object within the limits, and fills s.
// Depth counts objects, arrays, and dots in keys, which Elasticsearch takes
// for objects.
func (s *shape) scan(line []byte, maxDepth, maxKeys int) scanResult {
	*s = shape{}
	n := len(line)
	i := s.skipSpace(line, 0)
	if i >= n || line[i] != '{' {
		return notObject
	}
	s.open = i

	var inObject uint64 // bit d: the container at depth d is an object
	depth := 0
	root := span{} // value of the root member at hand, when its key matters
	var rootKey rootKey

value:
	if i >= n {
		return notObject
	}
	switch c := line[i]; c {
	case '{', '[':
		depth++
		if depth > maxDepth || depth > 63 {
			return beyondLimits
		}
		if i++; i < n && line[i] <= ' ' {
			i = s.skipSpace(line, i)
		}
		if i >= n {
			return notObject
		}
		if c == '[' {
			inObject &^= 1 << depth
			if line[i] == ']' {
				goto closing
			}
			goto value
		}
		inObject |= 1 << depth
		if line[i] == '}' {
			s.empty = depth == 1
			goto closing
		}
		goto key
	case '"':
		end, _, high := skipString(line, i+1)
		if end < 0 {
			return notObject
		}
		s.nonASCII = s.nonASCII || high
		i = end + 1
	case 't':
		if n-i < 4 || string(line[i:i+4]) != "true" {
			return notObject
		}
		i += 4
	case 'f':
		if n-i < 5 || string(line[i:i+5]) != "false" {
			return notObject
		}
		i += 5
	case 'n':
		if n-i < 4 || string(line[i:i+4]) != "null" {
			return notObject
		}
		i += 4
	default:
		end := skipNumber(line, i)
		if end < 0 {
			return notObject
		}
		i = end
	}

after:
	if depth == 1 && rootKey != 0 {
		root.to = i
		s.note(rootKey, root, line)
		rootKey = 0
	}
	if i < n && line[i] <= ' ' {
		i = s.skipSpace(line, i)
	}
	if i >= n {
		return notObject
	}
	switch line[i] {
	case ',':
		if i++; i < n && line[i] <= ' ' {
			i = s.skipSpace(line, i)
		}
		if inObject&(1<<depth) == 0 {
			goto value
		}
		goto key
	case '}', ']':
		goto closing
	}
	return notObject

closing:
	if (line[i] == '}') != (inObject&(1<<depth) != 0) {
		return notObject
	}
	depth--
	if depth > 0 {
		i++
		goto after
	}
	s.close = i
	if s.skipSpace(line, i+1) != n {
		return notObject
	}
	return isObject

key:
	{
		if i >= n || line[i] != '"' {
			return notObject
		}
		end, escaped, high := skipString(line, i+1)
		if end < 0 {
			return notObject
		}
		s.nonASCII = s.nonASCII || high
		s.keys++
		if s.keys > maxKeys {
			return beyondLimits
		}
		name := line[i+1 : end]
		// A key of d dots has at least 2d+1 bytes, so most need no count.
		if len(name) > 2*(maxDepth-depth) && depth+dots(name) > maxDepth {
			return beyondLimits
		}
		if i = end + 1; i < n && line[i] <= ' ' {
			i = s.skipSpace(line, i)
		}
		if i >= n || line[i] != ':' {
			return notObject
		}
		if i++; i < n && line[i] <= ' ' {
			i = s.skipSpace(line, i)
		}
		if depth == 1 {
			rootKey = rootKeyOf(name, escaped)
			root.from = i
		}
		goto value
	}
}

// rootKey names a root member that matters; 0 is any other.
type rootKey uint8

const (
	keyTimestamp rootKey = iota + 1
	keyTime
	keyPlain
	keyTS
	keyHost
	keyHostName
	keyReserved
)

func rootKeyOf(name []byte, escaped bool) rootKey {
	if escaped {
		name = unquote(name)
	}
	if len(name) < 2 {
		return 0
	}
	switch name[0] {
	case '@':
		if string(name) == "@timestamp" {
			return keyTimestamp
		}
	case 't':
		switch string(name) {
		case "time":
			return keyTime
		case "timestamp":
			return keyPlain
		case "ts":
			return keyTS
		}
	case 'h':
		if string(name) == "host" {
			return keyHost
		}
		if under(name, "host.name") {
			return keyHostName
		}
	case 'l':
		if under(name, "log") || under(name, "logferry") {
			return keyReserved
		}
	}
	return 0
}

// under says whether the dotted path is root or lies below it.
func under(path []byte, root string) bool {
	return len(path) >= len(root) && string(path[:len(root)]) == root &&
		(len(path) == len(root) || path[len(root)] == '.')
}

func (s *shape) note(k rootKey, value span, line []byte) {
	switch k {
	case keyTimestamp, keyTime, keyPlain, keyTS:
		rank := int(k - keyTimestamp)
		if s.times[rank].to == 0 {
			s.times[rank] = value
		}
	case keyHostName:
		s.hostTaken = true
	case keyReserved:
		s.reserved = true
	case keyHost:
		switch line[value.from] {
		case 'n': // null
		case '{':
			s.hostTaken = s.hostTaken || hasName(value.of(line))
		default:
			s.hostTaken = true
		}
	}
}

// hasName says whether a valid object has a member name, or one below it.
func hasName(object []byte) bool {
	for m := firstMember(object); m.ok; m = nextMember(object, m) {
		if under(m.path(object), "name") {
			return true
		}
	}
	return false
}

func (s *shape) skipSpace(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ' ', '\t':
		case '\n', '\r':
			s.breaks = true
		default:
			return i
		}
		i++
	}
	return i
}

// skipString returns the place of the quote that ends the string whose first
// byte is at i, or -1. It looks at eight bytes at a time: of w's bytes, the
// lowest one that the mask marks is a quote, a backslash or below 0x20.
func skipString(b []byte, i int) (end int, escaped, high bool) {
	var seen uint64
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			quote, slash := w^(ones*'"'), w^(ones*'\\')
			m := ((quote - ones) &^ quote) | ((slash - ones) &^ slash) | ((w - ones*0x20) &^ w)
			m &= highs
			if m != 0 {
				first := bits.TrailingZeros64(m)
				seen |= w & (1<<first - 1)
				i += first / 8
				goto found
			}
			seen |= w
			i += 8
		}
		for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
			seen |= uint64(b[i])
			i++
		}
		if i >= len(b) {
			return -1, escaped, false
		}
	found:
		if b[i] == '"' {
			return i, escaped, seen&highs != 0
		}
		if b[i] != '\\' || i+1 >= len(b) {
			return -1, escaped, false
		}
		escaped = true
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if i+6 > len(b) {
				return -1, escaped, false
			}
			for _, c := range b[i+2 : i+6] {
				if !isHex(c) {
					return -1, escaped, false
				}
			}
			i += 6
		default:
			return -1, escaped, false
		}
	}
}

func isHex(c byte) bool {
	return c-'0' <= 9 || (c|0x20)-'a' <= 5
}

// skipNumber returns the end of the number at i, or -1.
func skipNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	from := i
	if i = skipDigits(b, i); i == from || b[from] == '0' && i > from+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		from = i + 1
		if i = skipDigits(b, from); i == from {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from = i
		if i = skipDigits(b, from); i == from {
			return -1
		}
	}
	return i
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

func dots(b []byte) int {
	n := 0
	for _, c := range b {
		if c == '.' {
			n++
		}
	}
	return n
}
