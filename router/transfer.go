package router

import (
	"cmp"
	"context"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/actor"
	"github.com/logferry/logferry/handlers/index"
	"github.com/logferry/logferry/router/kafka"
	"github.com/logferry/logferry/router/middleware"
)

// TransferOptions are the parts that a transfer's routes share.
type TransferOptions struct {
	Kafka   config.Kafka
	Client  *index.Client
	Letters message.Publisher // to the poison topic
	// EnsurePoison makes sure that the poison topic exists.
	EnsurePoison func(topic string) error
	// AllowedIndices are globs of names that routes may produce.
	AllowedIndices []string
	// MaxInFlightBytes bounds the memory of what is under way over all routes;
	// 0 is 256 MiB.
	MaxInFlightBytes int64
	// DrainTimeout is how long a removed or changed route may settle what is
	// in flight.
	DrainTimeout time.Duration
	// Member sets this process apart from all others and is the same after a
	// restart, or is empty; see [kafka.SubscriberOptions].Instance.
	Member string
	Logger *slog.Logger
}

const defaultInFlight = 256 << 20

// memory is what all routes share.
type memory struct {
	records *kafka.Budget
	bodies  *index.Bodies
}

// newMemory divides total. Twelve bodies of 5 MiB, three routes' worth at their
// defaults, are about a quarter of the default.
func newMemory(total int64) memory {
	if total == 0 {
		total = defaultInFlight
	}
	bodies := total / 4
	return memory{records: kafka.NewBudget(total - bodies), bodies: index.NewBodies(bodies)}
}

// Transfer keeps one pipeline for each route:
//
//	kafka.Subscriber -> chain -> index.Handler -> index.Bulker -> Elasticsearch
//	                      \-> poison topic
//
// One goroutine calls Update, Drain and Stop; Stats may be called from any.
type Transfer struct {
	options   TransferOptions
	memory    memory
	pipelines *actor.Set[*route]
	bulkers   *actor.Set[*route] // each asked by the pipeline of its route, and stopped after it
	routes    map[string]*route
	snapshot  atomic.Pointer[map[string]*route]
}

// NewTransfer returns a transfer without routes.
func NewTransfer(o TransferOptions) *Transfer {
	failed := func(r *route, err error) {
		o.Logger.Error("a pipeline failed and starts again", "route", r.name, "error", err)
	}
	return &Transfer{
		options:   o,
		memory:    newMemory(o.MaxInFlightBytes),
		routes:    map[string]*route{},
		pipelines: actor.NewSet(failed),
		bulkers:   actor.NewSet(failed),
	}
}

// Update reconciles the pipelines with what the config says: a route that
// changed swaps its settings; one that is gone or reads other topics drains and
// stops, and then those that are new start.
func (t *Transfer) Update(ctx context.Context, c config.Transfer) error {
	wanted := map[string]config.Route{}
	for _, r := range c.Routes {
		wanted[r.Name] = r
	}
	var gone []*route
	for name, have := range t.routes {
		if want, ok := wanted[name]; !ok || !have.reads(want) {
			gone = append(gone, have)
			delete(t.routes, name)
		}
	}
	poison := poisonTopics(c)
	first := t.applyAll(ctx, c, poison, func(name string) bool { return t.routes[name] != nil })
	if err := t.drain(ctx, gone); err != nil {
		t.options.Logger.Warn("a route stops before all was settled; it will be read again", "error", err)
	}
	for _, r := range gone {
		t.pipelines.Stop(r)
		t.bulkers.Stop(r)
		t.options.Logger.Info("route stopped", "route", r.name)
	}
	err := t.applyAll(ctx, c, poison, func(name string) bool { return t.routes[name] == nil })
	t.publish()
	return cmp.Or(first, err)
}

// applyAll starts or updates the routes that which names, and returns the first
// error.
func (t *Transfer) applyAll(ctx context.Context, c config.Transfer, poison []string, which func(name string) bool) (first error) {
	for _, r := range c.Routes {
		if !which(r.Name) {
			continue
		}
		if err := t.apply(ctx, r, poison); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// poisonTopics are the topics that no regular expression of a route matches.
func poisonTopics(c config.Transfer) []string {
	topics := []string{config.DefaultPoisonTopic}
	for _, r := range c.Routes {
		topics = append(topics, r.Poison.Topic)
	}
	return topics
}

func (t *Transfer) apply(ctx context.Context, c config.Route, poison []string) error {
	if have, ok := t.routes[c.Name]; ok {
		if reflect.DeepEqual(have.config, c) {
			return nil
		}
		return have.update(ctx, c)
	}
	r, err := newRoute(c, poison, &t.options, t.memory)
	if err != nil {
		return err
	}
	t.routes[c.Name] = r
	t.bulkers.Start(r, r.bulker.Run)
	t.pipelines.Start(r, r.run)
	r.log.Info("route added", "topics", c.Topics, "group", c.Group, "index", c.Index)
	return nil
}

// Drain stops reading and waits until what is in flight has settled, or ctx
// ends.
func (t *Transfer) Drain(ctx context.Context) error {
	all := make([]*route, 0, len(t.routes))
	for _, r := range t.routes {
		all = append(all, r)
	}
	return t.drain(ctx, all)
}

func (t *Transfer) drain(ctx context.Context, routes []*route) error {
	ctx, cancel := context.WithTimeout(ctx, t.options.DrainTimeout)
	defer cancel()
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	for _, r := range routes {
		wait.Go(func() {
			if err := r.drain(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				first = err
			}
		})
	}
	wait.Wait()
	return first
}

func (t *Transfer) publish() {
	routes := make(map[string]*route, len(t.routes))
	for name, r := range t.routes {
		routes[name] = r
	}
	t.snapshot.Store(&routes)
}

// Stop cancels all pipelines and waits for them.
func (t *Transfer) Stop() {
	t.pipelines.StopAll()
	t.bulkers.StopAll()
}

// RouteStats are the figures of one route's parts.
type RouteStats struct {
	Chain      middleware.Stats
	Bulker     index.Stats
	Subscriber kafka.SubscriberStats
}

// Stats returns the figures by route.
func (t *Transfer) Stats() map[string]RouteStats {
	stats := map[string]RouteStats{}
	if routes := t.snapshot.Load(); routes != nil {
		for name, r := range *routes {
			stats[name] = r.stats()
		}
	}
	return stats
}
