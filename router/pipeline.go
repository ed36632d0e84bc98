package router

import (
	"context"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/router/middleware"
)

// settleTimeout is how long a pipeline whose context ended waits for handlers
// to come back. They see the same context end, so it is a net only.
const settleTimeout = 30 * time.Second

// pipeline is one Watermill router with one handler and one chain. Each input
// and each route has its own: in a shared router the middlewares of a handler
// outlive it, and the last handler to stop closes the router for good.
//
//	subscriber -> chain.Middlewares() -> handler
type pipeline struct {
	name       string // of the input or route
	handler    string // of the stage
	topic      string // given to Subscribe
	subscriber message.Subscriber
	chain      *middleware.Chain
	handle     message.NoPublishHandlerFunc
	log        *slog.Logger
}

// run blocks until the subscription's channel closes or ctx ends, and all
// handlers have come back. It returns nil in both cases.
func (p *pipeline) run(ctx context.Context) error {
	r, err := message.NewRouter(message.RouterConfig{CloseTimeout: settleTimeout}, quiet(p.log))
	if err != nil {
		return err
	}
	r.AddMiddleware(p.chain.Middlewares()...)
	r.AddConsumerHandler(p.handler+" "+p.name, p.topic, keepOpen{p.subscriber}, p.handle)
	return r.Run(ctx)
}

// keepOpen is a subscriber that a router cannot close: its owner does.
type keepOpen struct{ message.Subscriber }

func (keepOpen) Close() error { return nil }

// quiet maps Watermill's chatter down: its errors are ours already, said by
// the chain with better words.
func quiet(log *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{
		watermill.LevelTrace: watermill.LevelTrace,
		slog.LevelDebug:      watermill.LevelTrace,
		slog.LevelInfo:       slog.LevelDebug,
		slog.LevelError:      slog.LevelDebug,
	})
}
