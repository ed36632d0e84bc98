package tail

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

func TestReadsGrowingFiles(t *testing.T) {
	r := newRig(t)
	r.write("a.log", "one\ntwo\npart")
	r.start()
	r.wait("one", "two")
	r.write("a.log", "ial\nthree\r\n\n")
	r.write("b.log", "new file\n")
	r.wait("one", "two", "partial", "three\r", "", "new file")
	for _, l := range r.all() {
		if l.text == "partial" {
			require.Equal(t, int64(8), l.pos)
			require.Equal(t, r.path("a.log"), l.path)
		}
	}
}

func TestRestartRepeatsNothing(t *testing.T) {
	r := newRig(t)
	r.write("a.log", "one\ntwo\npart")
	r.start()
	r.wait("one", "two")
	r.end()
	r.forget()
	r.write("a.log", "ial\n")
	r.write("b.log", "b\n")
	r.start()
	r.wait("partial", "b")
	r.end()
	r.forget()
	r.write("a.log", "last\n")
	r.start()
	r.wait("last")
}

func TestLargeFileInOrder(t *testing.T) {
	r := newRig(t)
	text, lines := numbered("line of some length to fill chunks with", 0, 100_000)
	r.write("a.log", text)
	r.start()
	r.waitFor(func() bool { return len(r.texts()) >= len(lines) })
	r.end()
	pos := int64(0)
	for i, l := range r.all() {
		if lines[i] != l.text || l.pos != pos {
			t.Fatalf("line %d is %q at %d, want %q at %d", i, l.text, l.pos, lines[i], pos)
		}
		pos += int64(len(l.text)) + 1
	}
}

func TestScanningAloneIsEnough(t *testing.T) {
	r := newRig(t)
	r.prepare = func(s *Source) { s.blind = true }
	r.inputs = []config.Input{r.input("in", "**/app.log*")}
	r.write("app.log", "a1\n")
	r.start()
	r.wait("a1")
	r.rename("app.log", "app.log.1")
	r.write("app.log", "b1\n")
	r.write("app.log.1", "a2\n")
	require.NoError(t, os.Mkdir(r.path("sub"), 0o755))
	r.write("sub/app.log", "c1\n")
	r.wait("a1", "b1", "a2", "c1")
}

// A device that has another number after a reboot holds the same files.
func TestDeviceIsRenumbered(t *testing.T) {
	r := newRig(t)
	r.write("a.log", "one\n")
	r.start()
	r.wait("one")
	r.end()
	r.forget()
	r.prepare = func(s *Source) {
		require.Len(t, s.past, 1)
		for id, e := range s.past {
			delete(s.past, id)
			e.dev += 7
			s.past[e.inode] = e
			s.byIno[e.ino] = e.inode
		}
	}
	r.write("a.log", "two\n")
	r.start()
	r.wait("two")
}
