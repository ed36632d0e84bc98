package router

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
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
	retiring  map[string]*input // gone from the config; they drain
	snapshot  atomic.Pointer[map[string]*input]
}

type input struct {
	name   string
	config config.Input
	chain  *middleware.Chain
	ship   *ship.Handler
	topic  atomic.Pointer[ship.Topic] // for letters

	mu      sync.Mutex
	retired bool // nobody asks for it: its pipeline ends when it has drained
	ended   bool // its pipeline has found that out
	cancel  context.CancelFunc
	late    *time.Timer // cancels a pipeline that does not drain
}

// NewAgent returns an agent without inputs.
func NewAgent(o AgentOptions) *Agent {
	return &Agent{
		options:  o,
		inputs:   map[string]*input{},
		retiring: map[string]*input{},
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
		have, ok := a.inputs[in.Name]
		if !ok {
			have, ok = a.comeBack(in.Name)
		}
		if ok {
			have.update(in, c.AllowedTopics)
			continue
		}
		a.start(in, c.AllowedTopics)
	}
	for name, in := range a.inputs {
		if !wanted[name] {
			delete(a.inputs, name)
			a.retiring[name] = in
			in.retire(a.options.DrainTimeout)
			a.options.Logger.Info("input removed", "input", name)
		}
	}
	err := a.options.Source.Update(ctx, c.Inputs)
	for name, in := range a.retiring {
		if in.hasEnded() {
			a.pipelines.Stop(in)
			delete(a.retiring, name)
		}
	}
	a.publish()
	return err
}

// comeBack returns an input that was gone and still drains. The source has one
// subscription for each name, so its pipeline goes on rather than another one.
func (a *Agent) comeBack(name string) (*input, bool) {
	in, ok := a.retiring[name]
	if !ok {
		return nil, false
	}
	delete(a.retiring, name)
	if !in.comeBack() {
		a.pipelines.Stop(in)
		return nil, false
	}
	a.inputs[name] = in
	a.options.Logger.Info("input added again while it drained", "input", name)
	return in, true
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
	a.pipelines.Start(in, func(ctx context.Context) error { return in.run(ctx, p) })
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

// run runs the input's pipeline until ctx ends, or the input is retired and has
// drained. One that drained and came back at that moment goes on.
func (in *input) run(ctx context.Context, p *pipeline) error {
	for {
		once, cancel := context.WithCancel(ctx)
		if !in.begin(cancel) {
			cancel()
			return nil
		}
		err := p.run(once)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !in.isRetired():
			return err
		}
	}
}

// begin says whether anybody asks for the input; without that, it has ended.
func (in *input) begin(cancel context.CancelFunc) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.cancel, in.ended = cancel, in.retired
	return !in.ended
}

// retire gives a pipeline time to settle what is in flight; it ends by itself
// when the source closes its channel. What is not settled by then is read
// again by whoever gets the file next.
func (in *input) retire(timeout time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.retired = true
	in.late = time.AfterFunc(timeout, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.retired && in.cancel != nil {
			in.cancel()
		}
	})
}

// comeBack takes retire back; false says that it is too late.
func (in *input) comeBack() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended {
		return false
	}
	in.retired = false
	in.late.Stop()
	return true
}

func (in *input) isRetired() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.retired
}

func (in *input) hasEnded() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ended
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
