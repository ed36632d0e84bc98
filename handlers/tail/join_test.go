package tail

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func rulesOf(t testing.TB, cfg config.Input) *rules {
	r, err := newRules(cfg)
	require.NoError(t, err)
	return r
}

// event is one as a test names it.
type anEvent struct {
	text  string
	pos   int64
	part  int32
	flags logs.Flags
}

// joinAll cuts data as turns would that get it piece by piece, which begin
// with nothing but what a checkpoint keeps of a place.
func joinAll(t testing.TB, r *rules, data []byte, piece int, lim limits, last bool) ([]anEvent, place) {
	var out []anEvent
	var p place
	end := 0
	for need := 0; ; {
		have := max(need, piece)
		end = min(max(end, int(p.pos)+have), len(data))
		buf := &buffer{}
		// What a turn reads is its own, as long as its lines are.
		next, _ := r.join(buf, bytes.Clone(data[p.pos:end]), p, lim, last && end == len(data), false)
		for _, l := range buf.lines {
			out = append(out, anEvent{string(l.Value), l.Pos, l.Part, l.Flags})
		}
		if next == p && end == len(data) {
			return out, p
		}
		if next == p {
			require.Less(t, end-int(p.pos), r.most(lim.maxLine), "no progress at %+v of %q", p, data)
			need = min(end-int(p.pos)+piece, r.most(lim.maxLine))
			continue
		}
		need = 0
		require.GreaterOrEqual(t, next.pos, p.pos)
		var kept place
		kept.pos, kept.line, kept.part = next.pos, next.line, next.part
		kept.setFlags(next.flags())
		require.Equal(t, next, kept)
		p = kept
	}
}

func texts(events []anEvent) (out []string) {
	for _, e := range events {
		text := e.text
		if e.flags != 0 {
			text += fmt.Sprintf("|%d %s", e.part, e.flags)
		}
		out = append(out, text)
	}
	return out
}

const javaTrace = `2026-01-02 ERROR it failed
java.lang.IllegalStateException: no
	at a.b.C.d(C.java:1)
	... 3 more
Caused by: java.io.IOException
	at x.Y.z(Y.java:2)
2026-01-02 INFO on
2026-01-02 INFO and on
`

func TestJoin(t *testing.T) {
	java := rulesOf(t, config.Input{Multiline: config.Multiline{Preset: "java"}})
	lim := limits{maxLine: 1000, maxLines: 100}
	for piece := 1; piece <= len(javaTrace)+1; piece++ {
		events, p := joinAll(t, java, []byte(javaTrace), piece, lim, false)
		require.Equal(t, []anEvent{
			{strings.TrimSuffix(javaTrace[:strings.Index(javaTrace, "2026-01-02 INFO on")], "\n"), 0, 0, 0},
			{"2026-01-02 INFO on", 148, 0, 0},
		}, events)
		require.Equal(t, at(167), p)
	}
	events, p := joinAll(t, java, []byte(javaTrace), 50, lim, true)
	require.Len(t, events, 3)
	require.Equal(t, at(int64(len(javaTrace))), p)
}

func TestJoinByFirstLines(t *testing.T) {
	data := []byte("lost\nlost too\n1 a\n b\n\n2 c\r\nd\r\n3 e\n")
	r := rulesOf(t, config.Input{Multiline: config.Multiline{Start: `^\d`}})
	for piece := 1; piece <= len(data)+1; piece++ {
		events, p := joinAll(t, r, data, piece, limits{maxLine: 20, maxLines: 2}, true)
		require.Equal(t, []anEvent{
			{"lost\nlost too", 0, 0, 0}, {"1 a\n b\n", 14, 0, 0}, {"2 c\r\nd\r", 22, 0, 0}, {"3 e", 30, 0, 0},
		}, events)
		require.Equal(t, at(34), p)
	}
}

