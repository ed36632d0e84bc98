package tail

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func newPipeRig(t *testing.T) *rig {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "app.pipe")}
	r.inputs[0].Type = "pipe"
	r.mkfifo("app.pipe")
	return r
}

func (r *rig) mkfifo(name string) {
	require.NoError(r.t, unix.Mkfifo(r.path(name), 0o600))
}

// writer opens the pipe as a program that logs to it does.
func (r *rig) writer(name string) *os.File {
	r.t.Helper()
	f, err := os.OpenFile(r.path(name), os.O_WRONLY, 0)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { f.Close() })
	return f
}

func put(t *testing.T, f *os.File, text string) {
	_, err := f.WriteString(text)
	require.NoError(t, err)
}

func TestPipe(t *testing.T) {
	r := newPipeRig(t)
	r.start()
	a, b := r.writer("app.pipe"), r.writer("app.pipe")
	put(t, a, "one\n\nhal")
	r.wait("one", "")
	put(t, a, "f\r\n")
	put(t, b, "two\x00\xff\n")
	r.wait("one", "", "half\r", "two\x00\xff")
	a.Close()
	b.Close()
	put(t, r.writer("app.pipe"), "another writer\n")
	r.wait("one", "", "half\r", "two\x00\xff", "another writer")
	all := r.all()
	require.Equal(t, []int64{0, 4, 5, 11, 17}, []int64{all[0].pos, all[1].pos, all[2].pos, all[3].pos, all[4].pos})
	require.Equal(t, r.path("app.pipe"), all[0].path)
	r.waitFor(func() bool { st := r.src.Stats(); return st.Messages == 0 && st.InFlight == 0 })

	// What comes after a restart has another identity.
	r.end()
	r.start()
	put(t, r.writer("app.pipe"), "later\n")
	r.waitFor(func() bool { return len(r.all()) == 6 })
	last := r.all()[5]
	require.Equal(t, "later", last.text)
	require.Zero(t, last.pos)
	require.NotEqual(t, all[0].file, last.file)
}

// A long line costs no more than its parts, and what nxadm/tail is given to
// keep is mended.
func TestPipeLongLines(t *testing.T) {
	r := newPipeRig(t)
	r.inputs[0].MaxLineBytes = 100_000
	r.start()
	var long strings.Builder
	for i := range 60_000 {
		long.WriteString(itoa(uint64(100_000 + i)))
	}
	exact := strings.Repeat("e", maxPiece)
	w := r.writer("app.pipe")
	put(t, w, "before\n"+long.String()+"\n"+exact+"\n\n"+exact+exact+"x\nafter\n")
	r.waitFor(func() bool { all := r.texts(); return len(all) > 0 && all[len(all)-1] == "after" })
	texts := r.texts()
	require.Len(t, texts, 1+4+4)
	require.True(t, strings.Join(texts[1:5], "") == long.String())
	require.Equal(t, []string{exact, "", exact + exact + "x", "after"}, texts[5:])
	require.Equal(t, logs.FlagSplit, r.all()[1].flags)
}

// An orderly stop hands out what was taken, to the last byte.
func TestPipeIsDrained(t *testing.T) {
	r := newPipeRig(t)
	r.inputs[0].Multiline = config.Multiline{Continue: `^\s`, MaxWait: config.Duration(time.Hour)}
	r.nack = func() func(*logs.Batch) bool { n := 0; return func(*logs.Batch) bool { n++; return n%2 == 1 } }()
	r.start()
	w := r.writer("app.pipe")
	put(t, w, "one\n two\nhalf a line")
	r.waitFor(func() bool { return unreadIn(t, w) == 0 })
	time.Sleep(20 * time.Millisecond)
	r.end()
	require.ElementsMatch(t, []string{"one\n two", "half a line"}, r.texts())
}

// unreadIn returns how many bytes stand in a pipe.
func unreadIn(t *testing.T, f *os.File) int {
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
	require.NoError(t, err)
	return n
}

// A consumer that is stuck stops the writer, not the memory.
func TestPipePushesBack(t *testing.T) {
	r := newPipeRig(t)
	r.o.MaxInFlightBytes = 1 << 20
	r.gate = make(chan struct{})
	r.start()
	w := r.writer("app.pipe")
	fd := int(w.Fd())
	require.NoError(t, unix.SetNonblock(fd, true))
	text, lines := numbered(strings.Repeat("x", 93), 0, 1)
	written, idle := 0, 0
	for idle < 100 {
		n, err := unix.Write(fd, []byte(text))
		if err == nil {
			require.Equal(t, len(text), n)
			written++
			idle = 0
			continue
		}
		idle++
		time.Sleep(2 * time.Millisecond)
	}
	require.Less(t, written*len(text), 3<<20)
	require.Greater(t, written*len(text), 100<<10)
	r.mu.Lock()
	close(r.gate)
	r.gate = nil
	r.mu.Unlock()
	r.waitFor(func() bool { return len(r.all()) == written })
	require.Equal(t, lines[0], r.all()[written-1].text)
}

func TestPipeAppearsAndIsReplaced(t *testing.T) {
	r := newPipeRig(t)
	require.NoError(t, os.Remove(r.path("app.pipe")))
	require.NoError(t, os.WriteFile(r.path("app.pipe"), []byte("no pipe\n"), 0o600))
	r.start()
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, os.Remove(r.path("app.pipe")))
	r.mkfifo("app.pipe")
	w := r.writer("app.pipe")
	put(t, w, "one\n")
	r.wait("one")
	require.NoError(t, os.Remove(r.path("app.pipe")))
	r.mkfifo("app.pipe")
	put(t, w, "two\n")
	w.Close()
	put(t, r.writer("app.pipe"), "three\n")
	r.wait("one", "two", "three")
}

// Inputs of pipes come, go and change hands while running.
func TestPipeInputsChange(t *testing.T) {
	r := newPipeRig(t)
	r.start()
	w := r.writer("app.pipe")
	put(t, w, "one\n")
	r.wait("one")
	second := r.inputs[0]
	second.Name, second.MaxLineBytes = "second", 64
	r.consume("second")
	require.NoError(t, r.src.Update(t.Context(), []config.Input{second}))
	put(t, w, "two\n")
	r.wait("one", "two")
	require.Equal(t, r.all()[0].file, r.all()[1].file)
	require.NoError(t, r.src.Update(t.Context(), nil))
	r.waitFor(func() bool { return len(r.src.Stats().Inputs) == 0 })
	require.Zero(t, r.src.Stats().InFlight)
}

func TestPipeOutsideTheRoots(t *testing.T) {
	r := newPipeRig(t)
	other := t.TempDir()
	r.o.AllowedPaths = []string{other}
	r.start()
	time.Sleep(50 * time.Millisecond)
	fd, err := unix.Open(r.path("app.pipe"), unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		unix.Close(fd)
	}
	require.ErrorIs(t, err, unix.ENXIO, "nobody reads it")
}

func TestPipeDecodes(t *testing.T) {
	r := newPipeRig(t)
	r.inputs[0].Encoding = "utf-16le"
	r.start()
	put(t, r.writer("app.pipe"), "\xff\xfe"+utf16le("one\ntwo\n")+"\x00\x4e\n\x0a"+utf16le("\n"))
	r.wait("one", "two", "\u4e00\u0a0a")
}
