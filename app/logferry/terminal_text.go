package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// escape makes bytes from anywhere safe for a terminal: what does not print, nor
// is in keep, is written as Go would in a string. That leaves no control
// characters, nor those that turn text around.
func escape(b []byte, keep string) string {
	var s strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&s, `\x%02x`, b[0])
		case unicode.IsPrint(r) || strings.ContainsRune(keep, r):
			s.WriteRune(r)
		case r == '\n':
			s.WriteString(`\n`)
		case r == '\r':
			s.WriteString(`\r`)
		case r == '\t':
			s.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&s, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&s, `\u%04x`, r)
		default:
			fmt.Fprintf(&s, `\U%08x`, r)
		}
		b = b[size:]
	}
	return s.String()
}

// printable is one line that shows each byte that does not print.
func printable(b []byte) string { return escape(b, "") }

// oneLine is one line of a text, whose white space is any.
func oneLine(s string) string { return printable([]byte(strings.Join(strings.Fields(s), " "))) }

// clipped is printable, of about n characters at most.
func clipped(b []byte, n int) string {
	text := printable(b[:min(len(b), 4*n)])
	if utf8.RuneCountInString(text) <= n && len(b) <= 4*n {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), n-1)]) + "…"
}

// printText prints a text of others: as it is to a file or a program, escaped
// to a terminal.
func printText(w io.Writer, text string) {
	if onTerminal(w) {
		text = escape([]byte(text), "\n\t")
	}
	fmt.Fprint(w, text)
}

// printJSON prints a value, for people in several lines.
func printJSON(w io.Writer, value any) error {
	e := jsonLines(w)
	if onTerminal(w) {
		e.SetIndent("", "  ")
	}
	return e.Encode(value)
}

// jsonLines writes each value as a line that is safe for a terminal.
func jsonLines(w io.Writer) *json.Encoder {
	e := json.NewEncoder(cleanJSON{w})
	e.SetEscapeHTML(false)
	return e
}

// cleanJSON escapes in JSON what encoding/json leaves as it is although a
// terminal might obey it. It takes whole lines.
type cleanJSON struct{ w io.Writer }

func (c cleanJSON) Write(p []byte) (int, error) {
	clean := true
	for _, b := range p {
		if b >= utf8.RuneSelf || b == 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return c.w.Write(p)
	}
	var out bytes.Buffer
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == '\n' || unicode.IsPrint(r) || r < ' ':
			out.Write(rest[:size])
		case r <= 0xffff:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		}
		rest = rest[size:]
	}
	if _, err := c.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func count[T int | int64](n T) string { return humanize.Comma(int64(n)) }
