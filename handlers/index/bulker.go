package index

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// BulkerOptions are what a bulker does not take from its route.
type BulkerOptions struct {
	// AllowedIndices are globs (* and ?) that index names must match; none
	// allows any.
	AllowedIndices []string
	// Logger gets the few things that no caller is told, such as that the
	// route holds. Nil is silent.
	Logger *slog.Logger
}

// Bulker is the actor that brings the records of many polls into _bulk
// requests and the verdicts back. One serves one route.
//
//	Index ─► asks ─► [queue] ─► request ─► worker: build, post, read verdicts
//	  ▲                                       │
//	  └────── answer ◄── [count, guard] ◄── done
//
// A request is made when it is full, when nothing is under way, or when its
// first record has waited for max_wait; so a quiet route waits for nothing,
// and a busy one fills its requests while others are under way. What waits in
// the queue are references to polls; bodies exist only for the in_flight
// requests, each of at most max_bytes, unless one document alone is larger.
type Bulker struct {
	client *Client
	opts   BulkerOptions
	logger *slog.Logger
	stats  counters

	asks    chan *ask
	updates chan update
	done    chan *request // room for all that can be under way
	stopped chan struct{}

	// owned by Run
	plan    *plan
	queue   []*ask
	queued  load
	since   time.Time // when the first of the queue came
	busy    int
	workers []*worker // those at rest
	guard   guard
}

// load is an amount of documents.
type load struct{ docs, bytes int }

// segment is a range of one ask's records in one request.
type segment struct {
	ask      *ask
	from, to int
}

// request is the work of one worker and what came of it.
type request struct {
	worker   *worker
	plan     *plan
	segments []segment

	verdicts
}

// verdicts is what came of the documents of a request. Those that failures
// does not list are stored.
type verdicts struct {
	accepted int64 // stored, now or before
	refused  int64
	failures []failure
}

type failure struct {
	ask   *ask
	index int
	err   error
}

type update struct {
	route  config.Route
	answer chan error
}

// errStopped is what callers get that are left when Run ends. It wraps
// context.Canceled, so nothing is made of it but a stop.
var errStopped = fmt.Errorf("the bulker stopped: %w", context.Canceled)

// NewBulker returns the bulker of one route; [Bulker.Run] starts it. The error
// names the setting that cannot be used.
func NewBulker(c *Client, route config.Route, o BulkerOptions) (*Bulker, error) {
	p, err := newPlan(route, o.AllowedIndices)
	if err != nil {
		return nil, err
	}
	b := &Bulker{
		client:  c,
		opts:    o,
		logger:  o.Logger,
		asks:    make(chan *ask),
		updates: make(chan update),
		done:    make(chan *request, maxInFlight),
		stopped: make(chan struct{}),
		plan:    p,
		guard:   newGuard(route.Poison.MaxRatio, route.Poison.Window.D()),
	}
	b.stats.overhead.Store(firstOverhead)
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	b.logger = b.logger.With("route", route.Name)
	return b, nil
}

// Index sends what is pending of poll, and returns when each record has a
// verdict: nil when all are stored, else a *logs.BatchError. Records that were
// stored are settled, those with a *logs.Refusal want the poison queue, others
// want to be tried again. The goroutine that owns poll calls it; when ctx ends
// first, Index returns ctx's error and settles nothing, and no record is read
// afterwards.
func (b *Bulker) Index(ctx context.Context, poll *logs.Poll) error {
	if poll.Pending() == 0 {
		return nil
	}
	a := newAsk(poll)
	select {
	case b.asks <- a:
	case <-ctx.Done():
		return ctx.Err()
	case <-b.stopped:
		return errStopped
	}
	select {
	case err := <-a.answer:
		if err != nil {
			return err
		}
		return a.settle()
	case <-ctx.Done():
		a.reading.Lock()
		a.left = true
		a.reading.Unlock()
		return ctx.Err()
	}
}

// Update changes the route's settings for requests made from now on; what is
// under way keeps the old ones. An error changes nothing. It must not be
// called before Run.
func (b *Bulker) Update(ctx context.Context, route config.Route) error {
	u := update{route: route, answer: make(chan error, 1)}
	select {
	case b.updates <- u:
	case <-ctx.Done():
		return ctx.Err()
	case <-b.stopped:
		return errStopped
	}
	return <-u.answer
}

