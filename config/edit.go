package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// text is a document that is edited in place: what no edit names keeps its
// bytes, comments and order among them.
type text struct {
	data  []byte
	lines []int // where each begins
	json  bool
	root  *yaml.Node
}

// errInPlace says that a place is written in a way that edits do not know.
var errInPlace = errors.New("cannot be changed in place, as it is written")

func newText(data []byte) (*text, error) {
	t := &text{data: data, lines: []int{0}, json: json.Valid(data)}
	if plain := plainJSON(data); len(plain) != len(data) {
		t.data = plain // places are told by what the parser sees
	}
	d := newDecoder("")
	if t.root = d.parse(t.data); t.root == nil {
		return nil, errInPlace
	}
	for i := 0; i < len(t.data); {
		r, n := utf8.DecodeRune(t.data[i:])
		i += n
		switch {
		case r == '\r' && i < len(t.data) && t.data[i] == '\n':
		case r == '\n', r == '\r', r == '\u0085', r == '\u2028', r == '\u2029': // the parser's line breaks
			t.lines = append(t.lines, i)
		}
	}
	return t, nil
}

// start is where a node begins; the parser counts characters.
func (t *text) start(n *yaml.Node) int {
	at := t.lines[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(t.data[at:])
		at += size
	}
	return at
}

// end is behind a node's last byte, or -1 when it is not known.
func (t *text) end(n *yaml.Node) int {
	at := t.start(n)
	rest := t.data[at:]
	switch {
	case n.Kind == yaml.AliasNode:
		return at + 1 + len(n.Value)
	case n.Kind != yaml.ScalarNode:
		return t.endOfAll(n, at)
	case n.Anchor != "" || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) != 0:
		return -1
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return at + i + 1
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		for i := 1; i < len(rest); i++ {
			if rest[i] != '\'' {
				continue
			}
			if i+1 == len(rest) || rest[i+1] != '\'' {
				return at + i + 1
			}
			i++
		}
	case bytes.HasPrefix(rest, []byte(n.Value)):
		return at + len(n.Value)
	}
	return -1
}

// endOfAll is the end of a mapping or list.
func (t *text) endOfAll(n *yaml.Node, at int) int {
	flow := n.Style&yaml.FlowStyle != 0
	if flow && (at >= len(t.data) || t.data[at] != '{' && t.data[at] != '[') {
		return -1 // an anchor or a tag is before it
	}
	if last := len(n.Content) - 1; last >= 0 {
		if at = t.endOfValue(n, last); at < 0 || !flow {
			return at
		}
	} else if at++; !flow {
		return -1
	}
	for at < len(t.data) {
		switch t.data[at] {
		case '}', ']':
			return at + 1
		case '#':
			for at < len(t.data) && t.data[at] != '\n' {
				at++
			}
		default:
			at++
		}
	}
	return -1
}

// endOfValue is the end of n's child i. One that is not written at all ends
// with the colon of its key.
func (t *text) endOfValue(n *yaml.Node, i int) int {
	value := n.Content[i]
	if n.Kind != yaml.MappingNode || i%2 == 0 || !unwritten(value) {
		return t.end(value)
	}
	at := t.end(n.Content[i-1])
	if at < 0 {
		return -1
	}
	colon := bytes.IndexByte(t.data[at:], ':')
	if colon < 0 {
		return -1
	}
	return at + colon + 1
}

func unwritten(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && n.Value == ""
}

// splice puts s in the place of the bytes from from to to.
func (t *text) splice(from, to int, s string) []byte {
	out := make([]byte, 0, len(t.data)+len(s))
	out = append(out, t.data[:from]...)
	out = append(out, s...)
	return append(out, t.data[to:]...)
}

// set writes value as that of key in m, whether it is there or not.
func (t *text) set(m *yaml.Node, key, value string) ([]byte, error) {
	i := indexOf(m, key)
	if i < 0 {
		return t.insert(m, key, value)
	}
	end := t.endOfValue(m, i+1)
	switch {
	case end < 0 || m.Content[i+1].Kind == yaml.AliasNode:
		return nil, errInPlace
	case unwritten(m.Content[i+1]):
		return t.splice(end, end, " "+value), nil
	}
	return t.splice(t.start(m.Content[i+1]), end, value), nil
}

// insert adds an entry behind the last of m.
func (t *text) insert(m *yaml.Node, key, value string) ([]byte, error) {
	entry := t.key(m, key) + ": " + value
	if m.Style&yaml.FlowStyle != 0 {
		return t.insertFlow(m, entry)
	}
	// Behind the last entry whose end is known; lines are whole.
	for i := len(m.Content) - 1; i > 0; i -= 2 {
		end := t.endOfValue(m, i)
		if end < 0 {
			continue
		}
		at := t.endOfLine(end)
		line := strings.Repeat(" ", m.Content[0].Column-1) + entry
		if at == len(t.data) && !bytes.HasSuffix(t.data, []byte("\n")) {
			return t.splice(at, at, t.newline()+line), nil
		}
		return t.splice(at, at, line+t.newline()), nil
	}
	return nil, errInPlace
}

func (t *text) insertFlow(m *yaml.Node, entry string) ([]byte, error) {
	at := t.start(m)
	if t.data[at] != '{' {
		return nil, errInPlace
	}
	n := len(m.Content)
	if n == 0 {
		return t.splice(at+1, at+1, entry), nil
	}
	end := t.endOfValue(m, n-1)
	if end < 0 {
		return nil, errInPlace
	}
	comma := ", "
	if last := m.Content[n-2]; last.Line > m.Line {
		comma = "," + t.newline() + string(t.data[t.lines[last.Line-1]:t.start(last)])
		if strings.TrimSpace(comma) != "," {
			comma = ", "
		}
	}
	return t.splice(end, end, comma+entry), nil
}

// remove takes entry i of m out. It is not the only one.
func (t *text) remove(m *yaml.Node, i int) ([]byte, error) {
	from, to := t.start(m.Content[i]), t.endOfValue(m, i+1)
	switch {
	case to < 0:
		return nil, errInPlace
	case m.Style&yaml.FlowStyle != 0 && i > 0:
		if from = t.endOfValue(m, i-1); from < 0 {
			return nil, errInPlace
		}
	case m.Style&yaml.FlowStyle != 0 || !t.alone(from):
		if i+2 >= len(m.Content) {
			return nil, errInPlace
		}
		to = t.start(m.Content[i+2])
	default:
		from, to = t.lines[m.Content[i].Line-1], t.endOfLine(to)
	}
	return t.splice(from, to, ""), nil
}

// alone says whether only spaces stand before at in its line.
func (t *text) alone(at int) bool {
	begin := bytes.LastIndexByte(t.data[:at], '\n') + 1
	return len(bytes.TrimSpace(t.data[begin:at])) == 0
}

// endOfLine is where the line after the one of at begins.
func (t *text) endOfLine(at int) int {
	if n := bytes.IndexByte(t.data[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(t.data)
}

func (t *text) newline() string {
	if bytes.Contains(t.data, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// key is written as the other keys of m are.
func (t *text) key(m *yaml.Node, key string) string {
	if t.json || len(m.Content) > 0 && m.Content[len(m.Content)-2].Style&yaml.DoubleQuotedStyle != 0 {
		return `"` + key + `"`
	}
	return key
}

// indexOf returns the place of a key in a mapping, or -1.
func indexOf(m *yaml.Node, key string) int {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// scalar writes a value that Apply has taken.
func (t *text) scalar(value string) string {
	if t.json && !json.Valid([]byte(value)) || value == "null" {
		return `"` + value + `"`
	}
	return value
}
