package tail

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// crash ends the source as SIGKILL would: nothing is written any more.
func (r *rig) crash() {
	r.t.Helper()
	require.NoError(r.t, r.src.call(r.t.Context(), func() {
		r.src.crashing = true
		r.src.keeper.killed.Store(true)
	}))
	r.kill()
}

// oneID requires that each line came under one identity and position.
func (r *rig) oneID() {
	r.t.Helper()
	ids := map[string]got{}
	for _, l := range r.all() {
		first, again := ids[l.text]
		if !again {
			ids[l.text] = l
			continue
		}
		require.Equal(r.t, []any{first.file, first.pos}, []any{l.file, l.pos}, "%q came under two ids", l.text)
	}
}

// A file whose lines were handed out a moment before a kill, and that is copied
// and cut while nobody looks, goes on in its copy under the identity it had.
func TestKilledRightAfterTheFirstLines(t *testing.T) {
	for _, refill := range []string{"", "after\n"} {
		r := newRigAlone(t)
		r.inputs = []config.Input{r.input("in", "app.log*")}
		r.start()
		text, lines := numbered("line", 0, 200)
		r.write("app.log", text)
		r.waitFor(func() bool { return len(r.texts()) > 0 })
		r.crash()
		more, added := numbered("more", 0, 10)
		r.write("app.log", more)
		copyTruncate(r, "app.log", "app.log.1")
		r.write("app.log", refill)
		r.start()
		want := append(lines, added...)
		if refill != "" {
			want = append(want, "after")
		}
		r.waitFor(func() bool { return len(distinct(r.texts())) == len(want) })
		require.ElementsMatch(t, want, distinct(r.texts()))
		r.end()
		r.oneID()
	}
}

// The same for a generation that began while the source ran.
func TestKilledRightAfterASecondGeneration(t *testing.T) {
	r := newRigAlone(t)
	r.inputs = []config.Input{r.input("in", "app.log*")}
	r.write("app.log", "the first generation\n")
	r.start()
	r.wait("the first generation")
	require.NoError(t, os.Truncate(r.path("app.log"), 0))
	r.waitFor(func() bool { return r.src.Stats().Truncated == 1 })
	r.write("app.log", "second 1\nsecond 2\n")
	r.waitFor(func() bool { return len(r.texts()) == 3 })
	r.crash()
	copyTruncate(r, "app.log", "app.log.1")
	r.start()
	r.write("app.log", "third\n")
	r.waitFor(func() bool { return len(distinct(r.texts())) == 4 })
	r.end()
	r.oneID()
}

// Nothing of a file is handed out before its identity is written, however
// early the kill; unless it cannot be written, which stops nothing.
func TestIdentityIsWrittenBeforeTheFirstLines(t *testing.T) {
	r := newRigAlone(t)
	early := 0
	r.nack = func(b *logs.Batch) bool {
		c, err := loadCheckpoint(r.data+"/tail", discard)
		require.NoError(t, err)
		known := false
		for _, e := range c.entries {
			known = known || e.key() == b.Origin.File && e.head.size > 0
		}
		if !known {
			early++
		}
		return false
	}
	r.start()
	for i := range 20 {
		r.write(itoa(uint64(i))+".log", "line\n")
		r.waitFor(func() bool { return len(r.texts()) == i+1 })
	}
	r.end()
	require.Zero(t, early)
}

func distinct(texts []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, text := range texts {
		if !seen[text] {
			seen[text] = true
			out = append(out, text)
		}
	}
	return out
}

// A file that begins as another one does, and that somebody writes to, is read
// although it never is quiet.
func TestGrowingFileThatBeginsAsAnother(t *testing.T) {
	r := newRig(t)
	r.inputs[0].RotateWait = config.Duration(100 * time.Millisecond)
	text, lines := numbered("same", 0, 100)
	r.write("app.log", text)
	r.start()
	r.wait(lines...)
	r.write("app2.log", text)
	for i := 0; len(r.texts()) < 3*len(lines)/2; i++ {
		require.Less(t, i, 2000, "it is not read while it grows")
		r.write("app2.log", "more\n")
		time.Sleep(5 * time.Millisecond)
	}
}
