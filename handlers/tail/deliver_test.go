package tail

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func TestNackedBatchComesAgain(t *testing.T) {
	r := newRig(t)
	nacks := map[int64]int{}
	r.nack = func(b *logs.Batch) bool {
		nacks[b.Start]++
		b.Settle(0) // the first line was sent, the others were not
		return nacks[b.Start] < 3
	}
	text, lines := numbered("line", 0, 3*maxLines)
	r.write("a.log", text)
	r.start()
	want := len(lines) - 3
	r.waitFor(func() bool { return len(r.texts()) >= want })
	require.Len(t, r.texts(), want)
	r.end()
	r.forget()
	r.write("a.log", "x\n")
	r.nack = nil
	r.start()
	r.wait("x")
}

// A position moves only over what was acked without a gap.
func TestKilledWithAGap(t *testing.T) {
	r := newRig(t)
	r.nack = func(b *logs.Batch) bool { return b.Start == 0 }
	text, lines := numbered(strings.Repeat("l", 50), 0, 3*maxLines)
	r.write("a.log", text)
	r.start()
	r.waitFor(func() bool { return len(r.texts()) >= 2*maxLines })
	r.kill()
	r.nack = nil
	r.forget()
	r.start()
	r.waitFor(func() bool { return len(r.texts()) >= len(lines) })
	require.ElementsMatch(t, lines, r.texts())
}

func TestInputRemovedAndBack(t *testing.T) {
	r := newRig(t)
	r.inputs = append(r.inputs, r.input("other", "*.txt"))
	r.write("a.log", "a1\n")
	r.write("b.txt", "b1\n")
	r.start()
	r.wait("a1", "b1")
	ctx := context.Background()
	require.NoError(t, r.src.Update(ctx, r.inputs[1:]))
	r.write("a.log", "a2\n")
	r.write("b.txt", "b2\n")
	r.wait("a1", "b1", "b2")
	r.waitFor(func() bool { _, ok := r.src.Stats().Inputs["in"]; return !ok })
	require.NoError(t, r.src.Update(ctx, r.inputs))
	r.consume("in")
	r.wait("a1", "b1", "b2", "a2")

	// Under another name, the same files go on.
	renamed := r.input("renamed", "*.log")
	require.NoError(t, r.src.Update(ctx, []config.Input{renamed, r.inputs[1]}))
	r.consume("renamed")
	r.write("a.log", "a3\n")
	r.wait("a1", "b1", "b2", "a2", "a3")
}

func TestRemovedInputSettlesFirst(t *testing.T) {
	r := newRig(t)
	r.gate = make(chan struct{})
	text, lines := numbered("l", 0, 100)
	r.write("a.log", text)
	r.start()
	r.waitFor(func() bool { return r.src.Stats().Messages == 1 })
	require.NoError(t, r.src.Update(context.Background(), nil))
	require.Contains(t, r.src.Stats().Inputs, "in")
	close(r.gate)
	r.wait(lines...)
	r.waitFor(func() bool { return len(r.src.Stats().Inputs) == 0 })
	r.wg.Wait() // the subscription ended
	require.NoError(t, r.src.Update(context.Background(), r.inputs))
	r.consume("in")
	r.write("a.log", "more\n")
	r.wait(append(lines, "more")...)
}

// What a subscription that ends did not ack, the next one gets.
func TestSubscribeAgain(t *testing.T) {
	r := newRig(t)
	src, err := New(r.o)
	require.NoError(t, err)
	r.src = src
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.done = cancel, make(chan error, 1)
	go func() { r.done <- src.Run(ctx) }()
	r.write("a.log", "one\ntwo\n")
	subCtx, end := context.WithCancel(ctx)
	ch, err := src.Subscribe(subCtx, "in")
	require.NoError(t, err)
	_, err = src.Subscribe(subCtx, "in")
	require.Error(t, err)
	require.NoError(t, src.Update(ctx, r.inputs))
	msg := <-ch
	require.Equal(t, 2, logs.BatchOf(msg).Len())
	end()
	for range ch {
		t.Fatal("nothing more was to come")
	}
	msg.Nack()
	require.Error(t, msg.Context().Err())
	r.consume("in")
	r.wait("one", "two")
}

