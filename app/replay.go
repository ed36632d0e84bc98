package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/index"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/router"
	"github.com/logferry/logferry/router/kafka"
)

// ReplayOptions say which records of a route are indexed again.
type ReplayOptions struct {
	// Route is the name of a route.
	Route string
	// From and To are the times of the records: from From until before To.
	From, To time.Time
	// Index, if not empty, takes the place of the route's.
	Index string
	// Rate is how many records a second; 0 leaves it to the route's throttle.
	Rate float64
	// Progress, if not nil, is called now and then from another goroutine.
	Progress func(settled int64)
}

// drainReplay is how long a replay that is asked to end settles what is in
// flight: what waits for a rate or for Elasticsearch may as well be repeated.
const drainReplay = 3 * time.Second

// Replay is a range of a route's topics that can be indexed again.
type Replay struct {
	// Route is the route as it will be used.
	Route config.Route
	// Spans are what was found, by topic and partition.
	Spans []logs.Span

	config *config.Config
	reader *kafka.Reader
	client *index.Client
	o      ReplayOptions
	log    *slog.Logger
}

// WrongCallError says that what was asked for makes no sense.
type WrongCallError struct{ error }

func noRoute(name string, routes []config.Route) error {
	if len(routes) == 0 {
		return WrongCallError{fmt.Errorf("no route %q: none is configured", name)}
	}
	var known []string
	for _, r := range routes {
		known = append(known, r.Name)
	}
	return WrongCallError{fmt.Errorf("no route %q; the routes are %s", name, strings.Join(known, ", "))}
}

// FindReplay looks up what there is to be indexed again, and changes nothing.
// c is the config as it is in force; see [CurrentTransfer]. A route or an index
// that cannot be used is a WrongCallError.
func FindReplay(ctx context.Context, c *config.Config, o ReplayOptions, log *slog.Logger) (*Replay, error) {
	r := &Replay{config: c, reader: kafka.NewReader(c.Kafka, log), o: o, log: log}
	i := slices.IndexFunc(c.Transfer.Routes, func(r config.Route) bool { return r.Name == o.Route })
	if i < 0 {
		return nil, noRoute(o.Route, c.Transfer.Routes)
	}
	r.Route = c.Transfer.Routes[i]
	if o.Index != "" {
		r.Route.Index = o.Index
	}
	if o.Rate > 0 {
		r.Route.Throttle.LinesPerSecond, r.Route.Throttle.Burst = o.Rate, 0
	}
	var err error
	if r.client, err = index.NewClient(c.Elasticsearch, log); err != nil {
		return nil, err
	}
	// A bad index is said before anything is read.
	if _, err := index.NewBulker(r.client, r.Route, index.BulkerOptions{AllowedIndices: c.Elasticsearch.AllowedIndices}); err != nil {
		return nil, WrongCallError{err}
	}
	r.Spans, err = r.reader.Between(ctx, r.Route.Topics, poisonTopics(c), o.From, o.To)
	return r, err
}

// Records is the number of offsets in the spans: at least as many as there are
// records.
func (r *Replay) Records() int64 {
	var n int64
	for _, s := range r.Spans {
		n += s.To - s.From
	}
	return n
}

// Run indexes the records; see [router.Replay]. An Elasticsearch that does not
// answer at all is an error at once.
func (r *Replay) Run(ctx context.Context) (router.Replayed, error) {
	if err := r.client.Ping(ctx); err != nil {
		return router.Replayed{}, err
	}
	letters, err := kafka.NewLetterPublisher(r.config.Kafka, r.log)
	if err != nil {
		return router.Replayed{}, err
	}
	defer letters.Close()
	return router.Replay(ctx, router.TransferOptions{
		Client:         r.client,
		Letters:        letters,
		EnsurePoison:   ensurePoison(r.config.Kafka),
		AllowedIndices: r.config.Elasticsearch.AllowedIndices,
		DrainTimeout:   min(drainReplay, r.config.ShutdownTimeout.D()),
		Logger:         r.log,
	}, router.ReplayOptions{Route: r.Route, Reader: r.reader, Spans: r.Spans, Progress: r.o.Progress})
}
