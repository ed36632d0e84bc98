package index

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// maxNameLength is Elasticsearch's limit in bytes.
const maxNameLength = 255

// A line's own date may name an index this far from the record's time: three
// years back, for files of the past, and a day ahead. Dates of other ages, as of
// wrong clocks, cannot fill the cluster with indices.
const (
	oldestDay = 3 * 366 * 24 * time.Hour
	newestDay = 24 * time.Hour
)

var namePattern = regexp.MustCompile(`\{[^{}]*\}`)

type pieceKind uint8

const (
	literal pieceKind = iota
	topicPiece
	nodePiece
	datePiece
)

type piece struct {
	kind pieceKind
	text string // the literal, or the date's layout
}

// namer fills in an index template. A name is a function of the record alone.
// It remembers the last name, since records come in runs. Not safe for
// concurrent use; [namer.clone] gives a copy for another goroutine.
type namer struct {
	pieces  []piece
	allowed []string
	// step is the number of seconds for which a date reads the same.
	step int64

	topic   string
	node    []byte
	date    int64
	last    []byte
	lastErr error
	made    bool
}

// newNamer compiles a template. Names must match one of the globs of allowed,
// or are free when there is none. The error names what is wrong with the
// template, or says that a name without placeholders is not allowed.
func newNamer(template string, allowed []string) (*namer, error) {
	n := &namer{allowed: allowed}
	rest := template
	for rest != "" {
		at := namePattern.FindStringIndex(rest)
		if at == nil {
			at = []int{len(rest), len(rest)}
		}
		if text := strings.ToLower(rest[:at[0]]); text != "" {
			n.pieces = append(n.pieces, piece{literal, text})
		}
		switch field := strings.Trim(rest[at[0]:at[1]], "{}"); {
		case at[0] == at[1]:
		case field == "topic":
			n.pieces = append(n.pieces, piece{kind: topicPiece})
		case field == "node":
			n.pieces = append(n.pieces, piece{kind: nodePiece})
		case strings.HasPrefix(field, "+") && len(field) > 1:
			if n.step != 0 {
				return nil, fmt.Errorf("index %q: it has two dates", template)
			}
			n.pieces = append(n.pieces, piece{datePiece, field[1:]})
			n.step = stepOf(field[1:])
		default:
			return nil, fmt.Errorf("index %q: unknown field {%s}; known are {topic}, {node} and a date such as {+2006.01.02}", template, field)
		}
		rest = rest[at[1]:]
	}
	var sample strings.Builder
	for _, p := range n.pieces {
		if p.kind == literal {
			sample.WriteString(p.text)
		} else {
			sample.WriteByte('x')
		}
	}
	if err := config.CheckIndex(sample.String()); err != nil {
		return nil, fmt.Errorf("index %q: %w", template, err)
	}
	if len(n.pieces) == 1 && n.pieces[0].kind == literal {
		if _, err := n.name(&logs.Record{}, time.Time{}); err != nil {
			return nil, fmt.Errorf("index %q: %w", template, err)
		}
	}
	return n, nil
}

// stepOf tells a layout that shows minutes or seconds from one that does not.
func stepOf(layout string) int64 {
	day := time.Date(2001, 2, 3, 4, 0, 0, 0, time.UTC)
	if day.Format(layout) == day.Add(time.Minute+time.Second).Format(layout) {
		return 3600
	}
	return 1
}

func (n *namer) clone() *namer {
	return &namer{pieces: n.pieces, allowed: n.allowed, step: n.step}
}

// name returns the index of r, whose document has the time at. The bytes are
// valid until the next call. The error is a *logs.Refusal.
func (n *namer) name(r *logs.Record, at time.Time) ([]byte, error) {
	var date int64
	if n.step != 0 {
		if at.Before(r.Time.Add(-oldestDay)) || at.After(r.Time.Add(newestDay)) {
			at = r.Time
		}
		date = at.Unix() / n.step
	}
	if n.made && date == n.date && n.topic == r.Topic && string(n.node) == string(r.Meta.Node) {
		return n.last, n.lastErr
	}
	n.made, n.date, n.topic = true, date, r.Topic
	n.node = append(n.node[:0], r.Meta.Node...)
	n.last = n.last[:0]
	for _, p := range n.pieces {
		switch p.kind {
		case literal:
			n.last = append(n.last, p.text...)
		case topicPiece:
			n.last = appendName(n.last, r.Topic)
		case nodePiece:
			n.last = appendName(n.last, string(r.Meta.Node))
		case datePiece:
			n.last = appendName(n.last, at.UTC().Format(p.text))
		}
	}
	n.lastErr = n.check()
	return n.last, n.lastErr
}

// appendName appends value in lower case, with what a name cannot hold
// replaced, and without what it cannot begin with.
func appendName(dst []byte, value string) []byte {
	for i := range len(value) {
		c := value[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '.' || c == '_' || c == '-':
			if len(dst) == 0 {
				continue
			}
		default:
			if len(dst) == 0 {
				continue
			}
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

func (n *namer) check() error {
	if len(n.last) > maxNameLength {
		n.last = n.last[:maxNameLength]
	}
	name := string(n.last)
	if err := config.CheckIndex(name); err != nil {
		return &logs.Refusal{Index: name, Type: "invalid_index_name", Reason: err.Error()}
	}
	if len(n.allowed) > 0 && !config.MatchAny(n.allowed, name) {
		return &logs.Refusal{Index: name, Type: "index_not_allowed", Reason: fmt.Sprintf("allowed_indices does not list %q", name)}
	}
	return nil
}
