//go:build compare

package tail

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	nxtail "github.com/nxadm/tail"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/logferry/logferry/config"
)

var page = flag.String("page", "", "the page whose table is written anew")

func init() {
	// nxadm/tail's watcher of the whole process never ends.
	leaks = append(leaks,
		goleak.IgnoreAnyFunction("github.com/nxadm/tail/watch.(*InotifyTracker).run"),
		goleak.IgnoreAnyFunction("github.com/fsnotify/fsnotify.(*inotify).readEvents"))
}

// A subject follows a file, or files, in a folder and counts what it gets.
type subject interface {
	start()
	stop() // in good order, to be started again
}

// tallied is what arrived.
type tallied struct {
	mu    sync.Mutex
	times map[string]int
}

func (c *tallied) take(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times[text]++
}

func (c *tallied) distinct() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.times)
}

// theirs is nxadm/tail, as its users run it: it goes on where it was stopped.
type theirs struct {
	t    *testing.T
	path string
	poll bool
	got  *tallied
	seek *nxtail.SeekInfo
	tail *nxtail.Tail
	done sync.WaitGroup
}

func (x *theirs) start() {
	var err error
	x.tail, err = nxtail.TailFile(x.path, nxtail.Config{
		Follow: true, ReOpen: true, Poll: x.poll, Location: x.seek, Logger: stdlog.New(io.Discard, "", 0),
	})
	require.NoError(x.t, err)
	lines := x.tail.Lines
	x.done.Go(func() {
		for l := range lines {
			x.got.take(l.Text)
		}
	})
}

func (x *theirs) stop() {
	if pos, err := x.tail.Tell(); err == nil {
		x.seek = &nxtail.SeekInfo{Offset: pos, Whence: io.SeekStart}
	}
	require.NoError(x.t, x.tail.Stop())
	x.done.Wait()
}

// ours is a source.
type ours struct {
	r   *rig
	got *tallied
}

func (o *ours) start() { o.r.start() }

func (o *ours) stop() {
	o.r.end()
	for _, l := range o.r.all() {
		o.got.take(l.text)
	}
	o.r.forget()
}

// writer writes numbered lines into app.log of a folder, whoever reads them.
type writer struct {
	t    *testing.T
	dir  string
	n    int
	sub  subject
	f    *os.File
	seen func() int // how many different lines arrived
}

func (w *writer) path(name string) string { return filepath.Join(w.dir, name) }

func (w *writer) open() {
	f, err := os.OpenFile(w.path("app.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(w.t, err)
	w.f = f
}

func (w *writer) lines(n int) {
	var b bytes.Buffer
	for range n {
		fmt.Fprintf(&b, "line %06d of a steady writer\n", w.n)
		w.n++
	}
	_, err := w.f.Write(b.Bytes())
	require.NoError(w.t, err)
}

func (w *writer) text(s string) {
	_, err := w.f.WriteString(s)
	require.NoError(w.t, err)
}

// steady writes 2,500 lines a second.
func (w *writer) steady(d time.Duration) {
	for began, n := time.Now(), 0; time.Since(began) < d; {
		w.lines(25)
		n += 25
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / 2500)))
	}
}

func (w *writer) rename() { // the chain of three
	for i := 2; i >= 0; i-- {
		from := "app.log"
		if i > 0 {
			from += fmt.Sprintf(".%d", i)
		}
		err := os.Rename(w.path(from), w.path(fmt.Sprintf("app.log.%d", i+1)))
		require.True(w.t, err == nil || os.IsNotExist(err))
	}
}