// An event beyond its limits is handed out in parts, or cut off.
func TestJoinLongEvents(t *testing.T) {
	data := []byte("1\na\nb\nc\nd\n2\n" + strings.Repeat("x", 25) + "\ny\n3 34567890\nb\n4\nc\n")
	multi := config.Multiline{Start: `^\d`, MaxLines: 3}
	r := rulesOf(t, config.Input{Multiline: multi})
	for piece := 1; piece <= len(data)+1; piece++ {
		events, p := joinAll(t, r, data, piece, limits{maxLine: 10, maxLines: 3}, true)
		require.Equal(t, []string{
			"1\na\nb|0 split", "c\nd|1 split",
			"2|0 split", "xxxxxxxxxx|1 split", "xxxxxxxxxx|2 split", "xxxxx\ny|3 split",
			"3 34567890|0 split", "b|1 split", "4\nc",
		}, texts(events), "%d", piece)
		require.Equal(t, at(int64(len(data))), p)
		require.Equal(t, int64(10), events[5].pos)

		events, _ = joinAll(t, r, data, piece, limits{maxLine: 10, maxLines: 3, truncate: true}, true)
		require.Equal(t, []string{"1\na\nb|0 truncated", "2|0 truncated", "3 34567890|0 truncated", "4\nc"}, texts(events))
	}
}

func TestJoinCRI(t *testing.T) {
	const at1, at2 = "2026-01-02T03:04:05.000000006Z", "2026-01-02T03:04:06.7+02:00"
	data := []byte(at1 + " stdout F one\n" +
		at1 + " stdout P tw\n" + at2 + " stderr P fa\n" + at1 + " stdout P o\n" + at2 + " stderr F il\n" + at1 + " stderr F:tag between\n" + at1 + " stdout F !\n" +
		"not in the format\n" + at1 + " stdin F x\n" + at1 + " stdout F\n" + at1 + " stdout F \n")
	r := rulesOf(t, config.Input{Format: "cri"})
	for piece := 1; piece <= len(data)+1; piece++ {
		events, p := joinAll(t, r, data, piece, limits{maxLine: 1000, maxLines: 3}, false)
		require.Equal(t, []string{
			"one", "fail|0 stderr", "between|0 stderr", "two!", "not in the format", at1 + " stdin F x", "", "",
		}, texts(events))
		require.Equal(t, int64(44), events[3].pos)
		require.Equal(t, at(int64(len(data))), p)
	}
	buf := &buffer{}
	r.join(buf, data, place{}, limits{maxLine: 1000, maxLines: 100}, false, false)
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC).UnixNano(), buf.lines[0].Time)
	require.Equal(t, time.Date(2026, 1, 2, 1, 4, 6, 7e8, time.UTC).UnixNano(), buf.lines[1].Time)
	require.Zero(t, buf.lines[4].Time)
}

// Lines of containers are joined to events after their pieces were joined.
func TestJoinCRIEvents(t *testing.T) {
	entry := func(tag, text string) string { return "2026-01-02T03:04:05Z stdout " + tag + " " + text + "\n" }
	data := []byte(entry("F", "failed") + entry("P", "\ta") + entry("P", "t ") + entry("F", "x.Y") + entry("F", "\tat z") +
		entry("P", "ne") + entry("F", "xt") + entry("F", " more") + entry("P", "never ended"))
	r := rulesOf(t, config.Input{Format: "cri", Multiline: config.Multiline{Preset: "java"}})
	for piece := 1; piece <= len(data)+1; piece += 3 {
		events, _ := joinAll(t, r, data, piece, limits{maxLine: 1000, maxLines: 3}, false)
		require.Equal(t, []string{"failed\n\tat x.Y\n\tat z"}, texts(events))
		events, _ = joinAll(t, r, data, piece, limits{maxLine: 1000, maxLines: 3}, true)
		require.Equal(t, []string{"failed\n\tat x.Y\n\tat z", "next\n more", "never ended"}, texts(events))
	}
}

func TestJoinDocker(t *testing.T) {
	data := []byte(`{"log":"tab\t\"quoted\" \u00e9\ud83d\ude00\ud83d \\n\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}` + "\n" +
		` { "attrs" : {"a":["}",{"b":"\""}],"c":1} , "time":"2026-01-02T03:04:05Z","log":"par","stream":"stderr"}` + "\n" +
		`{"log":"tial\\","stream":"stderr","time":"no time"}` + "\n" + `{"log":"\n","stream":"stderr","time":""}` + "\r\n" +
		`{"log":"bad escape \x\n","stream":"stdout"}` + "\n" + `{"log":"no stream\n"}` + "\n" + `{"log":"cut off` + "\n" +
		`{"log":1,"stream":"stdout"}` + "\n" + `{}` + "\n" + "\n")
	r := rulesOf(t, config.Input{Format: "docker"})
	for piece := 1; piece <= len(data)+1; piece += 7 {
		events, p := joinAll(t, r, data, piece, limits{maxLine: 1000, maxLines: 3}, false)
		require.Equal(t, []string{
			"tab\t\"quoted\" é😀\ufffd \\n", `partial\|0 stderr`,
			`{"log":"bad escape \x\n","stream":"stdout"}`, `{"log":"no stream\n"}`, `{"log":"cut off`, `{"log":1,"stream":"stdout"}`, `{}`, ``,
		}, texts(events))
		require.Equal(t, at(int64(len(data))), p)
	}
}

