package tail

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// pattern is one absolute glob of an input, cut at its slashes.
type pattern struct {
	in   *input
	segs []segment
}

type segment struct {
	text    string
	literal bool
	stars   bool // **
}

func (s segment) match(name string) bool {
	if s.literal {
		return s.text == name
	}
	return doublestar.MatchUnvalidated(s.text, name)
}

// compile cuts a glob into patterns: more than one when braces hold slashes.
func compile(in *input, glob string) ([]*pattern, error) {
	if !doublestar.ValidatePattern(glob) {
		return nil, fmt.Errorf("read pattern %q: syntax error", glob)
	}
	abs, err := filepath.Abs(glob)
	if err != nil {
		return nil, fmt.Errorf("read pattern %q: %w", glob, err)
	}
	var out []*pattern
	for _, g := range expand(abs) {
		p := &pattern{in: in}
		for text := range strings.SplitSeq(strings.Trim(filepath.Clean(g), "/"), "/") {
			s := segment{text: text, literal: !strings.ContainsAny(text, `*?[{\`), stars: text == "**"}
			// ** after ** adds nothing but work.
			if n := len(p.segs); s.stars && n > 0 && p.segs[n-1].stars {
				continue
			}
			p.segs = append(p.segs, s)
		}
		out = append(out, p)
	}
	return out, nil
}

// base returns the folder that p's search begins in, and the segment that is
// looked for there.
func (p *pattern) base() (string, int) {
	i := 0
	for i < len(p.segs)-1 && p.segs[i].literal {
		i++
	}
	var b strings.Builder
	for _, s := range p.segs[:i] {
		b.WriteByte('/')
		b.WriteString(s.text)
	}
	if i == 0 {
		return "/", 0
	}
	return b.String(), i
}

// expand replaces braces that hold slashes by their alternatives.
func expand(glob string) []string {
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			i++
		case '{':
			end, commas := closing(glob, i)
			if end < 0 {
				return []string{glob}
			}
			if !strings.Contains(glob[i:end], "/") {
				i = end
				continue
			}
			var out []string
			from := i + 1
			for _, to := range append(commas, end) {
				out = append(out, expand(glob[:i]+glob[from:to]+glob[end+1:])...)
				from = to + 1
			}
			return out
		}
	}
	return []string{glob}
}

// closing finds the brace that closes the one at open, and the commas between
// that are not inside other braces.
func closing(glob string, open int) (end int, commas []int) {
	depth := 0
	for i := open; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			i++
		case '{':
			depth++
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		case '}':
			if depth--; depth == 0 {
				return i, commas
			}
		}
	}
	return -1, nil
}