// settled waits until all arrived, or nothing more does.
func (w *writer) settled() {
	for last, since := -1, time.Now(); ; time.Sleep(20 * time.Millisecond) {
		n := w.seen()
		if n >= w.n {
			return
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > 3*time.Second {
			return
		}
	}
}

// programsCompared are the programs that both can run.
var programsCompared = []struct {
	name string
	run  func(w *writer)
}{
	{"2,500 lines/s, renamed each second, the writer goes on for 30 ms", func(w *writer) {
		for range 5 {
			w.steady(time.Second)
			w.rename()
			w.steady(30 * time.Millisecond)
			w.f.Close()
			w.open()
		}
	}},
	{"a burst of 5,000 lines, renamed at once, 5,000 more", func(w *writer) {
		w.lines(5000)
		w.rename()
		w.f.Close()
		w.open()
		w.lines(5000)
	}},
	{"ten renames in a second", func(w *writer) {
		for range 10 {
			w.steady(100 * time.Millisecond)
			w.rename()
			w.f.Close()
			w.open()
		}
	}},
	{"half a line, renamed, the rest into the old file", func(w *writer) {
		w.steady(200 * time.Millisecond)
		w.text(fmt.Sprintf("line %06d of a", w.n))
		time.Sleep(100 * time.Millisecond)
		w.rename()
		time.Sleep(100 * time.Millisecond)
		w.text(" steady writer\n")
		w.n++
		w.f.Close()
		w.open()
		w.steady(200 * time.Millisecond)
	}},
	{"copied and truncated each second, nothing written between", func(w *writer) {
		for range 4 {
			w.steady(time.Second)
			b, err := os.ReadFile(w.path("app.log"))
			require.NoError(w.t, err)
			require.NoError(w.t, os.WriteFile(w.path("app.log.1"), b, 0o644))
			require.NoError(w.t, os.Truncate(w.path("app.log"), 0))
		}
		w.steady(200 * time.Millisecond)
	}},
	{"all read, then truncated and filled beyond its old size", func(w *writer) {
		for range 5 {
			w.lines(100)
			w.settled()
			require.NoError(w.t, os.Truncate(w.path("app.log"), 0))
			w.lines(150)
			w.settled()
			require.NoError(w.t, os.Truncate(w.path("app.log"), 0))
		}
	}},
	{"deleted and made anew each second, the writer reopens at once", func(w *writer) {
		for range 4 {
			w.steady(time.Second)
			require.NoError(w.t, os.Remove(w.path("app.log")))
			w.f.Close()
			w.open()
		}
		w.steady(200 * time.Millisecond)
	}},
	{"stopped, written, renamed, written, started", func(w *writer) {
		w.steady(300 * time.Millisecond)
		w.settled()
		w.sub.stop()
		w.lines(500)
		w.rename()
		w.f.Close()
		w.open()
		w.lines(500)
		w.sub.start()
	}},
}

// TestCompareTails runs the programs below both, and prints a table.
func TestCompareTails(t *testing.T) {
	var b strings.Builder
	b.WriteString("| program | written | nxadm/tail, inotify | nxadm/tail, polling | logferry, `app.log` | logferry, `app.log*` |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, p := range programsCompared {
		var cells []string
		written := 0
		for _, kind := range []string{"inotify", "polling", "app.log", "app.log*"} {
			got := &tallied{times: map[string]int{}}
			r := newRigAlone(t)
			r.inputs = []config.Input{r.input("in", kind)}
			r.inputs[0].RotateWait = config.Duration(time.Second)
			w := &writer{t: t, dir: r.dir, seen: got.distinct}
			o := &ours{r, got}
			switch kind {
			case "inotify", "polling":
				w.sub = &theirs{t: t, path: r.path("app.log"), poll: kind == "polling", got: got}
			default:
				w.sub = o
				w.seen = func() int {
					have := map[string]bool{}
					for _, l := range r.all() {
						have[l.text] = true
					}
					return len(have) + got.distinct()
				}
			}
			w.open()
			w.sub.start()
			time.Sleep(100 * time.Millisecond)
			p.run(w)
			w.settled()
			w.f.Close()
			w.sub.stop()
			written = w.n
			cells = append(cells, verdictOf(got, w.n))
			if kind == "inotify" || kind == "polling" {
				w.sub.(*theirs).tail.Cleanup()
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %s |\n", p.name, written, strings.Join(cells, " | "))
		t.Log(p.name, written, cells)
	}
	t.Log("\n" + b.String())
	if *page == "" {
		return
	}
	const from, to = "<!-- table -->\n", "<!-- end of table -->"
	text, err := os.ReadFile(*page)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), from)
	_, after, ok2 := strings.Cut(rest, to)
	require.True(t, ok && ok2, "no place for the table in %s", *page)
	require.NoError(t, os.WriteFile(*page, []byte(before+from+b.String()+to+after), 0o644))
}

// verdictOf says what was lost, came again, or is no line that was written.
func verdictOf(got *tallied, written int) string {
	whole, again, foreign := 0, 0, 0
	for text, n := range got.times {
		var number int
		_, err := fmt.Sscanf(text, "line %06d of a steady writer", &number)
		if err != nil || text != fmt.Sprintf("line %06d of a steady writer", number) || number >= written {
			foreign += n
			continue
		}
		whole++
		again += n - 1
	}
	lost := written - whole
	cell := fmt.Sprintf("%d lost", lost)
	if lost > 0 {
		cell = fmt.Sprintf("**%d lost (%.1f%%)**", lost, 100*float64(lost)/float64(written))
	}
	if again > 0 {
		cell += fmt.Sprintf(", %d again", again)
	}
	if foreign > 0 {
		cell += fmt.Sprintf(", %d fragments", foreign)
	}
	return cell
}
