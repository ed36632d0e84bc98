package tail

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

var discard = slog.New(slog.DiscardHandler)

// got is one line as a consumer saw it.
type got struct {
	text  string
	path  string
	file  string
	pos   int64
	part  int32
	flags logs.Flags
}

// rig runs one source over a folder, with consumers that keep what they get.
type rig struct {
	t    testing.TB
	dir  string // of the logs
	data string
	o    Options
	src  *Source
	stop context.CancelFunc
	done chan error

	mu      sync.Mutex
	lines   []got
	nack    func(b *logs.Batch) bool // decides for each batch, under mu
	prepare func(*Source)            // before Run
	gate    chan struct{}            // batches wait until it is closed, nil: no waiting
	wg      sync.WaitGroup
	inputs  []config.Input
}

func newRig(t testing.TB) *rig {
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	return newRigAlone(t)
}

// newRigAlone is for tests that measure.
func newRigAlone(t testing.TB) *rig {
	root := t.TempDir()
	r := &rig{t: t, dir: filepath.Join(root, "logs"), data: filepath.Join(root, "data")}
	require.NoError(t, os.Mkdir(r.dir, 0o755))
	r.o = Options{Node: "n1", Dir: r.data, Logger: discard}
	r.inputs = []config.Input{r.input("in", "*.log")}
	t.Cleanup(r.kill)
	return r
}

func (r *rig) input(name string, globs ...string) config.Input {
	for i, g := range globs {
		if !filepath.IsAbs(g) {
			globs[i] = filepath.Join(r.dir, g)
		}
	}
	return config.Input{
		Name: name, Paths: globs, StartAt: "beginning", MaxLineBytes: 1 << 20, OnLongLine: "split",
		RotateWait: config.Duration(50 * time.Millisecond), CloseInactive: config.Duration(5 * time.Minute),
	}
}

func (r *rig) start() *rig {
	src, err := New(r.o)
	require.NoError(r.t, err)
	if r.prepare != nil {
		r.prepare(src)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.src, r.stop, r.done = src, cancel, make(chan error, 1)
	go func() { r.done <- src.Run(ctx) }()
	for _, in := range r.inputs {
		r.consume(in.Name)
	}
	require.NoError(r.t, src.Update(ctx, r.inputs))
	return r
}

// consume takes what the input gives until its subscription ends.
func (r *rig) consume(name string) {
	ch, err := r.src.Subscribe(context.Background(), name)
	require.NoError(r.t, err)
	r.wg.Go(func() {
		for msg := range ch {
			r.wg.Go(func() { r.take(msg) })
		}
	})
}

func (r *rig) take(msg *message.Message) {
	b := logs.BatchOf(msg)
	if b.Turn.Await(context.Background()) != nil {
		msg.Nack()
		return
	}
	r.mu.Lock()
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		<-gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nack != nil && r.nack(b) {
		b.Turn.Sent()
		msg.Nack()
		return
	}
	for i, l := range b.Lines {
		if b.Settled(i) {
			continue
		}
		r.lines = append(r.lines, got{string(l.Value), b.Origin.Path, b.Origin.File, l.Pos, l.Part, l.Flags})
	}
	b.Turn.Sent()
	msg.Ack()
}

// kill ends the source at once: in flight is in flight.
func (r *rig) kill() {
	if r.src == nil {
		return
	}
	r.stop()
	require.NoError(r.t, <-r.done)
	r.wg.Wait()
	r.src = nil
}

// end drains the source and ends it.
func (r *rig) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(r.t, r.src.Drain(ctx))
	r.kill()
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) {
	r.t.Helper()
	f, err := os.OpenFile(r.path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	require.NoError(r.t, err)
	_, err = f.WriteString(text)
	require.NoError(r.t, err)
	require.NoError(r.t, f.Close())
}

func (r *rig) rename(from, to string) {
	r.t.Helper()
	require.NoError(r.t, os.Rename(r.path(from), r.path(to)))
}

func (r *rig) texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, l := range r.lines {
		out = append(out, l.text)
	}
	return out
}

func (r *rig) all() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got(nil), r.lines...)
}

func (r *rig) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = nil
}

// wait waits until the lines are those, in any order.
func (r *rig) wait(want ...string) {
	r.t.Helper()
	r.waitFor(func() bool { return len(r.texts()) >= len(want) })
	require.ElementsMatch(r.t, want, r.texts())
}

func (r *rig) waitFor(ok func() bool) {
	r.t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Fatalf("waited too long; %d lines, stats %+v", len(r.lines), r.src.Stats())
}

// numbered makes lines n0 to n-1 with a prefix.
func numbered(prefix string, from, to int) (text string, lines []string) {
	var b strings.Builder
	for i := from; i < to; i++ {
		l := fmt.Sprintf("%s-%d", prefix, i)
		lines = append(lines, l)
		b.WriteString(l + "\n")
	}
	return b.String(), lines
}
