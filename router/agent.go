package router

import (
	"context"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/actor"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/handlers/ship"
	"github.com/logferry/logferry/router/middleware"
)

// Source hands out the batches of inputs: tail.Source.
type Source interface {
	message.Subscriber
	// Update reconciles the inputs. A removed input's channel closes when
	// what is in flight of it has settled.
	Update(ctx context.Context, inputs []config.Input) error
}

// AgentOptions are the parts that an agent's routes share.
type AgentOptions struct {
	Source    Source
	Publisher message.Publisher // to Kafka
	Letters   message.Publisher // to the poison topic
	// EnsurePoison makes sure that the poison topic exists.
	EnsurePoison func(topic string) error
	// DrainTimeout is how long a removed input may settle what is in flight.
	DrainTimeout time.Duration
	Logger       *slog.Logger
}

// Agent keeps one pipeline for each input:
//
//	tail.Source -> chain -> ship.Handler -> kafka.Publisher
//	                 \-> poison topic
//
// One goroutine calls Update and Stop; Stats may be called from any.
type Agent struct {
	options   AgentOptions
	pipelines *actor.Set[*input]
	inputs    map[string]*input
	snapshot  atomic.Pointer[map[string]*input]
}

type input struct {
	name   string
	config config.Input
	chain  *middleware.Chain
	ship   *ship.Handler
	topic  atomic.Pointer[ship.Topic] // for letters
	cancel atomic.Pointer[context.CancelFunc]
}

// NewAgent returns an agent without inputs.
func NewAgent(o AgentOptions) *Agent {
	return &Agent{
		options: o,
		inputs:  map[string]*input{},
		pipelines: actor.NewSet(func(in *input, err error) {
			o.Logger.Error("a pipeline failed and starts again", "input", in.name, "error", err)
		}),
	}
}

// Update reconciles the pipelines with what the config says: an input that is
// new starts, one that is gone drains and stops, one that changed swaps its
// settings.
func (a *Agent) Update(ctx context.Context, c config.Agent) error {
	wanted := map[string]bool{}
	for _, in := range c.Inputs {
		wanted[in.Name] = true
		if have, ok := a.inputs[in.Name]; ok {
			have.update(in, c.AllowedTopics)
			continue
		}
		a.start(in, c.AllowedTopics)
	}
	err := a.options.Source.Update(ctx, c.Inputs)
	for name, in := range a.inputs {
		if !wanted[name] {
			delete(a.inputs, name)
			in.retire(a.options.DrainTimeout)
			a.options.Logger.Info("input removed", "input", name)
		}
	}
	a.publish()
	return err
}

func (a *Agent) start(c config.Input, allowedTopics []string) {
	in := &input{name: c.Name, config: c}
	log := a.options.Logger.With("input", c.Name)
	in.topic.Store(ship.NewTopic(c.Topic, allowedTopics))
	in.ship = ship.NewHandler(a.options.Publisher, c, allowedTopics)
	in.chain = middleware.NewChain(in.settings(), middleware.Options{
		Name: c.Name,
		Letters: &letters{
			publisher: a.options.Letters,
			handler:   handlerShip + " " + c.Name,
			ensure:    a.options.EnsurePoison,
			topicOf: func(o *logs.Origin) string {
				topic, _ := in.topic.Load().Of(o)
				return topic
			},
		},
		ThrottleKey: in.throttleKey,
		Logger:      log,
	})
	p := &pipeline{
		name:       c.Name,
		handler:    handlerShip,
		topic:      c.Name,
		subscriber: a.options.Source,
		chain:      in.chain,
		handle:     in.ship.Handle,
		log:        log,
	}
	a.inputs[c.Name] = in
	a.pipelines.Start(in, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		in.cancel.Store(&cancel)
		return p.run(ctx)
	})
	log.Info("input added", "paths", c.Paths, "topic", c.Topic)
}

func (in *input) settings() middleware.Settings {
	return middleware.Settings{
		Retry:    in.config.Retry,
		Throttle: in.config.Throttle,
		Poison:   config.Poison{Topic: config.DefaultPoisonTopic, OnReject: "poison"},
	}
}

// throttleKey is a file's path or topic.
func (in *input) throttleKey(by string, w logs.Work) string {
	b, _ := w.(*logs.Batch)
	switch {
	case b == nil:
		return ""
	case by == "path":
		return b.Origin.Path
	case by == "topic":
		topic, _ := in.topic.Load().Of(b.Origin)
		return topic
	}
	return ""
}

func (in *input) update(c config.Input, allowedTopics []string) {
	if reflect.DeepEqual(in.config, c) {
		return
	}
	in.config = c
	in.topic.Store(ship.NewTopic(c.Topic, allowedTopics))
	in.ship.Update(c, allowedTopics)
	in.chain.Update(in.settings())
}

// retire gives a pipeline time to settle what is in flight; it ends by itself
// when the source closes its channel. What is not settled by then is read
// again by whoever gets the file next.
func (in *input) retire(timeout time.Duration) {
	time.AfterFunc(timeout, func() {
		if cancel := in.cancel.Load(); cancel != nil {
			(*cancel)()
		}
	})
}

func (a *Agent) publish() {
	inputs := make(map[string]*input, len(a.inputs))
	for name, in := range a.inputs {
		inputs[name] = in
	}
	a.snapshot.Store(&inputs)
}

// Stop cancels all pipelines and waits for them. Whoever wants in-flight
// batches settled drains the source first.
func (a *Agent) Stop() { a.pipelines.StopAll() }

// Stats returns the chains' figures by input.
func (a *Agent) Stats() map[string]middleware.Stats {
	stats := map[string]middleware.Stats{}
	if inputs := a.snapshot.Load(); inputs != nil {
		for name, in := range *inputs {
			stats[name] = in.chain.Stats()
		}
	}
	return stats
}
