package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nudges runs WatchFile until the test ends; the first nudge, at its start, is taken.
func nudges(t *testing.T, path string) <-chan struct{} {
	ctx, cancel := context.WithCancel(context.Background())
	nudged, done := make(chan struct{}, 10), make(chan error, 1)
	go func() { done <- WatchFile(ctx, path, func() { nudged <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	await(t, nudged)
	return nudged
}

func await(t *testing.T, nudged <-chan struct{}) {
	t.Helper()
	select {
	case <-nudged:
	case <-time.After(15 * time.Second):
		require.Fail(t, "no nudge")
	}
}

func TestWatchFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yml")
	require.NoError(t, os.WriteFile(path, []byte("1"), 0o600))
	nudged := nudges(t, path)

	require.NoError(t, os.WriteFile(path, []byte("2"), 0o600))
	await(t, nudged)
	require.NoError(t, os.WriteFile(other, []byte("3"), 0o600))
	require.NoError(t, os.Rename(other, path))
	await(t, nudged)
	// Gone is no change, the same contents are none, others are.
	require.NoError(t, os.Remove(path))
	time.Sleep(2 * settleFile)
	require.NoError(t, os.WriteFile(path, []byte("3"), 0o600))
	time.Sleep(2 * settleFile)
	require.Empty(t, nudged)
	require.NoError(t, os.WriteFile(path, []byte("4"), 0o600))
	await(t, nudged)
}

func TestWatchFileBehindKubernetesSymlinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yml")
	version := func(name, data string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "a.yml"), []byte(data), 0o600))
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	version("..1", "1")
	require.NoError(t, os.Symlink("..data/a.yml", path))
	nudged := nudges(t, path)
	version("..2", "2")
	await(t, nudged)
}

// A file behind a symlink to another folder gives no hint; the poll finds it.
func TestWatchFileWithoutHints(t *testing.T) {
	t.Parallel()
	target, path := filepath.Join(t.TempDir(), "a.yml"), filepath.Join(t.TempDir(), "a.yml")
	require.NoError(t, os.WriteFile(target, []byte("1"), 0o600))
	require.NoError(t, os.Symlink(target, path))
	nudged := nudges(t, path)
	require.NoError(t, os.WriteFile(target, []byte("2"), 0o600))
	await(t, nudged)
}
