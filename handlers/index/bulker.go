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
	// Bodies bounds the memory of requests together with other bulkers; nil is
	// no bound but the route's own, in_flight times max_bytes.
	Bodies *Bodies
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
// and a busy one fills its requests while others are under way. How many are
// under way and how large they are is for the control law to say, up to
// in_flight, max_docs and max_bytes. What waits in the queue are references to
// polls; bodies exist only for the requests under way, each of at most
// max_bytes, unless one document alone is larger.
type Bulker struct {
	client *Client
	opts   BulkerOptions
	logger *slog.Logger
	stats  counters
	held   holds // written by Run

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
	under   float64 // size of what is under way, in full requests
	control control
	guard   guard
	room    chan struct{} // there may be room for a body
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
	plan     *plan
	segments []segment
	maxBytes int     // of a body
	reserved int     // of Bodies
	size     float64 // in full requests
	began    time.Time
	gate     gate

	verdicts
}

// verdicts is what came of the documents of a request. Those that failures
// does not list are stored.
type verdicts struct {
	accepted int64 // stored, now or before
	refused  int64
	failures []failure

	posts       int
	took        time.Duration // of the last post
	busy        bool          // the sink asked for a pause
	tooLargeFor int           // bytes of the smallest body that was called too large
	// shut are the indices that refused whatever they were given, open those
	// that took a document, as far as somebody asked.
	shut map[string]*logs.HeldError
	open map[string]bool
}

func (v *verdicts) tooLarge(bytes int) {
	if v.tooLargeFor == 0 || bytes < v.tooLargeFor {
		v.tooLargeFor = bytes
	}
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
		control: newControl(),
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
	b.room = b.opts.Bodies.join()
	defer b.opts.Bodies.leave(b.room)
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
		case <-b.room:
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
	if route.Batch != b.plan.route.Batch {
		b.control.largest = 0
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
	for l := b.control.limits(b.plan); len(b.queue) > 0 && b.busy < l.requests; {
		if !b.full(l) && b.busy > 0 {
			wait := time.Until(b.since.Add(b.plan.maxWait))
			if wait > 0 {
				timer.Reset(wait)
				return
			}
		}
		if !b.start(ctx, l) {
			return
		}
	}
}

// full says whether a full request waits.
func (b *Bulker) full(l limits) bool { return b.queued.docs >= l.docs || b.queued.bytes >= l.bytes }

// start takes one request's worth of the queue and hands it to a worker, or
// says that there is no room for its body.
func (b *Bulker) start(ctx context.Context, l limits) bool {
	r := &request{plan: b.plan, maxBytes: l.bytes, reserved: min(b.queued.bytes, l.bytes)}
	if !b.opts.Bodies.take(r.reserved) {
		return false
	}
	var taken load
	for len(b.queue) > 0 && taken.docs < l.docs && taken.bytes < l.bytes {
		a := b.queue[0]
		n := min(a.count-a.next, l.docs-taken.docs, max((l.bytes-taken.bytes)/a.each, 1))
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

	r.began = b.since
	r.size = min(1, max(float64(taken.docs)/float64(b.plan.maxDocs), float64(taken.bytes)/float64(b.plan.maxBytes)))
	r.gate = gate{held: b.held.all(), pause: b.plan.route.Breaker.OpenFor.D()}
	b.busy++
	b.under += r.size
	b.measure()
	go func() {
		w := getWorker(b.client, &b.stats)
		w.work(ctx, r)
		workers.Put(w)
		b.done <- r // has room: busy is at most maxInFlight
	}()
	return true
}

// finish takes a request's verdicts.
func (b *Bulker) finish(r *request) {
	o := outcome{began: r.began, size: r.size, busy: r.busy, taken: r.accepted > 0, tooLarge: r.tooLargeFor}
	if r.posts == 1 {
		o.took = r.took
	}
	b.control.note(o, time.Now(), b.under, b.full(b.control.limits(b.plan)), b.plan.inFlight)
	b.opts.Bodies.free(r.reserved)
	b.busy--
	if b.under -= r.size; b.busy == 0 {
		b.under = 0 // what adding and taking away left
	}
	b.judge(&r.verdicts)
	b.hold(&r.verdicts, b.plan.route.Breaker.OpenFor.D())
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
