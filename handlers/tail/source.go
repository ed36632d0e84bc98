package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
)

// ErrClosed is returned by all methods of a source that was closed or whose
// Run has ended.
var ErrClosed = errors.New("source is closed")

// Options say what a source needs to know beside its inputs.
type Options struct {
	// Node is the host's name in the lines' origin.
	Node string
	// Dir is data_dir: the checkpoints are kept in a folder in it.
	Dir string
	// AllowedPaths are roots that no file may lie outside of. Empty: any path.
	AllowedPaths []string
	// MaxInFlightBytes bounds what was read and is not settled. Default 64 MiB.
	MaxInFlightBytes int64
	// MaxOpenFiles is how many files may be open at once. Default half of
	// the process's limit.
	MaxOpenFiles int
	// MaxHeldBytes and MaxHeldTime bound what deleted files that are still
	// read may keep of the disk, and for how long. Default 1 GiB and 1 h.
	MaxHeldBytes int64
	MaxHeldTime  time.Duration
	// Logger is told what people should know. Default slog.Default().
	Logger *slog.Logger
}

// readers is how many goroutines read files. One is busy copying while the
// other waits for a disk.
const readers = 2

// Source follows files and hands out their lines. It is a Watermill
// message.Subscriber whose topics are the names of inputs; its messages carry
// a *logs.Batch. All methods are safe for concurrent use. Update, Subscribe
// and Drain wait for Run to begin.
//
// Every router closes the subscribers of its handlers when it stops: give a
// router that does not own the source a Subscriber with an empty Close.
type Source struct {
	o     Options
	log   *slog.Logger
	roots *roots
	own   string

	calls    chan func()
	turns    chan *turn
	turned   chan *turn
	verdicts chan settled
	piped    chan *file // pipes that have something to hand out
	written  chan error
	done     chan struct{} // closed when Run has ended
	quit     chan struct{} // closed when the readers and waiters shall end
	closing  chan struct{}
	closeOne sync.Once
	started  atomic.Bool
	stats    atomic.Pointer[Stats]
	buffers  buffers
	work     sync.WaitGroup

	state // owned by Run
}

var _ message.Subscriber = (*Source)(nil)

// New opens the checkpoints in o.Dir, which no other process may be using, and
// starts nothing. Run ends what New began; without Run, call Close.
func New(o Options) (*Source, error) {
	if o.MaxInFlightBytes <= 0 {
		o.MaxInFlightBytes = 64 << 20
	}
	if o.MaxOpenFiles <= 0 {
		o.MaxOpenFiles = openLimit()
	}
	if o.MaxHeldBytes <= 0 {
		o.MaxHeldBytes = 1 << 30
	}
	if o.MaxHeldTime <= 0 {
		o.MaxHeldTime = time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data_dir %q: %w", o.Dir, err)
	}
	own, err := filepath.Abs(o.Dir)
	if err == nil {
		own, err = filepath.EvalSymlinks(own)
	}
	if err != nil {
		return nil, fmt.Errorf("resolve data_dir %q: %w", o.Dir, err)
	}
	r, err := newRoots(o.AllowedPaths, own)
	if err != nil {
		return nil, err
	}
	c, err := openCheckpoint(filepath.Join(own, "tail"), o.Logger)
	if err != nil {
		return nil, err
	}
	s := &Source{
		o:        o,
		log:      o.Logger,
		roots:    r,
		own:      own,
		calls:    make(chan func()),
		turns:    make(chan *turn, readers), // the source never waits for a reader:
		turned:   make(chan *turn, readers), // there are no more turns than readers
		verdicts: make(chan settled, 64),    // a burst of acks costs one wake-up
		piped:    make(chan *file),
		written:  make(chan error, 1), // at most one write is under way
		done:     make(chan struct{}),
		quit:     make(chan struct{}),
		closing:  make(chan struct{}),
	}
	s.state.init(s, c)
	s.publish()
	return s, nil
}

// call runs f in the source's goroutine and waits for it.
func (s *Source) call(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case s.calls <- func() { f(); close(ran) }:
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-ran:
		return nil
	case <-s.done:
		return ErrClosed
	}
}

// Update reconciles: files that an input still asks for keep their handles and
// positions; an input that is no longer named stops being read, its messages
// settle, and its subscription ends; new inputs are scanned for files before
// Update returns. A pattern that cannot be read refuses all and changes
// nothing.
func (s *Source) Update(ctx context.Context, inputs []config.Input) error {
	var err error
	if e := s.call(ctx, func() { err = s.update(inputs) }); e != nil {
		return e
	}
	return err
}

// Subscribe returns the messages of one input; Update may name the input
// before or afterwards. An input has one subscription at a time. It ends, and
// its channel is closed, when ctx ends, when Update drops the input and its
// messages are settled, or when the source ends. What was handed out and
// nacked, or not taken from the channel, is handed out by the next one.
func (s *Source) Subscribe(ctx context.Context, name string) (<-chan *message.Message, error) {
	var ch <-chan *message.Message
	var err error
	if e := s.call(ctx, func() { ch, err = s.subscribe(ctx, name) }); e != nil {
		return nil, e
	}
	return ch, err
}

// Drain stops reading for good and returns nil once nothing is in flight and
// the checkpoint is on disk, or ctx's error before. Run goes on until its
// context ends.
func (s *Source) Drain(ctx context.Context) error {
	drained := make(chan error, 1)
	if err := s.call(ctx, func() { s.drain(drained) }); err != nil {
		return err
	}
	select {
	case err := <-drained:
		return err
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends all subscriptions for good; it is idempotent and does not wait
// for messages that were handed out. It does not end Run.
func (s *Source) Close() error {
	s.closeOne.Do(func() {
		close(s.closing)
		if s.started.CompareAndSwap(false, true) {
			close(s.done)
			s.keeper.close()
		}
	})
	return nil
}
