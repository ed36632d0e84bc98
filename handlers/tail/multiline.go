package tail

import (
	"bytes"
	"regexp"
	"time"

	"github.com/logferry/logferry/config"
)

// maxMatch is how much of a line is compared with an expression.
const maxMatch = 4 << 10

// multiline says which lines belong to the line before them.
type multiline struct {
	re       *regexp.Regexp
	begins   *begins // nil: re alone tells
	start    bool    // re matches first lines, not the others
	maxLines int
	maxWait  time.Duration
}

// presets are expressions of lines that continue an event. The line before a
// stack trace, which says what failed, belongs to it.
var presets = map[string]string{
	// Frames are indented; each cause, and the exception below the line
	// that was logged, begin with a word.
	"java": `^[ \t]|^(?:Caused by|Suppressed): |^(?:[A-Za-z_$][\w$]*\.)+[A-Za-z_$][\w$]*(?:Exception|Error|Failure|Throwable)\b`,
	// A trace ends with its exception, which is not indented; between two
	// that belong together stand a sentence and empty lines.
	"python": `^$|^[ \t]|^Traceback \(most recent call last\):|^During handling of the above exception|^The above exception was the direct cause|` +
		`^(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|ExceptionGroup|Warning|Interrupt|Exit|StopIteration|StopAsyncIteration)(?:$|:)`,
	// Goroutines are separated by empty lines; a frame is the function's
	// line and an indented one.
	"go": `^$|^[ \t]|^goroutine \d+|^\[signal |^created by |^[A-Za-z_][\w%.-]*(?:/[\w%.-]+)*\.[^\s]*\(.*\)$|^runtime stack:$|^\.\.\.additional frames elided|^exit status \d+$`,
}

func newMultiline(cfg config.Multiline) (*multiline, error) {
	m := &multiline{maxLines: cfg.MaxLines, maxWait: cfg.MaxWait.D()}
	text := presets[cfg.Preset]
	switch {
	case cfg.Start != "":
		text, m.start = cfg.Start, true
	case cfg.Continue != "":
		text = cfg.Continue
	}
	if m.maxLines <= 0 {
		m.maxLines = 500
	}
	if m.begins = beginsOf(text); m.begins != nil {
		text = "^(?:" + text + ")" // nothing else matches, and this gives up sooner
	}
	var err error
	m.re, err = regexp.Compile(text)
	return m, err
}

// continues says whether a line belongs to the one before it.
func (m *multiline) continues(line []byte) bool {
	if len(line) > maxMatch {
		line = line[:maxMatch]
	}
	line = bytes.TrimSuffix(line, []byte{'\r'})
	match := (m.begins == nil || m.begins.may(line)) && m.re.Match(line)
	return match != m.start
}
