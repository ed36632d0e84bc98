package tail

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// cutAll splits data as turns would that get it piece by piece.
func cutAll(data []byte, piece int, lim limits, last bool) ([]logs.Line, place) {
	var out []logs.Line
	var p place
	end := 0
	for {
		end = min(max(end, int(p.pos))+piece, len(data))
		lines, next := split(nil, data[p.pos:end], p, lim, last && end == len(data))
		out = append(out, lines...)
		if next == p && end == len(data) {
			return out, p
		}
		p = next
	}
}

func TestSplitLongLines(t *testing.T) {
	data := []byte("abc\nabcd\nabcde\n" + strings.Repeat("x", 12) + "\n\nabcdefgh\ne")
	type line struct {
		text  string
		pos   int64
		part  int32
		flags logs.Flags
	}
	for piece := 1; piece <= len(data); piece++ {
		lines, p := cutAll(data, piece, limits{maxLine: 4, maxLines: 3}, false)
		var gotten []line
		for _, l := range lines {
			gotten = append(gotten, line{string(l.Value), l.Pos, l.Part, l.Flags})
		}
		require.Equal(t, []line{
			{"abc", 0, 0, 0}, {"abcd", 4, 0, 0},
			{"abcd", 9, 0, logs.FlagSplit}, {"e", 9, 1, logs.FlagSplit},
			{"xxxx", 15, 0, logs.FlagSplit}, {"xxxx", 15, 1, logs.FlagSplit}, {"xxxx", 15, 2, logs.FlagSplit},
			{"", 28, 0, 0},
			{"abcd", 29, 0, logs.FlagSplit}, {"efgh", 29, 1, logs.FlagSplit},
		}, gotten, "in pieces of %d", piece)
		require.Equal(t, at(38), p)
	}
	lines, p := cutAll(data, 5, limits{maxLine: 4, maxLines: 3, truncate: true}, true)
	var texts []string
	for _, l := range lines {
		texts = append(texts, string(l.Value)+l.Flags.String())
	}
	require.Equal(t, []string{"abc", "abcd", "abcdtruncated", "xxxxtruncated", "", "abcdtruncated", "e"}, texts)
	require.Equal(t, at(39), p)
}

// Whatever the bytes, and however they are read, the parts of the lines are
// the bytes that were there.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\n\x00long long line\nrest"), 3, 5)
	f.Add([]byte("aaaa\naaaaa"), 1, 4)
	f.Fuzz(func(t *testing.T, data []byte, piece, maxLine int) {
		piece, maxLine = 1+abs(piece)%100, 1+abs(maxLine)%20
		lines, p := cutAll(data, piece, limits{maxLine: maxLine, maxLines: 7}, true)
		require.Equal(t, int64(len(data)), p.pos)
		var back []byte
		for i, l := range lines {
			require.LessOrEqual(t, len(l.Value), maxLine)
			if l.Part == 0 {
				require.Equal(t, int64(len(back)), l.Pos)
			}
			back = append(back, l.Value...)
			if i+1 == len(lines) || lines[i+1].Part == 0 {
				if len(back) < len(data) {
					back = append(back, '\n')
				}
			}
		}
		require.True(t, bytes.Equal(back, data))
		whole, _ := cutAll(data, len(data)+1, limits{maxLine: maxLine, maxLines: 1 << 20}, true)
		require.Equal(t, len(whole), len(lines))
		cut, _ := cutAll(data, piece, limits{maxLine: maxLine, maxLines: 7, truncate: true}, true)
		for _, l := range cut {
			require.Zero(t, l.Part)
		}
	})
}

func abs(n int) int {
	if n < 0 {
		return max(-n, 0)
	}
	return n
}

func TestLongLineInAFile(t *testing.T) {
	r := newRig(t)
	r.inputs[0].MaxLineBytes = 300_000
	r.o.MaxInFlightBytes = 4 << 20
	long := strings.Repeat("0123456789", 500_000) // 5 MB
	r.write("a.log", "before\n"+long[:2_500_000])
	r.start()
	time.Sleep(50 * time.Millisecond)
	r.end() // inside the long line
	r.write("a.log", long[2_500_000:]+"\nafter\n")
	r.start()
	r.waitFor(func() bool { all := r.texts(); return len(all) > 0 && all[len(all)-1] == "after" })
	var b strings.Builder
	for i, l := range r.all()[1:] {
		if l.text == "after" {
			require.Equal(t, int64(8+len(long)), l.pos)
			continue
		}
		require.Equal(t, int64(7), l.pos)
		require.Equal(t, int32(i), l.part)
		require.Equal(t, logs.FlagSplit, l.flags)
		b.WriteString(l.text)
	}
	require.True(t, b.String() == long)
}

func TestTruncatedLongLine(t *testing.T) {
	r := newRig(t)
	r.inputs[0].MaxLineBytes = 1000
	r.inputs[0].OnLongLine = "truncate"
	r.write("a.log", strings.Repeat("x", 3_000_000)+"\nafter\n")
	r.start()
	r.wait(strings.Repeat("x", 1000), "after")
	require.Equal(t, logs.FlagTruncated, r.all()[0].flags)
	r.end()
	r.forget()
	r.start()
	r.write("a.log", "more\n")
	r.wait("more")
}

// A line that grows byte by byte is not read from its start again each time.
func TestSlowLongLine(t *testing.T) {
	r := newRig(t)
	half := strings.Repeat("y", 600_000)
	r.write("a.log", half)
	r.start()
	for range 50 {
		r.write("a.log", "z")
		time.Sleep(2 * time.Millisecond)
	}
	r.write("a.log", "\nnext\n")
	r.wait(half+strings.Repeat("z", 50), "next")
}

func TestBytesAreNotTouched(t *testing.T) {
	r := newRig(t)
	var all []byte
	for i := range 256 {
		if i != '\n' {
			all = append(all, byte(i))
		}
	}
	require.NoError(t, os.WriteFile(r.path("a.log"), append(append([]byte{}, all...), "\n\n\x00\n"...), 0o644))
	r.start()
	r.wait(string(all), "", "\x00")
}

func TestThrottledTurnsAreSmall(t *testing.T) {
	bytes, lines := throttled(config.Throttle{LinesPerSecond: 100}, maxChunk, maxLines)
	require.Equal(t, []int{maxChunk, 5}, []int{bytes, lines})
	bytes, lines = throttled(config.Throttle{BytesPerSecond: 20_000}, maxChunk, maxLines)
	require.Equal(t, []int{1000, maxLines}, []int{bytes, lines})

	r := newRig(t)
	r.inputs[0].Throttle = config.Throttle{BytesPerSecond: 200} // 10 bytes a turn, lines are longer
	text, lines2 := numbered("a line longer than that", 0, 30)
	r.write("a.log", text)
	r.start()
	r.wait(lines2...)
}
