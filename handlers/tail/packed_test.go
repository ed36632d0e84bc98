package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func gzipped(t testing.TB, text string) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	require.NoError(t, err)
	_, err = io.WriteString(z, text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

// pack does what gzip does: the packed file beside the other, which is removed.
func (r *rig) pack(from, to string) {
	r.t.Helper()
	b, err := os.ReadFile(r.path(from))
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(r.path(to), gzipped(r.t, string(b)), 0o644))
	require.NoError(r.t, os.Remove(r.path(from)))
}

func packedRig(t *testing.T) *rig {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "app.log*")}
	return r
}

func (r *rig) finished(n int) func() bool {
	return func() bool {
		found := 0
		require.NoError(r.t, r.src.call(context.Background(), func() {
			for _, f := range r.src.files {
				if f.packed != nil && f.packed.stage == finished {
					found++
				}
			}
		}))
		return found == n
	}
}

func TestPackedFileOfWhatWasReadIsSkipped(t *testing.T) {
	r := packedRig(t)
	text, lines := numbered("line", 0, 300)
	r.write("app.log", text)
	r.start()
	r.wait(lines...)
	r.rename("app.log", "app.log.1")
	r.write("app.log", "next\n")
	r.wait(append(lines, "next")...)
	r.pack("app.log.1", "app.log.2.gz")
	r.waitFor(r.finished(1))
	r.end()
	// The same over a restart, and under another name.
	r.rename("app.log.2.gz", "app.log.3.gz")
	r.start()
	r.waitFor(r.finished(1))
	r.wait(append(lines, "next")...)
	require.Equal(t, uint64(0), r.src.Stats().Unpacked)
}

func TestPackedWhileStopped(t *testing.T) {
	r := packedRig(t)
	text, lines := numbered("line", 0, 20_000)
	half := strings.Index(text, lines[7000])
	r.write("app.log", text[:half+3]) // and a part of a line
	r.start()
	r.wait(lines[:7000]...)
	file, first := r.all()[0].file, r.path("app.log")
	r.end()
	r.forget()
	r.write("app.log", text[half+3:])
	r.pack("app.log", "app.log.1.gz")
	r.write("app.log", "next\n") // most likely with the inode of the first
	r.start()
	r.wait(append([]string{"next"}, lines[7000:]...)...)
	pos := int64(half)
	for _, l := range r.all() {
		if l.text == "next" {
			require.Equal(t, first, l.path)
			continue
		}
		require.Equal(t, file, l.file, "the identity is that of the file before it was packed")
		require.Equal(t, pos, l.pos)
		pos += int64(len(l.text)) + 1
	}
	r.waitFor(r.finished(1))
}

func TestPackedFileThatWasNeverFollowed(t *testing.T) {
	r := packedRig(t)
	r.o.MaxInFlightBytes = 1 << 20
	text, lines := numbered(strings.Repeat("some text", 20), 0, 5000)
	// Two members, no newline at the end, and a long line in between.
	long := strings.Repeat("long", 500_000)
	b := append(gzipped(t, text+long), gzipped(t, "er\nend")...)
	require.NoError(t, os.WriteFile(r.path("app.log.1.gz"), b, 0o644))
	r.inputs[0].MaxLineBytes = 4 << 20
	r.start()
	want := len(lines) + 2
	r.waitFor(func() bool { return len(r.texts()) == want })
	require.ElementsMatch(t, append(lines, long+"er", "end"), r.texts())
	r.waitFor(r.finished(1))
	require.NoError(t, r.src.call(context.Background(), func() {
		require.Zero(t, r.src.unpackers)
		require.Empty(t, r.src.packs)
		require.Zero(t, r.src.open.n)
		require.Zero(t, r.src.inputs["in"].unread)
	}))
}

