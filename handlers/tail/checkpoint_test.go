package tail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func entryOf(i int, pos int64) *entry {
	return &entry{
		name: fmt.Sprintf("fd00-%x-abc", i), gen: 1, inode: inode{0xfd00, uint64(i)}, born: int64(i) << 40,
		path: fmt.Sprintf("/var/log/app-%d.log", i), head: prefix{512, 77}, acked: at(pos), tail: uint64(pos) * 31,
	}
}

// journalOf is a checkpoint of n entries at position 1, and a journal that
// moves each of them to 2 and removes the first.
func journalOf(n int) []byte {
	b := []byte(journalHeader)
	b = appendInput(b, "in")
	for i := range n {
		b = appendEntry(b, entryOf(i, 1))
	}
	b = appendRecord(b, func(b []byte) []byte { return append(b, recordEnd) })
	for i := range n {
		b = appendEntry(b, entryOf(i, 2))
	}
	gone := entryOf(0, 2)
	gone.dead = true
	return appendEntry(b, gone)
}

func TestJournalSurvivesAnyDamage(t *testing.T) {
	const n = 5
	good := journalOf(n)
	im, err := decode(good)
	require.NoError(t, err)
	require.True(t, im.whole && im.inputs["in"])
	require.Len(t, im.entries, n-1)
	want := entryOf(3, 2)
	require.Equal(t, want, im.entries[want.key()])

	// believable says that nothing in the image is anything but what was
	// written, now or before.
	believable := func(im *image, what string, at int) {
		for key, e := range im.entries {
			i := int(e.ino)
			require.True(t, *e == *entryOf(i, 1) || *e == *entryOf(i, 2), "%s at %d: %+v", what, at, e)
			require.Equal(t, e.key(), key)
		}
		if im.whole {
			require.GreaterOrEqual(t, len(im.entries), n-1, "%s at %d", what, at)
		}
	}
	for i := range good {
		im, err := decode(good[:i])
		if im.whole {
			require.True(t, err == nil || errors.Is(err, errTorn), "cut at %d", i)
		} else {
			require.Error(t, err)
		}
		believable(im, "cut", i)
		for _, bit := range []byte{1, 0x80, 0xff} {
			bad := append([]byte(nil), good...)
			bad[i] ^= bit
			im, err := decode(bad)
			require.Error(t, err)
			believable(im, "flip", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(journalOf(2))
	f.Add([]byte(journalHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		im, _ := decode(b)
		for _, e := range im.entries {
			// What was decoded can be encoded and is the same.
			payload, _, err := nextRecord(appendEntry(nil, e))
			if err != nil {
				continue // an absurdly long name
			}
			again, ok := decodeEntry(payload[1:])
			require.True(t, ok)
			require.Equal(t, e, again)
		}
	})
}

// newest returns the path of the newest checkpoint.
func newest(r *rig) string {
	numbers, err := checkpointFiles(filepath.Join(r.data, "tail"))
	require.NoError(r.t, err)
	require.NotEmpty(r.t, numbers)
	return filepath.Join(r.data, "tail", checkpointPrefix+itoa(numbers[len(numbers)-1]))
}

func TestDamagedCheckpointLosesNothing(t *testing.T) {
	r := newRig(t)
	text, lines := numbered("line", 0, 100)
	r.write("a.log", text)
	r.start()
	r.wait(lines...)
	r.end()
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 20 {
		more, added := numbered("more"+itoa(uint64(i)), 0, 3)
		r.write("a.log", more)
		path := newest(r)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		switch i % 4 {
		case 0:
			b = b[:rnd.IntN(len(b))]
		case 1:
			b[rnd.IntN(len(b))] ^= 0x20
		case 2:
			clear(b)
		case 3:
			b = nil
		}
		require.NoError(t, os.WriteFile(path, b, 0o600))
		r.forget()
		r.start()
		have := map[string]bool{}
		r.waitFor(func() bool {
			for _, l := range r.texts() {
				have[l] = true
			}
			for _, l := range added {
				if !have[l] {
					return false
				}
			}
			return true
		})
		r.end()
	}
}

func TestCheckpointFilesAreOurs(t *testing.T) {
	r := newRig(t)
	r.write("a.log", "one\n")
	r.start()
	r.wait("one")
	_, err := New(r.o)
	require.ErrorContains(t, err, "another process")
	r.end()
	dir := filepath.Join(r.data, "tail")
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(newest(r))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	// A link in place of the newest is not followed: the one before counts.
	elsewhere := filepath.Join(r.dir, "planted")
	require.NoError(t, os.WriteFile(elsewhere, journalOf(3), 0o600))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, checkpointPrefix+"999")))
	r.forget()
	r.write("a.log", "two\n")
	r.start()
	r.wait("two")
	r.end()

	require.NoError(t, os.Rename(dir, dir+".away"))
	require.NoError(t, os.Symlink(dir+".away", dir))
	_, err = New(r.o)
	require.ErrorContains(t, err, "not a folder")
}

func TestUnwritableDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := New(Options{Dir: filepath.Join(path, "data")})
	require.ErrorContains(t, err, "data_dir")
}

// A disk that refuses stops nothing; once it takes writes again, all is there.
func TestCheckpointsCannotBeWritten(t *testing.T) {
	r := newRig(t)
	r.write("a.log", "one\n")
	r.start()
	r.waitFor(func() bool { return r.src.Stats().CheckpointWrites > 0 })
	dir := filepath.Join(r.data, "tail")
	require.NoError(t, os.Rename(dir, dir+".away")) // snapshots fail now, and
	require.NoError(t, r.src.call(context.Background(), func() { r.src.wholesale = true }))
	r.write("a.log", "two\n")
	r.wait("one", "two")
	r.waitFor(func() bool { return r.src.Stats().CheckpointErrors > 0 })
	r.write("a.log", "three\n")
	r.wait("one", "two", "three")
	require.Error(t, r.src.Drain(context.Background()))
	require.NoError(t, os.Rename(dir+".away", dir))
	r.end()
	r.forget()
	r.write("a.log", "four\n")
	r.start()
	r.wait("four")
}

func TestExpiredPositionsGo(t *testing.T) {
	r := newRig(t)
	r.write("a.log", "one\n")
	r.write("b.log", "one\n")
	r.start()
	r.wait("one", "one")
	r.end()
	require.NoError(t, os.Rename(r.path("a.log"), filepath.Join(r.data, "a")))
	r.start()
	r.waitFor(func() bool { return r.src.Stats().Files == 1 })
	require.NoError(t, r.src.call(context.Background(), func() {
		require.Len(t, r.src.past, 1)
		for _, e := range r.src.past {
			require.NotZero(t, e.left)
			e.left -= int64(keepPast.Seconds()) + 1
		}
		r.src.expireAt = r.src.now
		r.src.expire()
		require.Empty(t, r.src.past)
	}))
	r.end()
	c, err := openCheckpoint(filepath.Join(r.data, "tail"), discard)
	require.NoError(t, err)
	require.Len(t, c.entries, 1)
	c.keeper.close()
}