// A line that a runtime wrote in pieces goes on after a part of it.
func TestJoinLongStreamLines(t *testing.T) {
	entry := func(stream, tag, text string) string {
		return "2026-01-02T03:04:05Z " + stream + " " + tag + " " + text + "\n"
	}
	data := []byte(entry("stdout", "P", "aaaa") + entry("stdout", "P", "bbbb") + entry("stdout", "P", "cccc") + entry("stderr", "F", "other") +
		entry("stdout", "F", "dddd") + entry("stdout", "F", "next") + "raw " + strings.Repeat("z", 100) + "\n" + entry("stdout", "F", "last"))
	r := rulesOf(t, config.Input{Format: "cri"})
	for piece := 1; piece <= len(data)+1; piece += 3 {
		events, p := joinAll(t, r, data, piece, limits{maxLine: 80, maxLines: 3}, false)
		require.Equal(t, []string{
			"aaaabbbb|0 split", "other|0 stderr", "cccc|1 split", "dddd|2 split", "next",
			"raw " + strings.Repeat("z", 76) + "|0 split", strings.Repeat("z", 24) + "|1 split", "last",
		}, texts(events), "in pieces of %d", piece)
		require.Equal(t, at(int64(len(data))), p)
		require.Zero(t, events[2].pos)
		require.Zero(t, events[3].pos)

		events, _ = joinAll(t, r, data, piece, limits{maxLine: 80, maxLines: 3, truncate: true}, false)
		require.Equal(t, []string{
			"aaaabbbb|0 truncated", "other|0 stderr", "next", "raw " + strings.Repeat("z", 76) + "|0 truncated", "last",
		}, texts(events))
	}
}

func TestJoinDecodes(t *testing.T) {
	utf16 := func(e unicode.Endianness, p unicode.BOMPolicy, s string) []byte {
		b, err := unicode.UTF16(e, p).NewEncoder().Bytes([]byte(s))
		require.NoError(t, err)
		return b
	}
	const text = "one\n两个字ਊĊ\r\n\n😀😀😀😀😀😀😀😀\nend"
	lines := []string{"one", "两个字ਊĊ\r", "", "😀😀😀😀|0 split", "😀😀😀😀|1 split", "end"}
	for name, data := range map[string][]byte{
		"utf-16le": utf16(unicode.LittleEndian, unicode.UseBOM, text),
		"utf-16be": utf16(unicode.BigEndian, unicode.UseBOM, text),
	} {
		r := rulesOf(t, config.Input{Encoding: name})
		for piece := 1; piece <= len(data)+1; piece++ {
			events, p := joinAll(t, r, data, piece, limits{maxLine: 19, maxLines: 3}, false)
			require.Equal(t, lines[:5], texts(events), "%s in pieces of %d", name, piece)
			require.Equal(t, at(int64(len(data)-6)), p)
			require.Equal(t, int64(2), events[0].pos)
			require.Equal(t, int64(10), events[1].pos)
			events, _ = joinAll(t, r, data, piece, limits{maxLine: 19, maxLines: 3}, true)
			require.Equal(t, lines, texts(events))
		}
	}
	le := rulesOf(t, config.Input{Encoding: "utf-16le"})
	events, _ := joinAll(t, le, []byte("a\x00\x00\xd8\n\x00b\x00c"), 3, limits{maxLine: 19, maxLines: 3}, true)
	require.Equal(t, []string{"a\ufffd", "b\ufffd"}, texts(events))
	events, p := joinAll(t, le, []byte("\xff\xfe"), 3, limits{maxLine: 19, maxLines: 3}, true)
	require.Empty(t, events)
	require.Equal(t, at(2), p)

	gb := rulesOf(t, config.Input{Encoding: "gb18030"})
	data := []byte("a\xc4\xe3\xba\xc3\x81\x30\x89\x39\n\x81\n\xff\x80\n")
	for piece := 1; piece <= len(data)+1; piece++ {
		events, _ = joinAll(t, gb, data, piece, limits{maxLine: 19, maxLines: 3}, true)
		require.Equal(t, "a你好", texts(events)[0][:7])
		require.Equal(t, []string{"\ufffd", "\ufffd€"}, texts(events)[1:])
		events, _ = joinAll(t, gb, data[:9], piece, limits{maxLine: 4, maxLines: 3}, true)
		require.Equal(t, []string{"a你|0 split", "好|1 split", "\u0152|2 split"}[:2], texts(events)[:2])
	}
	latin := rulesOf(t, config.Input{Encoding: "latin1"})
	events, _ = joinAll(t, latin, []byte("\xe9\xff\n\x80"), 1, limits{maxLine: 19, maxLines: 3}, true)
	require.Equal(t, []string{"éÿ", "\u0080"}, texts(events))
}