// A restart goes on where reading was left in a packed file.
func TestPackedFileIsResumed(t *testing.T) {
	r := packedRig(t)
	text, lines := numbered(strings.Repeat("x", 500), 0, 12_000)
	require.NoError(t, os.WriteFile(r.path("app.log.1.gz"), gzipped(t, text), 0o644))
	stop := false
	r.nack = func(*logs.Batch) bool { return stop }
	r.start()
	for i := 1; i <= 4; i++ {
		r.waitFor(func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			stop = len(r.lines) >= i*2000
			return stop
		})
		r.kill()
		r.mu.Lock()
		stop = false
		r.mu.Unlock()
		r.start()
	}
	r.waitFor(r.finished(1))
	at := map[int64]string{}
	for _, l := range r.all() {
		at[l.pos] = l.text
	}
	require.Len(t, at, len(lines))
	require.Less(t, len(r.all()), 2*len(lines))
}

func TestPackedFileIsStillWritten(t *testing.T) {
	r := packedRig(t)
	text, lines := numbered("line", 0, 5000)
	b := gzipped(t, text)
	r.write("app.log.1.gz", string(b[:2]))
	r.start()
	r.write("app.log.1.gz", string(b[2:len(b)/2]))
	time.Sleep(150 * time.Millisecond) // looked at, and found to be incomplete
	require.Empty(t, r.texts())
	r.write("app.log.1.gz", string(b[len(b)/2:]))
	r.wait(lines...)
}

// A file that is packed while it is followed is read from its own handle.
func TestPackedBelowAReader(t *testing.T) {
	r := packedRig(t)
	r.gate = make(chan struct{})
	text, lines := numbered(strings.Repeat("x", 1000), 0, 6000)
	r.write("app.log", text)
	r.start()
	r.waitFor(func() bool { return r.src.Stats().Messages == maxFlight })
	r.pack("app.log", "app.log.1.gz")
	time.Sleep(150 * time.Millisecond)
	close(r.gate)
	r.waitFor(func() bool { return len(r.texts()) == len(lines) })
	r.waitFor(r.finished(1))
	require.Len(t, r.texts(), len(lines))
	for _, l := range r.all() {
		require.Equal(t, r.path("app.log"), l.path)
	}
}

func TestPackedFileThatIsNone(t *testing.T) {
	r := packedRig(t)
	r.write("app.log.1.gz", "plain text\n")
	b := gzipped(t, strings.Repeat("damaged\n", 5000))
	b[len(b)/2] ^= 0x10
	require.NoError(t, os.WriteFile(r.path("app.log.2.gz"), b, 0o644))
	require.NoError(t, os.WriteFile(r.path("app.log.3.gz"), nil, 0o644))
	require.NoError(t, os.WriteFile(r.path("app.log.4.gz"), gzipped(t, ""), 0o644))
	r.start()
	r.wait("plain text")
	r.waitFor(func() bool { return r.src.Stats().ReadErrors == 1 })
	r.waitFor(r.finished(1))
	// Another one in its place.
	require.NoError(t, os.WriteFile(r.path("app.log.2.gz"), gzipped(t, "whole\n"), 0o644))
	r.wait("plain text", "whole")
	r.waitFor(r.finished(2))
	require.NoError(t, os.WriteFile(r.path("app.log.2.gz"), gzipped(t, "another one\n"), 0o644))
	r.wait("plain text", "whole", "another one")
}

func TestPackedFilesOfTheFirstScanWhenStartingAtTheEnd(t *testing.T) {
	r := packedRig(t)
	r.inputs[0].StartAt = "end"
	require.NoError(t, os.WriteFile(r.path("app.log.1.gz"), gzipped(t, "old\n"), 0o644))
	r.start()
	r.waitFor(r.finished(1))
	require.NoError(t, os.WriteFile(r.path("app.log.2.gz"), gzipped(t, "new\n"), 0o644))
	r.wait("new")
}

