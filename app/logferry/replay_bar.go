package main

import (
	"io"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// bar shows progress on a terminal, and nothing anywhere else.
type bar struct {
	writer  progress.Writer // nil: not shown
	tracker *progress.Tracker
	closing chan struct{}
	closed  chan struct{}
	once    sync.Once
}

const (
	barDelay = 500 * time.Millisecond // what is done sooner needs no bar
	barEvery = 100 * time.Millisecond
)

// newBar returns a bar that appears on w, with the text, once it has lasted for
// a moment. Close takes it away.
func newBar(w io.Writer, text string) *bar {
	b := &bar{}
	if !onTerminal(w) {
		return b
	}
	b.tracker = &progress.Tracker{Message: text, RemoveOnCompletion: true}
	b.writer = progress.NewWriter()
	b.writer.SetOutputWriter(w)
	b.writer.SetTrackerLength(30)
	b.writer.SetUpdateFrequency(barEvery)
	b.writer.SetTrackerPosition(progress.PositionRight)
	b.writer.Style().Visibility.ETA = true
	b.writer.AppendTracker(b.tracker)
	b.closing, b.closed = make(chan struct{}), make(chan struct{})
	go b.show()
	return b
}

func (b *bar) show() {
	defer close(b.closed)
	timer := time.NewTimer(barDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		b.writer.Render()
	case <-b.closing:
	}
}

// move says how much is done. Any goroutine may call it.
func (b *bar) move(done, total int64) {
	if b.writer != nil && total > 0 {
		b.tracker.UpdateTotal(total)
		b.tracker.SetValue(min(done, total-1)) // the end is said by Close
	}
}

// Close takes the bar away. It is idempotent.
func (b *bar) Close() {
	if b.writer == nil {
		return
	}
	b.once.Do(func() {
		b.tracker.MarkAsDone()
		close(b.closing)
		for {
			b.writer.Stop() // says nothing to a Render that is just beginning
			select {
			case <-b.closed:
				return
			case <-time.After(barEvery):
			}
		}
	})
}
