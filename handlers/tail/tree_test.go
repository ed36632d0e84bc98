package tail

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// A folder that did not change is not listed again, and whatever happens to it
// is seen all the same, without any watch.
func TestUnchangedFoldersAreNotListed(t *testing.T) {
	r := newRig(t)
	r.prepare = func(s *Source) { s.blind = true }
	r.inputs = []config.Input{r.input("in", "**/*.log")}
	var want []string
	add := func(name, line string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(r.path(name)), 0o755))
		r.write(name, line+"\n")
		want = append(want, line)
	}
	add("a/1.log", "1")
	add("a/b/2.log", "2")
	add("c/3.log", "3")
	require.NoError(t, os.Mkdir(r.path("empty"), 0o755))
	old := time.Now().Add(-time.Hour)
	for _, dir := range []string{"a/b", "a", "c", "empty", "."} {
		require.NoError(t, os.Chtimes(r.path(dir), old, old))
	}
	r.start()
	r.wait(want...)
	listed := func() (n int) {
		_ = r.src.call(t.Context(), func() {
			for _, f := range r.src.tree.folders {
				if f.listing.IsZero() {
					n++
				}
			}
		})
		return n
	}
	r.waitFor(func() bool { return listed() == 0 })
	for i, step := range []func(){
		func() { add("a/1.log", "grown") },
		func() { add("a/b/new.log", "new") },
		func() { add("empty/x/y/4.log", "new folders") },
		func() { r.rename("c/3.log", "c/3.log.old"); add("c/3.log", "another") },
		func() { r.rename("a", "moved"); add("moved/1.log", "moved") },
		func() { require.NoError(t, os.Remove(r.path("c/3.log"))); add("c/3.log", "removed and made") },
		func() {
			require.NoError(t, os.Symlink(r.path("c/3.log.old"), r.path("empty/link.log")))
			add("c/3.log.old", "by a link")
		},
		func() {
			add("other", "first of the link")
			require.NoError(t, os.Symlink(r.path("other"), r.path("empty/l2.log")))
		},
	} {
		step()
		r.waitFor(func() bool { return len(r.texts()) >= len(want) })
		require.ElementsMatch(t, want, r.texts(), "step %d", i)
	}
}

func BenchmarkScan(b *testing.B) {
	for _, layout := range []struct {
		name    string
		folders int
	}{{"flat", 10}, {"deep", 1000}} {
		b.Run(layout.name, func(b *testing.B) {
			r := newRigAlone(b)
			r.inputs = []config.Input{r.input("in", "**/*.log")}
			old := time.Now().Add(-time.Hour)
			for i := range 10_000 {
				dir := r.path(filepath.Join("a"+itoa(uint64(i%10)), "b"+itoa(uint64(i%layout.folders))))
				require.NoError(b, os.MkdirAll(dir, 0o755))
				require.NoError(b, os.WriteFile(filepath.Join(dir, itoa(uint64(i))+".log"), []byte("line\n"), 0o644))
				require.NoError(b, os.Chtimes(dir, old, old))
			}
			r.start()
			r.waitFor(func() bool { return len(r.texts()) == 10_000 })
			b.ResetTimer()
			cpu := processorTime()
			require.NoError(b, r.src.call(b.Context(), func() {
				for range b.N {
					r.src.scan()
				}
			}))
			b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}
