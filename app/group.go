package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/oklog/run"
)

// ErrUnsettled says that a shutdown ended before all in flight was settled.
// Nothing is lost: it is sent again after the next start.
var ErrUnsettled = errors.New("not all in flight was settled; it will be sent again after the next start")

// errStopped is the reason of a normal stop.
var errStopped = errors.New("stopped")

// group is a run.Group whose actors are stopped one after the other, in the
// order in which they were added: the shutdown plan. Each is awaited before
// the next one is stopped.
type group struct {
	run run.Group
	err error // owned by the shutdown
}

// add puts an actor into the plan. before, if not nil, is called when its turn
// to stop has come, before its context is cancelled; its error is the group's
// unless there was one before.
func (g *group) add(ctx context.Context, name string, actor func(context.Context) error, before func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	g.run.Add(func() error {
		defer close(done)
		if err := actor(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		<-ctx.Done() // an actor without work left does not end the process
		return errStopped
	}, func(error) {
		if before != nil {
			if err := before(); err != nil && g.err == nil {
				g.err = err
			}
		}
		cancel()
		<-done
	})
}

// wait runs the group until an actor fails or is stopped.
func (g *group) wait() error {
	if err := g.run.Run(); !errors.Is(err, errStopped) {
		return err
	}
	return g.err
}

// untilDone adds the actor that ends the group when ctx does.
func (g *group) untilDone(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	g.run.Add(func() error {
		<-ctx.Done()
		return errStopped
	}, func(error) { cancel() })
}

// sameSignal is how long a further signal counts as the first one: some
// supervisors send it to the process and to its group.
const sameSignal = 300 * time.Millisecond

// WithSignals returns a context that ends at the first SIGTERM or SIGINT; its
// cause names the signal. The second one ends the process at once. A command
// calls it before anything else, so that no signal finds the process unready.
func WithSignals() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		select {
		case s := <-signals:
			cancel(fmt.Errorf("signal %s", s))
		case <-ctx.Done():
		}
		time.AfterFunc(sameSignal, func() { signal.Stop(signals) })
	}()
	return ctx, func() { cancel(nil) }
}

// SayStop tells a person what follows once a signal has come.
func SayStop(ctx context.Context, log *slog.Logger) {
	context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			log.Info("stopping: what is in flight is settled first; a second signal ends at once", "cause", cause)
		}
	})
}

// stallAfter is how long a shutdown waits for a sink that settles nothing at
// all. A sink that moves gets the whole shutdown_timeout.
const stallAfter = 8 * time.Second

// drain calls settle, which returns when nothing is in flight, with a context
// that ends after the timeout, or earlier when in-flight work has not moved
// for stallAfter. moved returns a number that changes with each settlement.
func drain(timeout time.Duration, moved func() uint64, settle func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- settle(ctx) }()
	last, since := moved(), time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%w (%w)", ErrUnsettled, err)
			}
			return nil
		case <-tick.C:
		}
		if now := moved(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > stallAfter {
			cancel()
		}
	}
}
