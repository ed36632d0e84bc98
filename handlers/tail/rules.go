package tail

import (
	"fmt"
	"time"

	"github.com/logferry/logferry/config"
)

// rules say how an input's bytes become lines when there is more to it than
// looking for newlines. They are immutable and shared by all turns. A nil
// *rules stands for lines as they are, which split cuts.
type rules struct {
	code  *code      // nil: utf-8, whatever it holds
	parse *parser    // nil: nothing is wrapped around a line
	multi *multiline // nil: a line is an event of its own
}

// newRules returns nil when split does all that cfg asks for.
func newRules(cfg config.Input) (*rules, error) {
	r := &rules{code: codes[cfg.Encoding], parse: parsers[cfg.Format]}
	if cfg.Multiline.On() {
		m, err := newMultiline(cfg.Multiline)
		if err != nil {
			return nil, fmt.Errorf("input %q: read multiline: %w", cfg.Name, err)
		}
		r.multi = m
	}
	if *r == (rules{}) {
		return nil, nil
	}
	return r, nil
}

// newline returns the index of the first newline in b, which begins at a whole
// character, or -1.
func (r *rules) newline(b []byte) int { return r.coded().newline(b) }

// lastNewline returns the index of the last newline in b, or -1.
func (r *rules) lastNewline(b []byte) int { return r.coded().lastNewline(b) }

// unit is how many bytes a newline has.
func (r *rules) unit() int {
	if c := r.coded(); c != nil {
		return c.unit
	}
	return 1
}

func (r *rules) coded() *code {
	if r == nil {
		return nil
	}
	return r.code
}

// defaultWait is how long a piece of a stream's line is waited for where no
// lines are joined.
const defaultWait = time.Second

// wait is how long a file must be quiet before its last event is complete.
func (r *rules) wait() time.Duration {
	if r == nil || r.multi == nil || r.multi.maxWait <= 0 {
		return defaultWait
	}
	return r.multi.maxWait
}

// joins says whether a file's last line may go on in the next file.
func (r *rules) joins() bool { return r != nil && (r.multi != nil || r.parse != nil) }

// alias says whether an event's text is the file's own bytes.
func (r *rules) alias() bool { return r.code == nil && r.parse == nil }

// most returns how many bytes a turn needs at most to get on: the longest line,
// behind an event that it may or may not belong to, behind which the next piece
// of a stream's line may be needed too.
func (r *rules) most(maxLine int) int {
	n := maxLine + r.unit()
	switch {
	case r == nil || r.parse == nil && r.multi == nil:
		return n
	case r.parse == nil:
		return 2 * n
	}
	return 3 * n
}

// grows returns how many bytes of memory a byte of the file may take: its own,
// and those of the text that is made of it.
func (r *rules) grows() int {
	switch {
	case r == nil || r.alias():
		return 1
	case r.code == nil:
		return 2
	}
	return 1 + r.code.grows
}