// Run works until ctx ends, then gives up requests under way, answers all who
// wait that nothing was decided, and returns nil. To lose no work, end ctx only
// when nobody asks any more. It is called once.
func (b *Bulker) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for ctx.Err() == nil {
		b.dispatch(ctx, timer)
		select {
		case a := <-b.asks:
			b.enqueue(a)
		case u := <-b.updates:
			u.answer <- b.update(u.route)
		case r := <-b.done:
			b.finish(r)
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	close(b.stopped)
	for b.busy > 0 {
		b.finish(<-b.done)
	}
	for _, a := range b.queue {
		a.answer <- errStopped
	}
	b.queue = nil
	b.measure()
	return nil
}

func (b *Bulker) update(route config.Route) error {
	if reflect.DeepEqual(route, b.plan.route) {
		return nil
	}
	p, err := newPlan(route, b.opts.AllowedIndices)
	if err != nil {
		return err
	}
	b.plan = p
	b.guard.set(route.Poison.MaxRatio, route.Poison.Window.D())
	return nil
}

func (b *Bulker) enqueue(a *ask) {
	if len(b.queue) == 0 {
		b.since = time.Now()
	}
	a.each = a.bytes/a.count + int(b.stats.overhead.Load())
	b.queue = append(b.queue, a)
	b.queued.docs += a.count
	b.queued.bytes += a.count * a.each
	b.measure()
}

// dispatch starts requests as long as there is reason to, and sets the timer
// for the next reason that time alone brings.
func (b *Bulker) dispatch(ctx context.Context, timer *time.Timer) {
	timer.Stop()
	for len(b.queue) > 0 && b.busy < b.plan.inFlight {
		full := b.queued.docs >= b.plan.maxDocs || b.queued.bytes >= b.plan.maxBytes
		if !full && b.busy > 0 {
			wait := time.Until(b.since.Add(b.plan.maxWait))
			if wait > 0 {
				timer.Reset(wait)
				return
			}
		}
		b.start(ctx)
	}
}

// start takes one request's worth of the queue and hands it to a worker.
func (b *Bulker) start(ctx context.Context) {
	r := &request{plan: b.plan}
	var taken load
	for len(b.queue) > 0 && taken.docs < b.plan.maxDocs && taken.bytes < b.plan.maxBytes {
		a := b.queue[0]
		n := min(a.count-a.next, b.plan.maxDocs-taken.docs, max((b.plan.maxBytes-taken.bytes)/a.each, 1))
		r.segments = append(r.segments, segment{ask: a, from: a.next, to: a.next + n})
		a.next += n
		taken.docs += n
		taken.bytes += n * a.each
		if a.next == a.count {
			b.queue[0] = nil
			b.queue = b.queue[1:]
		}
	}
	b.queued.docs -= taken.docs
	b.queued.bytes -= taken.bytes
	if len(b.queue) == 0 {
		b.queue = nil
	}
	b.since = time.Now()

	if n := len(b.workers); n > 0 {
		r.worker, b.workers = b.workers[n-1], b.workers[:n-1]
	} else {
		r.worker = newWorker(b.client, &b.stats)
	}
	b.busy++
	b.measure()
	go func() {
		r.worker.work(ctx, r)
		b.done <- r // has room: busy is at most maxInFlight
	}()
}

// finish takes back a worker and its verdicts.
func (b *Bulker) finish(r *request) {
	b.busy--
	if len(b.workers)+b.busy < b.plan.inFlight {
		b.workers = append(b.workers, r.worker)
	}
	b.judge(&r.verdicts)
	b.report(&r.verdicts)
	for _, f := range r.failures {
		f.ask.failures = append(f.ask.failures, logs.Failure{Index: f.index, Err: f.err})
	}
	for _, s := range r.segments {
		if s.ask.waiting -= s.to - s.from; s.ask.waiting == 0 {
			s.ask.answer <- nil
		}
	}
	b.measure()
}
