package tail

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

func TestRenameChainRepeatsNothing(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "app.log*")}
	r.write("app.log", "a1\na2\n")
	r.start()
	r.wait("a1", "a2")
	r.rename("app.log", "app.log.1")
	r.write("app.log", "b1\n")
	r.write("app.log.1", "a3 late\n")
	r.wait("a1", "a2", "b1", "a3 late")
	r.rename("app.log.1", "app.log.2")
	r.rename("app.log", "app.log.1")
	r.write("app.log", "c1\n")
	r.write("app.log.2", "a4\n")
	r.write("app.log.1", "b2\n")
	r.wait("a1", "a2", "b1", "a3 late", "c1", "a4", "b2")
	r.waitFor(func() bool { return r.src.Stats().Files == 3 })
	require.Equal(t, uint64(0), r.src.Stats().Truncated+r.src.Stats().Rewritten)
}

func TestRenamedOutOfSightIsReadToItsEnd(t *testing.T) {
	r := newRig(t)
	r.write("app.log", "a1\n")
	r.start()
	r.wait("a1")
	r.rename("app.log", "app.1")
	r.write("app.log", "b1\n")
	r.write("app.1", "a2\n")
	time.Sleep(20 * time.Millisecond)
	r.write("app.1", "a3\nend without newline")
	r.wait("a1", "b1", "a2", "a3", "end without newline")
	r.waitFor(func() bool { return r.src.Stats().Gone == 0 })
	for _, l := range r.all() {
		require.Equal(t, r.path("app.log"), l.path)
	}
}

func TestDeletedWhileUnread(t *testing.T) {
	r := newRig(t)
	r.gate = make(chan struct{})
	var want []string
	var text strings.Builder
	for i := range 50_000 {
		l := strings.Repeat("x", 60) + itoa(uint64(i))
		want = append(want, l)
		text.WriteString(l + "\n")
	}
	r.write("a.log", text.String())
	r.start()
	r.waitFor(func() bool { return r.src.Stats().Lines > 0 })
	require.NoError(t, os.Remove(r.path("a.log")))
	r.write("a.log", "new\n")
	r.waitFor(func() bool { return r.src.Stats().Gone == 1 })
	close(r.gate)
	r.waitFor(func() bool { return len(r.texts()) == len(want)+1 })
	r.waitFor(func() bool { return r.src.Stats().Gone == 0 })
	require.Equal(t, uint64(0), r.src.Stats().LostBytes)
	r.end()
}

func TestTruncatedInPlace(t *testing.T) {
	r := newRig(t)
	r.write("a.log", "one\ntwo\n")
	r.start()
	r.wait("one", "two")
	require.NoError(t, os.WriteFile(r.path("a.log"), []byte("x\n"), 0o644))
	r.wait("one", "two", "x")
	// Filled beyond the old size between two looks.
	require.NoError(t, os.WriteFile(r.path("a.log"), []byte("longer than before\nand more\n"), 0o644))
	r.wait("one", "two", "x", "longer than before", "and more")
	files := map[string]bool{}
	for _, l := range r.all() {
		files[l.file] = true
	}
	require.Len(t, files, 3, "each generation has its own name")
}

func copyTruncate(r *rig, from, to string) {
	b, err := os.ReadFile(r.path(from))
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(r.path(to), b, 0o644))
	require.NoError(r.t, os.Truncate(r.path(from), 0))
}

func TestCopyOfTruncatedFileGoesOn(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "app.log*")}
	text, lines := numbered("line", 0, 500)
	r.write("app.log", text)
	r.start()
	r.wait(lines...)
	copyTruncate(r, "app.log", "app.log.1")
	r.write("app.log", "after\n")
	lines = append(lines, "after")
	r.wait(lines...)
	r.waitFor(func() bool { return r.src.Stats().Copies == 1 })
	r.write("app.log.1", "to the copy\n")
	r.wait(append(lines, "to the copy")...)
	r.end()

	// The same while stopped, with lines that only the copy has.
	r.forget()
	require.NoError(t, os.Remove(r.path("app.log.1")))
	r.write("app.log", "unread 1\nunread 2\n")
	copyTruncate(r, "app.log", "app.log.1")
	r.write("app.log", "fresh\n")
	r.start()
	r.wait("unread 1", "unread 2", "fresh")
}

