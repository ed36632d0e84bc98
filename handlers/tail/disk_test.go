package tail

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/config"
)

// inNamespace says that the test runs in a process that may mount what it
// likes.
const inNamespace = "LOGFERRY_TEST_IN_NAMESPACE"

// mountable runs the rest of the test in a process with mounts of its own,
// unless this is it. It skips where that is not permitted.
func mountable(t *testing.T) bool {
	if os.Getenv(inNamespace) != "" {
		require.NoError(t, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		return true
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if cmd.Process == nil {
		t.Skip("no namespace to be had: ", err)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// longNames are files whose entries alone are more than a small disk holds.
func (r *rig) longNames(n int) (want []string) {
	for i := range n {
		name := fmt.Sprintf("%s-%d.log", strings.Repeat("long", 50), i)
		r.write(name, itoa(uint64(i))+"\n")
		want = append(want, itoa(uint64(i)))
	}
	return want
}

func TestFullAndReadOnlyDisk(t *testing.T) {
	if !mountable(t) {
		return
	}
	r := newRigAlone(t)
	said := r.listen()
	require.NoError(t, os.Mkdir(r.data, 0o700))
	require.NoError(t, unix.Mount("tmpfs", r.data, "tmpfs", 0, "size=64k"))
	defer func() { require.NoError(t, unix.Unmount(r.data, unix.MNT_DETACH)) }()
	remount := func(flags uintptr, data string) {
		require.NoError(t, unix.Mount("tmpfs", r.data, "tmpfs", unix.MS_REMOUNT|flags, data))
	}
	count := func(text string) int { return strings.Count(said.String(), text) }

	r.inputs = append(r.inputs, r.input("more", "*.txt"))
	r.write("a.txt", "first\n")
	r.start()
	r.wait("first")
	r.waitFor(func() bool { return r.src.Stats().CheckpointWrites > 0 })

	// Full: shipping goes on, it is said once, and tried again.
	want := append(r.longNames(300), "first")
	r.wait(want...)
	r.waitFor(func() bool { return r.src.Stats().CheckpointErrors > 0 })
	require.NoError(t, r.src.call(context.Background(), func() { r.src.flushAt = r.src.now }))
	r.waitFor(func() bool { return r.src.Stats().CheckpointErrors > 1 })
	r.write("a.txt", "while full\n")
	want = append(want, "while full")
	r.wait(want...)
	require.Equal(t, 1, count("cannot write checkpoint"))
	require.NotEmpty(t, r.src.Stats().LastError)

	// A kill now repeats, and loses nothing: the last good copy is there.
	require.NoError(t, r.src.call(context.Background(), func() { r.src.crashing = true }))
	r.kill()
	r.forget()
	r.write("a.txt", "after a kill\n")
	r.start()
	r.waitFor(func() bool { return strings.Contains(strings.Join(r.texts(), " "), "after a kill") })
	r.waitFor(func() bool { return r.src.Stats().CheckpointErrors > 0 })

	// Room again: written at the next try.
	remount(0, "size=4m")
	failed := r.src.Stats().CheckpointErrors
	require.NoError(t, r.src.call(context.Background(), func() { r.src.flushAt = r.src.now }))
	r.waitFor(func() bool { return count("checkpoints can be written again") == 1 })
	require.Equal(t, failed, r.src.Stats().CheckpointErrors)
	r.waitFor(func() bool {
		behind := 0
		_ = r.src.call(context.Background(), func() {
			for _, f := range r.src.files {
				if f.acked.pos == 0 || f.acked.pos != f.size {
					behind++
				}
			}
		})
		return behind == 0
	})
	r.end()
	r.forget()

	// Read-only: the positions of the last good time are gone on from.
	r.start()
	r.write("a.txt", "one\n")
	r.wait("one")
	r.waitFor(func() (idle bool) {
		_ = r.src.call(context.Background(), func() { idle = !r.src.writing && !r.src.pendingWrite() })
		return idle
	})
	require.NoError(t, r.src.call(context.Background(), func() {
		r.src.keeper.file.Close() // a file open for writing keeps the disk from being read-only
		r.src.keeper.file = nil
	}))
	_ = unix.Flock(int(r.src.keeper.lock.Fd()), unix.LOCK_UN)
	r.src.keeper.lock.Close()
	r.src.keeper.lock = nil
	remount(unix.MS_RDONLY, "size=4m")
	r.write("a.txt", "two\n")
	r.wait("one", "two")
	r.waitFor(func() bool { return r.src.Stats().CheckpointErrors > 0 })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	require.ErrorIs(t, r.src.Drain(ctx), unix.EROFS)
	remount(0, "size=4m")
	r.end()
	r.forget()
	r.start()
	r.write("a.txt", "three\n")
	r.wait("three")
	r.end()
}

// A journal that cannot be appended to any more is replaced.
func TestJournalFails(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("in", "*.log")}
	r.write("a.log", "one\n")
	r.start()
	r.wait("one")
	r.waitFor(func() bool { return r.src.Stats().CheckpointWrites > 0 })
	r.waitFor(func() (idle bool) {
		_ = r.src.call(context.Background(), func() { idle = !r.src.writing && !r.src.pendingWrite() })
		return idle
	})
	require.NoError(t, r.src.call(context.Background(), func() {
		r.src.keeper.file.Close()
	}))
	r.write("a.log", "two\n")
	r.wait("one", "two")
	r.waitFor(func() bool { return r.src.Stats().CheckpointErrors == 1 })
	writes := r.src.Stats().CheckpointWrites
	require.NoError(t, r.src.call(context.Background(), func() { r.src.flushAt = r.src.now }))
	r.waitFor(func() bool { return r.src.Stats().CheckpointWrites > writes })
	numbers, err := checkpointFiles(filepath.Join(r.data, "tail"))
	require.NoError(t, err)
	require.Len(t, numbers, 2, "the newest, and the one before")
	_ = r.src.call(context.Background(), func() { r.src.crashing = true })
	r.kill()
	r.forget()
	r.write("a.log", "three\n")
	r.start()
	r.wait("three")
}
