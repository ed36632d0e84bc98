package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
	"github.com/logferry/logferry/handlers/tail"
	"github.com/logferry/logferry/router"
	"github.com/logferry/logferry/router/kafka"
)

// Agent reads files and publishes their lines to Kafka.
//
//	live config ──► router.Agent ──► one pipeline for each input
//	                                   │
//	files ──► tail.Source ──► chain ──► ship ──► kafka.Publisher ──► Kafka
//	             ▲                                    │
//	             └────────────── acked ◄──────────────┘
//
// It stops in this order: no more config, no more reading and what is in
// flight settles, pipelines, source (its last checkpoint), publishers, and last
// words to the fleet.
type Agent struct {
	config    *config.Config
	log       *slog.Logger
	source    *tail.Source
	publisher *kafka.Publisher
	letters   message.Publisher
	router    *router.Agent
	live      *live
	reporter  *etcd.Reporter // nil without etcd
	rates     *rates
	kafka     *waitFor
	stopping  atomic.Bool
	progress  progress
}

// NewAgent makes an agent of a loaded config; path is the file that it came
// from, to be read again when it changes, or "". It opens the checkpoints and
// starts nothing. Brokers that cannot be reached are no error.
func NewAgent(c *config.Config, path string, log *slog.Logger) (*Agent, error) {
	log = log.With("service", "agent")
	a := &Agent{config: c, log: log}
	var err error
	a.source, err = tail.New(tail.Options{
		Node:             c.Node,
		Dir:              c.DataDir,
		AllowedPaths:     c.Agent.AllowedPaths,
		MaxInFlightBytes: int64(c.Agent.MaxInFlightBytes),
		MaxOpenFiles:     c.Agent.MaxOpenFiles,
		MaxHeldBytes:     int64(c.Agent.MaxHeldBytes),
		MaxHeldTime:      c.Agent.MaxHeldTime.D(),
		Logger:           log,
	})
	if err != nil {
		return nil, err
	}
	if a.publisher, err = kafka.NewPublisher(c.Kafka, kafka.PublisherOptions{Logger: log}); err != nil {
		return nil, err
	}
	if a.letters, err = kafka.NewLetterPublisher(c.Kafka, log); err != nil {
		return nil, err
	}
	a.router = router.NewAgent(router.AgentOptions{
		Source:       a.source,
		Publisher:    a.publisher,
		Letters:      a.letters,
		EnsurePoison: ensurePoison(c.Kafka),
		DrainTimeout: c.ShutdownTimeout.D(),
		Logger:       log,
	})
	if a.live, err = newLive(c, liveOptions{"agent", path, c.AgentKeys, a.apply, log}); err != nil {
		return nil, err
	}
	a.kafka = waitForKafka(c.Kafka, log)
	a.rates = newRates(a.counts)
	a.reporter = newReporter(&reporting{role: "agent", config: c, live: a.live, ready: a.Ready, parts: a.parts, done: a.rates})
	return a, nil
}

func (a *Agent) apply(ctx context.Context, c *config.Config) error {
	return a.router.Update(ctx, c.Agent)
}

// Run ships until ctx ends, then settles what is in flight within
// shutdown_timeout; ErrUnsettled says that it could not.
func (a *Agent) Run(ctx context.Context) error {
	var g group
	g.untilDone(ctx)
	background := context.Background()
	g.add(background, "live config", a.live.run, nil)
	g.add(background, "wait for kafka", a.kafka.run, nil)
	g.add(background, "memory", giveBack(func() uint64 { return a.source.Stats().Bytes }), nil)
	g.add(background, "pipelines", stopLast(a.router.Stop), a.drain)
	g.add(background, "tail", a.source.Run, nil)
	g.add(background, "publishers", stopLast(a.close), nil)
	if a.reporter != nil {
		g.add(background, "rates", a.rates.run, nil)
		g.add(background, "reports", a.reporter.Run, nil)
	}
	a.log.Info("agent starts", "node", a.config.Node, "data_dir", a.config.DataDir)
	err := g.wait()
	a.log.Info("agent stopped", "error", err)
	return err
}

func (a *Agent) drain() error {
	a.stopping.Store(true)
	return drain(a.config.ShutdownTimeout.D(), func() uint64 {
		return a.source.Stats().Batches
	}, a.source.Drain)
}

func (a *Agent) close() {
	for _, p := range []message.Publisher{a.publisher, a.letters} {
		if err := p.Close(); err != nil {
			a.log.Warn("close publisher", "error", err)
		}
	}
}

// stopLast is an actor that only has something to do when it is stopped.
func stopLast(stop func()) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		stop()
		return nil
	}
}

// Ready implements Service.
func (a *Agent) Ready() error {
	switch {
	case a.stopping.Load():
		return fmt.Errorf("stopping")
	case !a.live.applied():
		return fmt.Errorf("waiting for the first config")
	case !a.kafka.reached.Load():
		return fmt.Errorf("waiting for %s", a.kafka.name)
	}
	for name, chain := range a.router.Stats() {
		if chain.Waiting > 0 {
			return fmt.Errorf("input %q waits: %s", name, chain.LastError)
		}
	}
	t := a.source.Stats()
	if d := a.progress.stuck(t.Batches, t.Messages > 0); d > 0 {
		return fmt.Errorf("%s has acknowledged nothing for %s", a.kafka.name, d)
	}
	return nil
}

// Status implements Service.
func (a *Agent) Status() any {
	return map[string]any{
		"node":      a.config.Node,
		"version":   Version,
		"config":    a.live.status(),
		"tail":      a.source.Stats(),
		"publisher": a.publisher.Stats(),
		"inputs":    a.router.Stats(),
	}
}

// Describe implements prometheus.Collector: the metrics are not known beforehand.
func (a *Agent) Describe(chan<- *prometheus.Desc) {}
