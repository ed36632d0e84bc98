package tail

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

const trace = "2026 failed\n\tat a\n\tat b\n"

func (r *rig) joining(wait time.Duration) {
	r.inputs[0].Multiline = config.Multiline{Continue: `^\s`, MaxLines: 100, MaxWait: config.Duration(wait)}
}

func joined(text string) string { return strings.TrimSuffix(text, "\n") }

// The last event is complete when nothing came for max_wait.
func TestEventEndsAfterAQuietTime(t *testing.T) {
	r := newRig(t)
	r.joining(100 * time.Millisecond)
	r.write("a.log", "one\n"+trace+"half")
	r.start()
	r.wait("one", joined(trace))
	require.Equal(t, int64(4), r.all()[1].pos)
	r.write("a.log", " a line\n")
	r.wait("one", joined(trace), "half a line")
	r.write("a.log", "\tlate\n")
	r.wait("one", joined(trace), "half a line", "\tlate")
	r.waitFor(func() bool { return r.src.Stats().Waiting == 0 })
}

// An event that is written slowly, and read as slowly, is one.
func TestEventIsWrittenSlowly(t *testing.T) {
	r := newRig(t)
	r.joining(10 * time.Second)
	r.start()
	for i := range len(trace) {
		r.write("a.log", trace[i:i+1])
		if i%3 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	r.write("a.log", "next\n")
	r.wait(joined(trace))
}

// Stopped or killed at any byte of an event, it is one.
func TestEventOverARestart(t *testing.T) {
	for cut := 1; cut < len(trace); cut += 3 {
		r := newRigAlone(t)
		r.joining(10 * time.Second)
		r.write("a.log", "before\n"+trace[:cut])
		r.start()
		if cut > len("2026 failed") {
			r.wait("before")
		}
		if cut%2 == 0 {
			r.end()
		} else {
			r.kill()
		}
		r.write("a.log", trace[cut:]+"next\n")
		r.start()
		r.waitFor(func() bool { all := r.texts(); return len(all) > 0 && all[len(all)-1] == joined(trace) })
		require.Subset(t, []string{"before", joined(trace)}, r.texts())
		r.kill()
	}
}

// A rotated file's last event needs no more than its own rotation.
func TestEventBeforeARotation(t *testing.T) {
	r := newRig(t)
	r.joining(time.Hour)
	r.start()
	r.write("a.log", trace)
	r.waitFor(func() bool { return r.src.Stats().Open == 1 })
	r.rename("a.log", "gone")
	r.wait(joined(trace))
}

// Changing what an event is does not lose the one that waits.
func TestEventRulesChange(t *testing.T) {
	r := newRig(t)
	r.joining(time.Hour)
	r.write("a.log", trace)
	r.start()
	r.waitFor(func() bool { return r.src.Stats().Waiting == 1 })
	r.inputs[0].Multiline = config.Multiline{}
	require.NoError(t, r.src.Update(t.Context(), r.inputs))
	r.wait(strings.Split(joined(trace), "\n")...)
}

func TestUTF16CopyTruncate(t *testing.T) {
	encode := func(s string) string {
		b, err := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder().String(s)
		require.NoError(t, err)
		return b
	}
	r := newRig(t)
	r.inputs[0].Encoding = "utf-16le"
	r.inputs[0].Paths = append(r.inputs[0].Paths, r.path("a.log.1"))
	r.start()
	text := "\xff\xfe" + encode("一ਊ\nzwei\nhalf")
	r.write("a.log", text)
	r.wait("一ਊ", "zwei")
	r.write("a.log", encode(" a line\n")[:5])
	r.write("a.log.1", text+encode(" a line\n"))
	require.NoError(t, os.Truncate(r.path("a.log"), 0))
	r.write("a.log", "\xff\xfe"+encode("drei\n"))
	r.wait("一ਊ", "zwei", "half a line", "drei")
	for _, l := range r.all() {
		if l.text == "half a line" {
			require.Equal(t, int64(2+6+10), l.pos)
		}
	}
}

func TestUTF16StartsAtTheEnd(t *testing.T) {
	r := newRig(t)
	r.inputs[0].Encoding, r.inputs[0].StartAt = "utf-16be", "end"
	r.write("a.log", "\xfe\xff\x00a\x00\n\x0a\x00\x00b\x00") // an odd end, and a byte that is no newline
	r.start()
	r.write("a.log", "c\x00\n")
	r.wait("\u0a00bc")
}

// An event that goes on in the file that took its file's name is one, and when
// it is acked, both files' positions have moved.
func TestEventAcrossARotation(t *testing.T) {
	for _, glob := range []string{"*.log", "*.log*"} {
		for cut := 12; cut < len(trace); cut += 7 { // at the end of a line
			if trace[cut-1] != '\n' {
				continue
			}
			r := newRigAlone(t)
			r.inputs = []config.Input{r.input("in", glob)}
			r.joining(time.Hour)
			r.start()
			r.write("a.log", "before\n"+trace[:cut])
			r.wait("before")
			r.rename("a.log", "a.log.1")
			r.write("a.log", trace[cut:]+"next\nlast\n")
			r.wait("before", joined(trace), "next")
			all := r.all()
			require.Equal(t, int64(7), all[1].pos)
			require.Equal(t, all[0].file, all[1].file)
			require.NotEqual(t, all[1].file, all[2].file)
			require.Equal(t, int64(len(trace)-cut), all[2].pos)
			r.end()
			r.forget()
			r.start()
			r.write("a.log", "end\n")
			r.wait("last")
			r.kill()
		}
	}
}

// So it is when both parts come late, and when nothing comes after them.
func TestEventAcrossARotationIsWrittenSlowly(t *testing.T) {
	r := newRig(t)
	r.joining(500 * time.Millisecond)
	r.inputs[0].RotateWait = config.Duration(10 * time.Second)
	r.nack = func() func(*logs.Batch) bool { n := 0; return func(*logs.Batch) bool { n++; return n < 3 } }()
	r.start()
	r.write("a.log", "2026 failed\n")
	r.waitFor(func() bool { return r.src.Stats().Waiting == 1 })
	r.rename("a.log", "a.log.1")
	r.write("a.log", "")
	time.Sleep(20 * time.Millisecond)
	for _, text := range []string{"\tat", " a\n", "\tat b", "\n"} {
		r.write("a.log", text)
		time.Sleep(5 * time.Millisecond)
	}
	r.wait(joined(trace))
	r.write("a.log", "\tlate\n")
	r.wait(joined(trace), "\tlate")
}

// What cannot be joined is not held back.
func TestEventIsNotGoneOnWith(t *testing.T) {
	r := newRig(t)
	r.joining(time.Hour)
	r.start()
	r.write("a.log", trace)
	r.waitFor(func() bool { return r.src.Stats().Waiting == 1 })
	r.rename("a.log", "a.log.1")
	r.write("a.log", "one\ntwo\n")
	r.wait(joined(trace), "one")
	require.NoError(t, os.Remove(r.path("a.log")))
	r.write("a.log", "three\nfour\n")
	r.wait(joined(trace), "one", "two", "three")
}

func TestEventAcrossACopyTruncate(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "a.log*")}
	r.joining(10 * time.Second)
	r.start()
	r.write("a.log", "before\n2026 failed\n")
	r.wait("before")
	copyTruncate(r, "a.log", "a.log.1")
	r.write("a.log", "\tat a\n\tat b\nnext\nlast\n")
	r.wait("before", joined(trace), "next")
	require.Equal(t, int64(7), r.all()[1].pos)
	r.kill() // not drained: the rotation has just been
	r.forget()
	r.start()
	r.write("a.log", "end\n")
	r.waitFor(func() bool { all := r.texts(); return len(all) > 0 && all[len(all)-1] == "last" })
}
