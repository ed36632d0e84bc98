package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
	"github.com/logferry/logferry/handlers/index"
	"github.com/logferry/logferry/router"
	"github.com/logferry/logferry/router/kafka"
)

// Transfer moves records from Kafka to Elasticsearch.
//
//	live config ──► router.Transfer ──► one pipeline for each route
//	                                      │
//	Kafka ──► kafka.Subscriber ──► chain ──► index.Handler ──► index.Bulker ──► Elasticsearch
//	             ▲                   │                            │
//	             └───── acked ◄──────┴────────── verdict ◄────────┘
//	                                 └──► poison topic
//
// It stops in this order: no more config, no more polling and what is in
// flight settles and is committed, pipelines, publishers, and last words to the
// fleet. Beside all that, it watches over the canaries of the fleet.
type Transfer struct {
	config        *config.Config
	log           *slog.Logger
	letters       message.Publisher
	member        *member
	router        *router.Transfer
	live          *live
	reporter      *etcd.Reporter // nil without etcd
	rates         *rates
	guard         *etcd.Guard // of canaries; nil without etcd
	kafka         *waitFor
	elasticsearch *waitFor
	stopping      atomic.Bool
	progress      progress
}

// NewTransfer makes a transfer of a loaded config; path is the file that it
// came from, to be read again when it changes, or "". It starts nothing.
// Servers that cannot be reached are no error.
func NewTransfer(c *config.Config, path string, log *slog.Logger) (*Transfer, error) {
	log = log.With("service", "transfer")
	t := &Transfer{config: c, log: log}
	client, err := index.NewClient(c.Elasticsearch, log)
	if err != nil {
		return nil, err
	}
	if t.letters, err = kafka.NewLetterPublisher(c.Kafka, log); err != nil {
		return nil, err
	}
	t.member = openMember(c.DataDir, log)
	t.router = router.NewTransfer(router.TransferOptions{
		Kafka:            c.Kafka,
		Client:           client,
		Letters:          t.letters,
		EnsurePoison:     ensurePoison(c.Kafka),
		AllowedIndices:   c.Elasticsearch.AllowedIndices,
		MaxInFlightBytes: int64(c.Transfer.MaxInFlightBytes),
		DrainTimeout:     c.ShutdownTimeout.D(),
		Member:           t.member.name,
		Logger:           log,
	})
	if t.live, err = newLive(c, liveOptions{"transfer", path, c.TransferKeys, t.apply, log}); err != nil {
		return nil, err
	}
	t.kafka = waitForKafka(c.Kafka, log)
	t.elasticsearch = &waitFor{
		name: "elasticsearch " + strings.Join(c.Elasticsearch.Addresses, ","),
		ping: client.Ping,
		log:  log,
	}
	t.rates = newRates(t.counts)
	t.reporter = newReporter(&reporting{role: "transfer", config: c, live: t.live, ready: t.Ready, parts: t.parts, done: t.rates})
	t.guard = newGuard(c, t.live.link, log)
	return t, nil
}

func (t *Transfer) apply(ctx context.Context, c *config.Config) error {
	return t.router.Update(ctx, c.Transfer)
}

// Run transfers until ctx ends, then settles what is in flight within
// shutdown_timeout; ErrUnsettled says that it could not.
func (t *Transfer) Run(ctx context.Context) error {
	var g group
	g.untilDone(ctx)
	background := context.Background()
	g.add(background, "live config", t.live.run, nil)
	g.add(background, "wait for kafka", t.kafka.run, nil)
	g.add(background, "wait for elasticsearch", t.elasticsearch.run, nil)
	g.add(background, "pipelines", stopLast(t.router.Stop), t.drain)
	g.add(background, "publishers", stopLast(t.close), nil)
	if t.reporter != nil {
		g.add(background, "canaries", t.guard.Run, nil)
		g.add(background, "rates", t.rates.run, nil)
		g.add(background, "reports", t.reporter.Run, nil)
	}
	t.log.Info("transfer starts", "node", t.config.Node)
	err := g.wait()
	t.log.Info("transfer stopped", "error", err)
	return err
}

func (t *Transfer) drain() error {
	t.stopping.Store(true)
	return drain(t.config.ShutdownTimeout.D(), func() uint64 {
		var settled uint64
		for _, s := range t.router.Stats() {
			settled += s.Chain.Items
		}
		return settled
	}, t.router.Drain)
}

func (t *Transfer) close() {
	if err := t.letters.Close(); err != nil {
		t.log.Warn("close publisher", "error", err)
	}
	t.member.close()
}

// Ready implements Service.
func (t *Transfer) Ready() error {
	switch {
	case t.stopping.Load():
		return fmt.Errorf("stopping")
	case !t.live.applied():
		return fmt.Errorf("waiting for the first config")
	case !t.kafka.reached.Load():
		return fmt.Errorf("waiting for %s", t.kafka.name)
	case !t.elasticsearch.reached.Load():
		return fmt.Errorf("waiting for %s", t.elasticsearch.name)
	}
	var settled uint64
	inFlight := false
	for name, r := range t.router.Stats() {
		switch {
		case r.Bulker.Held != "":
			return fmt.Errorf("route %q waits: %s", name, r.Bulker.Held)
		case r.Chain.Breaker != "closed":
			return fmt.Errorf("route %q waits, its breaker is %s: %s", name, r.Chain.Breaker, r.Chain.LastError)
		}
		settled += r.Chain.Items
		inFlight = inFlight || r.Subscriber.InFlight > 0
	}
	if d := t.progress.stuck(settled, inFlight); d > 0 {
		return fmt.Errorf("nothing has settled for %s", d)
	}
	return nil
}

// Status implements Service.
func (t *Transfer) Status() any {
	return map[string]any{
		"node":    t.config.Node,
		"version": Version,
		"config":  t.live.status(),
		"routes":  t.router.Stats(),
	}
}

// Describe implements prometheus.Collector: the metrics are not known beforehand.
func (t *Transfer) Describe(chan<- *prometheus.Desc) {}