func TestCopyIsNotReadBeforeTheTruncation(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "app.log*")}
	r.inputs[0].RotateWait = config.Duration(5 * time.Second)
	text, lines := numbered("line", 0, 500)
	r.write("app.log", text)
	r.start()
	r.wait(lines...)
	// A copy in two steps, the writer going on between.
	r.write("app.log.1", text[:len(text)/2])
	time.Sleep(30 * time.Millisecond)
	r.write("app.log.1", text[len(text)/2:])
	time.Sleep(30 * time.Millisecond)
	require.NoError(t, os.Truncate(r.path("app.log"), 0))
	r.write("app.log", "after\n")
	lines = append(lines, "after")
	r.waitFor(func() bool { return r.src.Stats().Copies == 1 })
	r.wait(lines...)
}

func TestLostBytesAreCounted(t *testing.T) {
	r := newRig(t)
	r.gate = make(chan struct{})
	text, _ := numbered(strings.Repeat("x", 1000), 0, 5000)
	r.write("a.log", text)
	r.start()
	r.waitFor(func() bool { return r.src.Stats().Messages == maxFlight })
	read := r.src.Stats().Bytes
	require.NoError(t, os.Truncate(r.path("a.log"), 0))
	close(r.gate)
	r.waitFor(func() bool { return r.src.Stats().LostBytes == uint64(len(text))-read })
}

func TestRotatedWhileStopped(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "app.log", "app.log.1")}
	r.write("app.log", "a1\na2\n")
	r.write("other", "")
	r.start()
	r.wait("a1", "a2")
	r.end()
	r.forget()
	// Twice: the first one ends where no pattern looks.
	r.write("app.log", "a3\n")
	r.rename("app.log", "app.log.1")
	r.write("app.log", "b1\n")
	r.rename("app.log.1", "app.log.2")
	r.rename("app.log", "app.log.1")
	r.write("app.log", "c1\n")
	r.start()
	r.wait("a3", "b1", "c1")
	r.waitFor(func() bool { return r.src.Stats().Gone == 0 })
}

func TestTruncatedOrReplacedWhileStopped(t *testing.T) {
	r := newRig(t)
	r.write("short.log", "one\ntwo\n")
	r.write("long.log", "one\ntwo\n")
	r.write("gone.log", "one\ntwo\n")
	r.start()
	r.waitFor(func() bool { return len(r.texts()) == 6 })
	r.end()
	r.forget()
	require.NoError(t, os.WriteFile(r.path("short.log"), []byte("s\n"), 0o644))
	require.NoError(t, os.WriteFile(r.path("long.log"), []byte("longer than it was\n"), 0o644))
	require.NoError(t, os.Remove(r.path("gone.log")))
	r.write("gone.log", "one\ntwo\nthree\n") // most likely the same inode
	r.start()
	r.wait("s", "longer than it was", "one", "two", "three")
}

func TestHardLinksAreOneFile(t *testing.T) {
	r := newRig(t)
	r.write("a.log", "one\n")
	require.NoError(t, os.Link(r.path("a.log"), r.path("b.log")))
	r.start()
	r.wait("one")
	require.NoError(t, os.Remove(r.path("a.log")))
	r.write("b.log", "two\n")
	r.wait("one", "two")
	r.waitFor(func() bool { return r.src.Stats().Files == 1 && r.src.Stats().Gone == 0 })
}

func TestSymlinkIsPointedElsewhere(t *testing.T) {
	r := newRig(t)
	r.write("a.txt", "one\n")
	r.write("b.txt", "two\n")
	require.NoError(t, os.Symlink(r.path("a.txt"), r.path("x.log")))
	require.NoError(t, os.Symlink(r.path("nowhere"), r.path("dangling.log")))
	require.NoError(t, os.Symlink(r.path("loop.log"), r.path("loop.log")))
	r.start()
	r.wait("one")
	require.NoError(t, os.Symlink(r.path("b.txt"), r.path("y")))
	r.rename("y", "x.log")
	r.wait("one", "two")
	r.write("b.txt", "three\n")
	r.wait("one", "two", "three")
}

