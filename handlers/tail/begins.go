package tail

import "regexp/syntax"

// begins says what a line begins with that an expression matches which is
// tied to the line's start. Most lines need no more to be told apart.
type begins struct {
	empty bool // the empty line may match
	first [256]bool
}

// beginsOf returns nil for an expression that may match anywhere in a line, or
// whatever a line begins with.
func beginsOf(text string) *begins {
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil
	}
	b := &begins{}
	if !b.walk(prog, map[visit]bool{}, visit{at: uint32(prog.Start)}) {
		return nil
	}
	return b
}

// visit is an instruction, reached at the line's start or not tied to it, and
// behind its end or not.
type visit struct {
	at           uint32
	begun, ended bool
}

// walk follows all ways from v to where a byte is looked at.
func (b *begins) walk(prog *syntax.Prog, seen map[visit]bool, v visit) bool {
	if seen[v] {
		return true
	}
	seen[v] = true
	i := &prog.Inst[v.at]
	switch i.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return b.walk(prog, seen, visit{i.Out, v.begun, v.ended}) && b.walk(prog, seen, visit{i.Arg, v.begun, v.ended})
	case syntax.InstCapture, syntax.InstNop:
		return b.walk(prog, seen, visit{i.Out, v.begun, v.ended})
	case syntax.InstEmptyWidth:
		op := syntax.EmptyOp(i.Arg)
		return b.walk(prog, seen, visit{i.Out, v.begun || op&syntax.EmptyBeginText != 0, v.ended || op&syntax.EmptyEndText != 0})
	case syntax.InstMatch:
		b.empty = true
		return v.begun && v.ended
	case syntax.InstFail:
		return true
	}
	if v.ended {
		return true // nothing can follow
	}
	for c := range 0x80 {
		if i.Op == syntax.InstRuneAny || i.Op == syntax.InstRuneAnyNotNL && c != '\n' || i.MatchRune(rune(c)) {
			b.first[c] = true
		}
	}
	for c := 0x80; c < 0x100; c++ {
		b.first[c] = true
	}
	return v.begun
}

// may says whether a line can match.
func (b *begins) may(line []byte) bool {
	if len(line) == 0 {
		return b.empty
	}
	return b.first[line[0]]
}
