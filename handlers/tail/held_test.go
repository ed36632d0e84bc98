package tail

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/config"
)

// told keeps what a source says.
type told struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *told) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *told) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (r *rig) listen() *told {
	l := &told{}
	r.o.Logger = slog.New(slog.NewTextHandler(l, nil))
	return l
}

// waitForScans waits until n more scans have ended.
func (r *rig) waitForScans(n uint64) {
	r.t.Helper()
	scans := func() (n uint64) {
		require.NoError(r.t, r.src.call(context.Background(), func() { n = r.src.tally.Scans }))
		return n
	}
	until := scans() + n
	r.waitFor(func() bool { return scans() >= until })
}

func TestDeletedFilesAreLetGo(t *testing.T) {
	for name, limit := range map[string]func(*Options){
		"bytes": func(o *Options) { o.MaxHeldBytes = 5 << 20 },
		"time":  func(o *Options) { o.MaxHeldTime = time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			said := r.listen()
			limit(&r.o)
			r.gate = make(chan struct{})
			text, _ := numbered(strings.Repeat("x", 1000), 0, 4000)
			for _, name := range []string{"a.log", "b.log"} {
				r.write(name, text)
			}
			r.start()
			r.waitFor(func() bool { return r.src.Stats().Messages == 2*maxFlight })
			require.NoError(t, os.Remove(r.path("a.log")))
			r.waitFor(func() bool { return r.src.Stats().Gone == 1 || r.src.Stats().LostRanges == 1 })
			require.NoError(t, os.Remove(r.path("b.log")))
			lost := uint64(1)
			if name == "time" {
				lost = 2
			}
			r.waitFor(func() bool { return r.src.Stats().LostRanges == lost })
			close(r.gate)
			r.waitFor(func() bool { st := r.src.Stats(); return st.Files == 0 && st.Messages == 0 && st.Open == 0 })
			read := map[string]int{}
			for _, l := range r.all() {
				read[filepath.Base(l.path)] += len(l.text) + 1
			}
			st := r.src.Stats()
			require.Zero(t, st.HeldBytes)
			require.Equal(t, lost, st.LostRanges, "the other one was read to its end")
			require.Equal(t, 2*len(text), read["a.log"]+read["b.log"]+int(st.LostBytes))
			if name == "bytes" {
				require.Equal(t, len(text), read["b.log"], "the one that was deleted first goes first")
			}
			line := "log.file=" + r.path("a.log")
			require.Contains(t, said.String(), line)
			require.Contains(t, said.String(), "from="+itoa(uint64(read["a.log"]))+" to="+itoa(uint64(len(text))))
		})
	}
}

// A writer that goes on behind the cut leaves a hole before its next line.
func TestHoleAfterATruncation(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"small.log", "large.log", "late.log"} {
		r.write(name, "")
	}
	files := map[string]*os.File{}
	text := map[string]string{"small.log": "before\n", "large.log": strings.Repeat("before\n", 3000), "late.log": "before\n"}
	var want []string
	for name, s := range text {
		f, err := os.OpenFile(r.path(name), os.O_WRONLY, 0)
		require.NoError(t, err)
		defer f.Close()
		files[name] = f
		_, err = f.WriteString(s)
		require.NoError(t, err)
		for range strings.Count(s, "\n") {
			want = append(want, "before")
		}
	}
	r.start()
	r.wait(want...)
	for name, f := range files {
		require.NoError(t, os.Truncate(r.path(name), 0))
		if name == "late.log" {
			r.waitFor(func() bool { return r.src.Stats().Truncated >= 1 })
		}
		_, err := f.WriteString(name + "\x00 after\n")
		require.NoError(t, err)
		want = append(want, name+"\x00 after")
	}
	r.wait(want...)
	for _, l := range r.all() {
		if l.text != "before" {
			require.Equal(t, int64(len(text[filepath.Base(l.path)])), l.pos)
		}
	}
	r.waitFor(func() bool { return r.src.Stats().SkippedBytes == 14+21000 })
	// NULs that somebody wrote are bytes.
	r.write("new.log", "\x00\x00nul\n")
	r.wait(append(want, "\x00\x00nul")...)
	r.end()
	r.forget()
	for _, f := range files {
		_, err := f.WriteString("restarted\n")
		require.NoError(t, err)
	}
	r.start()
	r.wait("restarted", "restarted", "restarted")
}