func TestBombIsRefused(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 100 {
		_, err := z.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	r := packedRig(t)
	require.NoError(t, os.WriteFile(r.path("app.log.1.gz"), b.Bytes(), 0o644))
	r.start()
	r.waitFor(func() bool { return r.src.Stats().ReadErrors == 1 })
	require.Empty(t, r.texts())
}

// An unpacker reads the same as a reader of the whole, wherever it is asked to.
func TestUnpackerReadsAnywhere(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	whole := make([]byte, unpackTurn+1<<20)
	for i := range whole {
		whole[i] = byte(rnd.Uint32()>>30) + 'a'
	}
	path := t.TempDir() + "/a.gz"
	require.NoError(t, os.WriteFile(path, gzipped(t, string(whole)), 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	u := &unpacker{fd: int(f.Fd())}
	pos := int64(0)
	for i := range 40 {
		switch {
		case i == 20:
			pos = int64(len(whole)) - 50_000 // beyond what one call passes over
		case rnd.IntN(10) == 0:
			pos = rnd.Int64N(1 << 20)
		default:
			pos = max(0, pos-rnd.Int64N(100))
		}
		b := make([]byte, rnd.IntN(100_000))
		n, err := u.readAt(b, pos)
		for errors.Is(err, errUnpacking) {
			n, err = u.readAt(b, pos)
		}
		require.NoError(t, err)
		want := whole[pos:min(int(pos)+len(b), len(whole))]
		require.Equal(t, len(want), n)
		require.True(t, bytes.Equal(want, b[:n]), "at %d", pos)
		pos += int64(n)
	}
}

func FuzzLook(f *testing.F) {
	f.Add(gzipped(f, "a line\nand another\n"), int64(7))
	f.Add([]byte("\x1f\x8b\x08"), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, pos int64) {
		path := t.TempDir() + "/a.gz"
		require.NoError(t, os.WriteFile(path, b, 0o600))
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		l := &look{}
		u := &unpacker{fd: int(file.Fd())}
		for err == nil && !l.done {
			err = l.run(u, int64(len(b)))
			if err == nil && len(l.tails) == 0 && l.want == nil && pos > 0 {
				l.want = []int64{pos}
			}
		}
		want, whole := []byte(nil), error(nil)
		if z, e := gzip.NewReader(bytes.NewReader(b)); e != nil {
			whole = e
		} else {
			want, whole = io.ReadAll(z)
		}
		require.Equal(t, whole == nil, err == nil, "%v and %v", whole, err)
		if err != nil {
			return
		}
		require.Equal(t, int64(len(want)), l.size)
		require.Equal(t, string(want[max(0, len(want)-compared):]), string(l.end))
		if tail, ok := l.tails[pos]; ok {
			require.Equal(t, tailHash(want[:pos]), tail)
		} else {
			require.True(t, pos <= 0 || pos > int64(len(want)), "no tail at %d of %d", pos, len(want))
		}
	})
}

func BenchmarkUnpack(b *testing.B) {
	var text strings.Builder
	for i := range 500_000 {
		fmt.Fprintf(&text, "2026-01-02T03:04:%02d level=info msg=\"request %d was served\" took=%dms\n", i%60, i, i*7919%1000)
	}
	path := b.TempDir() + "/a.gz"
	require.NoError(b, os.WriteFile(path, gzipped(b, text.String()), 0o600))
	f, err := os.Open(path)
	require.NoError(b, err)
	defer f.Close()
	b.SetBytes(int64(text.Len()))
	for range b.N {
		l, u := &look{}, &unpacker{fd: int(f.Fd())}
		for !l.done {
			require.NoError(b, l.run(u, 1<<40))
		}
	}
}

// One that has its first byte or two for long is no text.
func TestPackedFileThatHasHardlyBegun(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "*")}
	text, lines := numbered("line", 0, 50)
	b := gzipped(t, text)
	r.write("a.log.gz", string(b[:1]))
	r.start()
	r.waitForScans(1)
	time.Sleep(150 * time.Millisecond)
	r.write("a.log.gz", string(b[1:2]))
	time.Sleep(150 * time.Millisecond)
	require.Empty(t, r.texts())
	r.write("a.log.gz", string(b[2:]))
	r.wait(lines...)
}