func TestDrainWaitsAndCloseEnds(t *testing.T) {
	r := newRig(t)
	r.gate = make(chan struct{})
	r.write("a.log", "one\n")
	r.start()
	r.waitFor(func() bool { return r.src.Stats().Messages == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.src.Drain(ctx), context.DeadlineExceeded)
	r.write("a.log", "two\n")
	close(r.gate)
	require.NoError(t, r.src.Drain(context.Background()))
	require.Equal(t, []string{"one"}, r.texts())
	require.NoError(t, r.src.Close())
	require.NoError(t, r.src.Close())
	r.wg.Wait()
	_, err := r.src.Subscribe(context.Background(), "in")
	require.ErrorIs(t, err, ErrClosed)
	r.kill()
	r.gate = nil
	r.forget()
	r.start()
	r.wait("two")
}

// An input whose consumer is stuck leaves room for the others, and all of it
// stays within the budget.
func TestBlockedInputLeavesRoom(t *testing.T) {
	r := newRig(t)
	r.o.MaxInFlightBytes = 1 << 20
	text, _ := numbered(strings.Repeat("x", 200), 0, 5000)
	for i := range 20 {
		r.write("stuck"+itoa(uint64(i))+".log", text)
	}
	r.write("free.txt", text)
	r.inputs = append(r.inputs, r.input("free", "*.txt"))
	r.nack = func(b *logs.Batch) bool { return b.Origin.Input == "in" }
	r.start()
	r.waitFor(func() bool {
		st := r.src.Stats()
		require.LessOrEqual(t, st.InFlight, r.o.MaxInFlightBytes)
		return len(r.texts()) == 5000
	})
	r.waitFor(func() bool { return r.src.Stats().InFlight > 0 })
}

func TestStartAtEnd(t *testing.T) {
	r := newRig(t)
	r.inputs[0].StartAt = "end"
	r.write("a.log", "old\nhalf")
	r.write("empty.log", "")
	r.start()
	r.write("a.log", " a line\n")
	r.write("empty.log", "first\n")
	r.write("new.log", "new\n")
	r.wait("half a line", "first", "new")
	r.end()
	r.forget()
	r.write("b.log", "while stopped\n")
	r.start()
	r.wait("while stopped")
}

func TestFirstInputHasTheFile(t *testing.T) {
	r := newRig(t)
	r.inputs = []config.Input{r.input("first", "a*.log"), r.input("second", "*.log")}
	r.inputs[1].Exclude = []string{"c*"}
	r.write("a.log", "a\n")
	r.write("b.log", "b\n")
	r.write("c.log", "c\n")
	r.start()
	r.wait("a", "b")
	st := r.src.Stats()
	require.Equal(t, 1, st.Inputs["first"].Files)
	require.Equal(t, 1, st.Inputs["second"].Files)
}

func TestMoreFilesThanHandles(t *testing.T) {
	r := newRig(t)
	r.prepare = func(s *Source) { s.maxOpen = 20 }
	var want []string
	for i := range 100 {
		r.write("f"+itoa(uint64(i))+".log", "a"+itoa(uint64(i))+"\n")
		want = append(want, "a"+itoa(uint64(i)))
	}
	r.start()
	src := r.src
	r.wait(want...)
	for i := range 100 {
		r.write("f"+itoa(uint64(i))+".log", "b"+itoa(uint64(i))+"\n")
		want = append(want, "b"+itoa(uint64(i)))
	}
	r.wait(want...)
	r.waitFor(func() bool { return src.Stats().Messages == 0 })
	require.LessOrEqual(t, src.Stats().Open, 20)
	require.Equal(t, uint64(0), src.Stats().Replaced+src.Stats().Rewritten+src.Stats().Truncated)
	require.NoError(t, os.RemoveAll(r.dir))
}

// A batch that waits for one which nobody will send any more is let go.
func TestDrainAfterANack(t *testing.T) {
	r := newRig(t)
	text, _ := numbered(strings.Repeat("x", 100), 0, 3*maxLines)
	r.write("a.log", text)
	src, err := New(r.o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r.src, r.stop, r.done = src, cancel, make(chan error, 1)
	go func() { r.done <- src.Run(ctx) }()
	ch, err := src.Subscribe(ctx, "in")
	require.NoError(t, err)
	require.NoError(t, src.Update(ctx, r.inputs))
	first, second := <-ch, <-ch
	drained := make(chan error, 1)
	r.wg.Go(func() { drained <- src.Drain(ctx) })
	r.waitFor(func() bool {
		stopped := false
		_ = src.call(ctx, func() { stopped = src.stopped })
		return stopped
	})
	first.Nack()
	require.NoError(t, logs.BatchOf(second).Turn.Await(ctx))
	second.Ack()
	require.NoError(t, <-drained)
}