func TestHoleAt(t *testing.T) {
	t.Parallel()
	f, err := os.Create(t.TempDir() + "/f")
	require.NoError(t, err)
	defer f.Close()
	hole := func(least int64) int64 {
		info, err := f.Stat()
		require.NoError(t, err)
		return holeAt(int(f.Fd()), info.Size(), least, make([]byte, 100))
	}
	require.Zero(t, hole(0))
	require.NoError(t, f.Truncate(50_000))
	require.Zero(t, hole(0), "nothing but a hole")
	require.Zero(t, hole(10))
	_, err = f.WriteAt([]byte("x"), 49_000)
	require.NoError(t, err)
	require.Equal(t, int64(49_000), hole(0))
	_, err = f.WriteAt([]byte("\x00\x00\x00x"), 0)
	require.NoError(t, err)
	require.Zero(t, hole(0))
	require.Equal(t, int64(3), hole(3))
	require.Zero(t, hole(4), "the hole would be longer")
}

// A folder that cannot be read for a while is not one without files.
func TestFailedScanIsNoDeletion(t *testing.T) {
	r := newRig(t)
	r.prepare = func(s *Source) { s.blind = true }
	r.inputs = []config.Input{r.input("in", "d/*.log")}
	require.NoError(t, os.Mkdir(r.path("d"), 0o755))
	r.write("d/a.log", "one\n")
	r.start()
	r.wait("one")
	// A folder in a loop of links cannot be opened, whoever asks.
	r.rename("d", "away")
	require.NoError(t, os.Symlink("d", r.path("d")))
	r.waitForScans(2)
	require.Equal(t, uint64(0), r.src.Stats().Rotations)
	require.Equal(t, 1, r.src.Stats().Files)
	require.NoError(t, os.Remove(r.path("d")))
	r.rename("away", "d")
	r.write("d/a.log", "two\n")
	r.wait("one", "two")
}

func TestFolderMovedAwayAndBack(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "d/*.log")}
	require.NoError(t, os.Mkdir(r.path("d"), 0o755))
	r.write("d/a.log", "one\n")
	r.start()
	r.wait("one")
	r.rename("d", "away")
	r.write("away/a.log", "two\n")
	r.wait("one", "two") // by its handle
	r.waitFor(func() bool { return r.src.Stats().Files == 0 })
	r.write("away/a.log", "three\n")
	r.rename("away", "d")
	r.write("d/a.log", "four\n")
	r.wait("one", "two", "three", "four")
	files := map[string]bool{}
	for _, l := range r.all() {
		files[l.file] = true
	}
	require.Len(t, files, 1)
}

// When the process has no descriptor left, files that are idle give theirs.
func TestNoDescriptorLeft(t *testing.T) {
	r := newRigAlone(t)
	var want []string
	for i := range 30 {
		name := "f" + itoa(uint64(i))
		r.write(name+".log", name+"\n")
		want = append(want, name)
	}
	r.start()
	r.wait(want...)
	r.write("prepared", "new\n")
	var lim unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	low := lim
	low.Cur = uint64(len(fds) + 2)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)) }()
	var hogs []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		hogs = append(hogs, fd)
	}
	unix.Close(hogs[0]) // one is needed to read a folder
	for i := range 30 {
		require.NoError(t, os.Rename(r.path("f"+itoa(uint64(i))+".log"), r.path("old"+itoa(uint64(i))+".log")))
	}
	r.rename("prepared", "new.log")
	want = append(want, "new")
	r.wait(want...)
	r.waitForScans(2)
	for _, fd := range hogs[1:] {
		unix.Close(fd)
	}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &lim))
	for i := range 30 {
		r.write("old"+itoa(uint64(i))+".log", "again\n")
		want = append(want, "again")
	}
	r.wait(want...)
	require.Equal(t, 31, r.src.Stats().Files)
}