func TestFoldersComeAndGo(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "**/x/*.log")}
	r.start()
	var want []string
	for i := range 3 {
		dir := filepath.Join(r.dir, "d"+itoa(uint64(i)), "x")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		r.write(filepath.Join("d"+itoa(uint64(i)), "x", "a.log"), itoa(uint64(i))+"\n")
		want = append(want, itoa(uint64(i)))
		r.wait(want...)
		if i == 1 {
			require.NoError(t, os.RemoveAll(filepath.Join(r.dir, "d1")))
		}
	}
	// Away and back.
	r.rename("d0", "away")
	r.rename("away", "d0")
	r.write(filepath.Join("d0", "x", "a.log"), "again\n")
	r.wait(append(want, "again")...)
}

// A copy that is written over the one before is a copy, too.
func TestCopyOverAnOldCopy(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "app.log*")}
	r.start()
	var want []string
	for i := range 4 {
		text, lines := numbered("round "+itoa(uint64(i)), 0, 300)
		r.write("app.log", text)
		want = append(want, lines...)
		r.wait(want...)
		copyTruncate(r, "app.log", "app.log.1")
		r.waitFor(func() bool { return r.src.Stats().Copies == uint64(i+1) })
	}
	r.write("app.log.1", "to the copy\n")
	r.write("app.log", "to the file\n")
	r.wait(append(want, "to the copy", "to the file")...)
}

// A file that is cut and filled with the same again is no copy of itself.
func TestFilledWithTheSameAgain(t *testing.T) {
	r := newRig(t)
	text, lines := numbered("banner", 0, 300)
	r.write("app.log", text)
	r.start()
	r.wait(lines...)
	require.NoError(t, os.Truncate(r.path("app.log"), 0))
	r.waitFor(func() bool { return r.src.Stats().Truncated == 1 })
	r.write("app.log", text+"more\n")
	r.wait(append(append(lines, lines...), "more")...)
}

// Container logs: the pattern names links, the files are rotated where these
// point to.
func TestLinkedFileIsRotatedWhileStopped(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "containers/*.log")}
	pod := filepath.Join(r.dir, "pods", "x")
	require.NoError(t, os.MkdirAll(pod, 0o755))
	require.NoError(t, os.Mkdir(r.path("containers"), 0o755))
	r.write("pods/x/0.log", "a1\n")
	require.NoError(t, os.Symlink("../pods/x/0.log", r.path("containers/x.log")))
	r.start()
	r.wait("a1")
	r.end()
	r.write("pods/x/0.log", "a2\n")
	r.rename("pods/x/0.log", "pods/x/0.log.20260101-000000")
	r.write("pods/x/0.log", "b1\n")
	r.start()
	r.wait("a1", "a2", "b1")
	r.end()
	// And when the link is gone, too.
	r.write("pods/x/0.log", "b2\n")
	r.rename("pods/x/0.log", "pods/x/0.log.20260102-000000")
	require.NoError(t, os.Remove(r.path("containers/x.log")))
	r.start()
	r.wait("a1", "a2", "b1", "b2")
}

// A file that had its name for so short a time that nobody saw it is read, if
// the kernel tells of the rename.
func TestRenamedBeforeItWasSeen(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "app.log")}
	r.write("app.log", "first\n")
	r.start()
	r.wait("first")
	want := []string{"first"}
	for i := range 100 {
		line := itoa(uint64(i))
		want = append(want, line)
		r.write("app.log", line+"\n")
		r.rename("app.log", "app.log."+line)
		if i%3 == 0 {
			r.rename("app.log."+line, "again \" ← \" "+line)
		}
	}
	r.wait(want...)
	for _, l := range r.all() {
		require.Equal(t, r.path("app.log"), l.path)
	}
}