// words are what lines of containers and traces are made of.
var words = []string{
	"2026-01-02T03:04:05Z stdout P ", "2026-01-02T03:04:05Z stderr P ", "2026-01-02T03:04:05Z stderr F ", "2026-01-02T03:04:05Z stdout F ",
	"\n", "\n", "\n", "1", "\tat x", "\x00", "\xff", "a", "\n\x00", "\x00\n", `{"log":"a","stream":"stdout"}`, `{"log":"a\n","stream":"stderr"}`,
}

// Whatever the bytes and the rules, events do not depend on how the file was
// read, and no byte of it is missing.
func FuzzJoin(f *testing.F) {
	f.Add([]byte(javaTrace), 3, 40, 0)
	f.Add([]byte("2026-01-02T03:04:05Z stdout P a\n2026-01-02T03:04:05Z stderr P b\n2026-01-02T03:04:05Z stderr F \tb\n2026-01-02T03:04:05Z stdout F a\nx\n"), 5, 70, 13)
	f.Add([]byte(`{"log":"a","stream":"stdout"}`+"\n"+`{"log":"\u00e9\n","stream":"stdout"}`+"\n"), 5, 70, 6)
	f.Add([]byte("\xff\xfea\x00\n\x00\x00\xd8"), 1, 4, 2)
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, rnd.IntN(40))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		f.Add(data, rnd.IntN(100), rnd.IntN(100), 360+rnd.IntN(360))
	}
	f.Fuzz(func(t *testing.T, data []byte, piece, maxLine, kind int) {
		piece, maxLine, kind = 1+abs(piece)%100, 4+abs(maxLine)%100, abs(kind)
		if kind/360%2 == 1 { // each byte is a word
			var text []byte
			for _, b := range data {
				text = append(text, words[b%16]...)
			}
			data = text
		}
		cfg := config.Input{}
		cfg.Encoding = []string{"utf-8", "utf-8", "utf-16le", "utf-16be", "gb18030", "latin1"}[kind%6]
		if kind%6 == 1 {
			cfg.Format = []string{"cri", "docker"}[kind/6%2]
		}
		cfg.Multiline = []config.Multiline{{Preset: "java"}, {}, {Start: `^\d`, MaxLines: 2}}[kind/12%3]
		r := rulesOf(t, cfg)
		if r == nil {
			return
		}
		lim := limits{maxLine: maxLine, maxLines: 1 + kind/36%5, truncate: kind/180%2 == 1}
		events, p := joinAll(t, r, data, piece, lim, true)
		require.Equal(t, int64(len(data)), p.pos)
		whole, q := joinAll(t, r, data, len(data)+1, limits{maxLine: maxLine, maxLines: 1 << 20, truncate: lim.truncate}, true)
		require.Equal(t, p, q)
		require.Equal(t, whole, events)
		seen := map[[2]int64]bool{}
		for _, e := range events {
			id := [2]int64{e.pos, int64(e.part)}
			require.False(t, seen[id], "two records have the same place")
			seen[id] = true
			require.True(t, r.alias() || cfg.Format != "" || utf8.ValidString(e.text))
		}
		if !r.alias() || lim.truncate {
			return
		}
		// What was joined is what stands in the file.
		var back []byte
		for i, e := range events {
			if e.part == 0 {
				require.Equal(t, int64(len(back)), e.pos)
			}
			back = append(back, e.text...)
			inside := i+1 < len(events) && events[i+1].part > 0 && (len(back) == len(data) || data[len(back)] != '\n')
			if !inside && len(back) < len(data) {
				back = append(back, '\n')
			}
		}
		require.Equal(t, string(data), string(back))
	})
}
