package tail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Ten thousand files cost what their state costs, and no more.
func TestManyIdleFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 10,000 files")
	}
	const n = 10_000
	r := newRigAlone(t)
	r.inputs = []config.Input{r.input("in", "*/*.log")}
	var text strings.Builder
	for i := range 20 {
		fmt.Fprintf(&text, "%d %s\n", i, strings.Repeat("x", 50))
	}
	for i := range n {
		dir := filepath.Join(r.dir, fmt.Sprintf("service-%d", i%10))
		if i < 10 {
			require.NoError(t, os.Mkdir(dir, 0o755))
		}
		path := filepath.Join(dir, fmt.Sprintf("some-instance-of-it-%d.log", i))
		require.NoError(t, os.WriteFile(path, []byte(itoa(uint64(i))+text.String()), 0o644))
	}
	lines := 0
	r.nack = func(b *logs.Batch) bool { lines += b.Len(); b.SettleAll(b.Len()); return false }
	before := heap()
	r.start()
	r.waitFor(func() bool { r.mu.Lock(); defer r.mu.Unlock(); return lines == 20*n })
	r.waitFor(func() bool { return r.src.Stats().Messages == 0 })
	used := int64(heap()) - int64(before)
	t.Logf("%d files use %d bytes of heap, %d each", n, used, used/n)
	require.Less(t, used, int64(30<<20))

	require.NoError(t, r.src.call(context.Background(), func() {
		cpu := processorTime()
		for range 10 {
			r.src.scan()
		}
		t.Logf("a scan takes %s", (processorTime()-cpu)/10)
	}))
	r.write("service-3/some-instance-of-it-3.log", "hot\n")
	r.waitFor(func() bool { r.mu.Lock(); defer r.mu.Unlock(); return lines == 20*n+1 })
}

// One file with no end does not keep many small ones waiting: between a small
// file's line and its delivery, few batches of the large one are delivered.
func TestSmallFilesBesideALargeOne(t *testing.T) {
	r := newRig(t)
	const small = 50
	text, _ := numbered(strings.Repeat("y", 170), 0, 150_000)
	r.write("large.log", text)
	for i := range small {
		r.write("small"+itoa(uint64(i))+".log", "")
	}
	large, written := 0, 0 // batches of the one, lines of the others
	var waited []int
	r.nack = func(b *logs.Batch) bool {
		if strings.HasSuffix(b.Origin.Path, "large.log") {
			if large++; written < small {
				r.write("small"+itoa(uint64(written))+".log", itoa(uint64(large))+"\n")
				written++
			}
			time.Sleep(500 * time.Microsecond) // as a broker needs
			return false
		}
		var at int
		_, _ = fmt.Sscan(string(b.Lines[0].Value), &at)
		waited = append(waited, large-at)
		return false
	}
	r.start()
	r.waitFor(func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(waited) == small })
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Logf("large file: %d batches; a small file's line waited for %d of them at most", large, slices.Max(waited))
	require.Less(t, slices.Max(waited), large/2)
}

func BenchmarkTurn(b *testing.B) {
	path := filepath.Join(b.TempDir(), "a.log")
	line := strings.Repeat("x", 179) + "\n"
	lines := 64 << 20 / len(line)
	require.NoError(b, os.WriteFile(path, []byte(strings.Repeat(line, lines)), 0o644))
	fd, err := os.Open(path)
	require.NoError(b, err)
	defer fd.Close()
	pool := &buffers{}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	first := make([]byte, maxHead)
	lim := limits{maxLine: 1 << 20, maxLines: maxLines}
	from, before, head := place{}, uint64(0), prefix{}
	b.ResetTimer()
	for n := 0; n < b.N; {
		t := &turn{fd: int(fd.Fd()), from: from, before: before, head: head, lim: lim, chunk: maxChunk}
		t.run(pool, first)
		if t.verdict != handOut {
			from, before, head = place{}, 0, prefix{}
			continue
		}
		n += len(t.buf.lines)
		from, before, head = t.to, t.after, t.head
		pool.put(t.buf)
	}
}

// BenchmarkSource is all of it: from the file to the ack.
func BenchmarkSource(b *testing.B) {
	r := newRig(b)
	line := strings.Repeat("x", 172)
	f, err := os.Create(r.path("a.log"))
	require.NoError(b, err)
	for i := range b.N {
		fmt.Fprintf(f, "%s%07d\n", line, i)
	}
	require.NoError(b, f.Close())
	lines := 0
	done := make(chan struct{})
	r.nack = func(batch *logs.Batch) bool {
		if lines += batch.Len(); lines == b.N {
			close(done)
		}
		batch.SettleAll(batch.Len())
		return false
	}
	b.SetBytes(180)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := processorTime()
	r.start()
	<-done
	b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	r.kill()
}
