package tail

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/config"
)

func TestOpenStaysInTheRoots(t *testing.T) {
	base := t.TempDir()
	root, outside := filepath.Join(base, "root"), filepath.Join(base, "outside")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "sub"), 0o755))
	require.NoError(t, os.MkdirAll(outside, 0o755))
	secret := filepath.Join(outside, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret\n"), 0o600))
	inside := filepath.Join(root, "sub", "a.log")
	require.NoError(t, os.WriteFile(inside, []byte("a\n"), 0o600))
	link := func(to, name string) string {
		path := filepath.Join(root, name)
		require.NoError(t, os.Symlink(to, path))
		return path
	}
	handle, err := os.Open(secret)
	require.NoError(t, err)
	defer handle.Close()

	good := []string{
		inside,
		link("sub/a.log", "relative"),
		link(inside, "absolute"),
		filepath.Join(link("sub", "dir"), "a.log"),
		filepath.Join(link(filepath.Join(root, "sub"), "absdir"), "a.log"),
	}
	bad := []string{
		secret,
		root + "/../outside/secret",
		link(secret, "abs-out"),
		link("../outside/secret", "rel-out"),
		filepath.Join(link("../outside", "dir-out"), "secret"),
		filepath.Join(link(outside, "absdir-out"), "secret"),
		link("/proc/self/fd/"+itoa(uint64(handle.Fd())), "magic"),
		link("/proc/self/root"+secret, "magic-root"),
		link("dangling", "dangling"),
		root, filepath.Join(root, "sub"),
		"/etc/passwd", "/proc/self/environ", "/dev/zero", root + "-not/a",
	}
	for _, old := range []bool{false, true} {
		noOpenat2.Store(old)
		r, err := newRoots([]string{root}, filepath.Join(base, "data"))
		require.NoError(t, err)
		for _, path := range good {
			fd, st, err := r.open(path)
			require.NoError(t, err, path)
			require.Equal(t, int64(2), st.size)
			unix.Close(fd)
		}
		for _, path := range bad {
			_, _, err := r.open(path)
			require.Error(t, err, path)
		}
		any, err := newRoots(nil, outside)
		require.NoError(t, err)
		_, _, err = any.open(secret)
		require.ErrorIs(t, err, errOurs)
		_, _, err = any.open("/proc/self/environ")
		require.Error(t, err)
	}
	noOpenat2.Store(false)
}

// logCount counts log lines by their message.
type logCount struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logCount) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logCount) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func TestOddFilesAreNamedOnce(t *testing.T) {
	r := newRig(t)
	out := &logCount{}
	r.o.Logger = slog.New(slog.NewTextHandler(out, nil))
	r.o.AllowedPaths = []string{r.dir}
	require.NoError(t, unix.Mkfifo(r.path("fifo.log"), 0o644))
	require.NoError(t, os.Mkdir(r.path("dir.log"), 0o755))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: r.path("socket.log")}))
	require.NoError(t, os.Symlink("/dev/zero", r.path("zero.log")))
	require.NoError(t, os.Symlink("/etc/passwd", r.path("passwd.log")))
	r.write("good.log", "one\n")
	r.start()
	r.wait("one")
	r.waitFor(func() bool { return r.src.Stats().Scans > 3 })
	for _, name := range []string{"fifo.log", "socket.log", "zero.log", "passwd.log"} {
		require.Equal(t, 1, out.count(name), name)
	}
	require.Zero(t, out.count("dir.log"))
	require.Equal(t, []string{"one"}, r.texts())
}

func TestOwnFilesAreNotRead(t *testing.T) {
	r := newRig(t)
	r.data = filepath.Join(r.dir, "data")
	r.o.Dir = r.data
	require.NoError(t, os.Mkdir(r.data, 0o755))
	r.write("data/own.log", "own\n")
	r.write("a.log", "one\n")
	r.inputs = []config.Input{r.input("in", "**/*")}
	r.start()
	r.wait("one")
	require.Equal(t, []string{"one"}, r.texts())
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		glob, path string
		match      bool
	}{
		{"/a/*.log", "/a/b.log", true},
		{"/a/*.log", "/a/b/c.log", false},
		{"/a/**/c.log", "/a/c.log", true},
		{"/a/**/c.log", "/a/b/b/c.log", true},
		{"/a/**", "/a/b/c", true},
		{"/a/{b,c/d}/*.log", "/a/c/d/x.log", true},
		{"/a/{b,c/{d,e}}/*.log", "/a/c/e/x.log", true},
		{"/a/{b,c}.log", "/a/c.log", true},
		{`/a/\*.log`, "/a/*.log", true},
		{`/a/\*.log`, "/a/b.log", false},
		{"/a/[0-9].log", "/a/1.log", true},
	} {
		in := &input{}
		require.NoError(t, in.configure(config.Input{Paths: []string{c.glob}}, 0))
		require.Equal(t, c.match, in.matches(c.path), "%s %s", c.glob, c.path)
	}
	require.Error(t, (&input{}).configure(config.Input{Paths: []string{"/a/[b"}}, 0))
	require.Error(t, (&input{}).configure(config.Input{Paths: []string{"/a"}, Exclude: []string{"{a"}}, 0))
}
