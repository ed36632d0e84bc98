// Package actor is the kit for logferry's actors: an actor is one goroutine
// that owns its state, and everyone else sends it a message or asks it and
// waits for the answer.
package actor

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Set holds keyed children, such as the pipelines of inputs. Each child is a
// function that blocks until its context ends; one that returns an error
// before that is started again after a growing pause. One goroutine owns a
// Set and calls all its methods.
type Set[K comparable] struct {
	failed   func(key K, err error)
	children map[K]*child
}

type child struct {
	cancel context.CancelFunc
	done   chan struct{}
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 30 * time.Second
)

// NewSet returns an empty set. failed is told each error of a child, from the
// child's goroutine, before the pause that follows it.
func NewSet[K comparable](failed func(key K, err error)) *Set[K] {
	return &Set[K]{failed: failed, children: map[K]*child{}}
}

// Start runs a child under key until Stop, or until run returns nil. It
// returns false and does nothing when the key is taken by a child that has not
// ended.
func (s *Set[K]) Start(key K, run func(ctx context.Context) error) bool {
	if c, taken := s.children[key]; taken && !c.ended() {
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &child{cancel: cancel, done: make(chan struct{})}
	s.children[key] = c
	go func() {
		defer close(c.done)
		s.keep(ctx, key, run)
	}()
	return true
}

func (s *Set[K]) keep(ctx context.Context, key K, run func(ctx context.Context) error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, maxPause
	for {
		started := time.Now()
		err := run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.failed(key, err)
		if time.Since(started) > maxPause {
			pause.Reset()
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return
		}
	}
}

// Done returns a channel that is closed when the child has ended; it is closed
// already when there is none.
func (s *Set[K]) Done(key K) <-chan struct{} {
	if c, ok := s.children[key]; ok {
		return c.done
	}
	none := make(chan struct{})
	close(none)
	return none
}

// Stop cancels the child and waits until it has ended.
func (s *Set[K]) Stop(key K) {
	if c, ok := s.children[key]; ok {
		c.cancel()
		<-c.done
		delete(s.children, key)
	}
}

// StopAll cancels all children at once and waits for all of them.
func (s *Set[K]) StopAll() {
	for _, c := range s.children {
		c.cancel()
	}
	for key, c := range s.children {
		<-c.done
		delete(s.children, key)
	}
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
