package router

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/index"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/router/kafka"
	"github.com/logferry/logferry/router/middleware"
)

// attemptTimeout is the net under one attempt of a route: a request to
// Elasticsearch has a shorter limit of its own.
const attemptTimeout = 5 * time.Minute

// route is one pipeline of the transfer with its own consumer and bulker.
type route struct {
	name       string
	group      string
	topics     []string
	exclude    []string     // poison topics
	config     config.Route // owned by Transfer's caller
	options    *TransferOptions
	budget     *kafka.Budget
	log        *slog.Logger
	bulker     *index.Bulker
	chain      *middleware.Chain
	subscriber atomic.Pointer[kafka.Subscriber] // of the current run
	cut        kafka.Cut
	nameless   bool // owned by run
}

func newRoute(c config.Route, poison []string, o *TransferOptions, m memory) (*route, error) {
	r := &route{
		name: c.Name, group: c.Group, topics: c.Topics, exclude: poison,
		config: c, options: o, budget: m.records, log: o.Logger.With("route", c.Name),
	}
	bulker, err := index.NewBulker(o.Client, c, index.BulkerOptions{
		AllowedIndices: o.AllowedIndices,
		Bodies:         m.bodies,
		Logger:         r.log,
	})
	if err != nil {
		return nil, err
	}
	r.bulker = bulker
	r.cut.Set(perStep(c.Throttle))
	r.chain = middleware.NewChain(settings(c), middleware.Options{
		Name: c.Name,
		Letters: &letters{
			publisher: o.Letters,
			handler:   handlerIndex + " " + c.Name,
			ensure:    o.EnsurePoison,
			topicOf:   func(*logs.Origin) string { return "" },
		},
		ThrottleKey: throttleKey,
		Timeout:     attemptTimeout,
		Logger:      r.log,
	})
	return r, nil
}

// perStep returns how many records and bytes a throttle lets pass in a tenth of
// a second, or zeros: messages of that size wait side by side, and their
// requests overlap.
func perStep(t config.Throttle) (records, bytes int64) {
	if t.LinesPerSecond > 0 {
		records = max(1, int64(t.LinesPerSecond/10))
	}
	if t.BytesPerSecond > 0 {
		bytes = max(1, int64(t.BytesPerSecond/10))
	}
	return records, bytes
}

// throttleKey is a poll's topic or partition.
func throttleKey(by string, w logs.Work) string {
	p, _ := w.(*logs.Poll)
	switch {
	case p == nil:
		return ""
	case by == "topic":
		return p.Topic
	case by == "partition":
		return p.Topic + "/" + strconv.Itoa(int(p.Partition))
	}
	return ""
}

func settings(c config.Route) middleware.Settings {
	return middleware.Settings{Retry: c.Retry, Throttle: c.Throttle, Breaker: c.Breaker, Poison: c.Poison}
}

// reads says whether the route can go on with its consumer under c.
func (r *route) reads(c config.Route) bool {
	return r.group == c.Group && slices.Equal(r.topics, c.Topics)
}

func (r *route) update(ctx context.Context, c config.Route) error {
	if err := r.bulker.Update(ctx, c); err != nil {
		return err
	}
	r.chain.Update(settings(c))
	r.cut.Set(perStep(c.Throttle))
	r.config = c
	return nil
}

// run consumes until ctx ends or the route was drained. The bulker runs beside
// it and is stopped after it.
func (r *route) run(ctx context.Context) error {
	sub, err := kafka.NewSubscriber(r.options.Kafka, kafka.SubscriberOptions{
		Topics:   r.topics,
		Exclude:  r.exclude,
		Group:    r.group,
		Instance: r.instance(),
		Budget:   r.budget,
		Cut:      &r.cut,
		Logger:   r.log,
	})
	if err != nil {
		return err
	}
	r.subscriber.Store(sub)
	defer sub.Close()
	p := &pipeline{
		name:       r.name,
		handler:    handlerIndex,
		topic:      r.name,
		subscriber: sub,
		chain:      r.chain,
		handle:     index.NewHandler(r.bulker).Handle,
		log:        r.log,
	}
	err = p.run(ctx)
	if err == nil && sub.Fenced() {
		r.nameless = true
		return errFenced
	}
	return err
}

var errFenced = errors.New("another transfer has a copy of this one's data_dir: going on without a place of its own in the group")

// instance is the route's name in its group. The topics are in it since a
// member that takes its place back is not asked what it reads now.
func (r *route) instance() string {
	if r.options.Member == "" || r.nameless {
		return ""
	}
	h := fnv.New64a()
	for _, s := range append([]string{r.name}, r.topics...) {
		h.Write(append([]byte(s), 0))
	}
	return fmt.Sprintf("%s-%016x", r.options.Member, h.Sum64())
}

// drain stops polling and waits until what is in flight has settled.
func (r *route) drain(ctx context.Context) error {
	sub := r.subscriber.Load()
	if sub == nil {
		return nil
	}
	return sub.Drain(ctx)
}

func (r *route) stats() RouteStats {
	s := RouteStats{Chain: r.chain.Stats(), Bulker: r.bulker.Stats()}
	if sub := r.subscriber.Load(); sub != nil {
		s.Subscriber = sub.Stats()
	}
	return s
}
