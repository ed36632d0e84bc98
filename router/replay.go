package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/index"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/router/kafka"
	"github.com/logferry/logferry/router/middleware"
)

// ReplayOptions say what is indexed again.
type ReplayOptions struct {
	// Route has the settings; its group is not touched.
	Route config.Route
	// Reader and Spans are the records.
	Reader *kafka.Reader
	Spans  []logs.Span
	// Progress, if not nil, is called now and then with the records that are
	// settled, from another goroutine, until Replay returns.
	Progress func(settled int64)
}

// Replayed is what became of the records of a replay.
type Replayed struct {
	// Records were read and settled.
	Records int64 `json:"records"`
	// Stored are new in the index, AlreadyThere were in it before.
	Stored       int64 `json:"stored"`
	AlreadyThere int64 `json:"already_there"`
	// Refused were refused for their own sake, of which Poisoned went to the
	// poison topic and Dropped were dropped, as the route's on_reject says.
	Refused  int64 `json:"refused"`
	Poisoned int64 `json:"poisoned"`
	Dropped  int64 `json:"dropped"`
	// Unreadable are records that nobody can read.
	Unreadable int64 `json:"unreadable"`
}

// replayBudget bounds the records that a replay holds in memory.
const replayBudget = 64 << 20

const progressEvery = 100 * time.Millisecond

// Replay indexes the records of spans through the stage and the chain of a
// route, letters included, without its consumer group:
//
//	kafka.RangeSubscriber -> chain -> index.Handler -> index.Bulker -> Elasticsearch
//	                           \-> poison topic
//
// Documents that are there already stay as they are, by their ids. It returns
// when all is settled; or, after ctx has ended, when what was in flight is, for
// which it has o.DrainTimeout, with an error that says so. What is given up then
// was indexed or not; a repeat tells, and harms nothing.
func Replay(ctx context.Context, o TransferOptions, r ReplayOptions) (Replayed, error) {
	log := o.Logger.With("route", r.Route.Name)
	bulker, err := index.NewBulker(o.Client, r.Route, index.BulkerOptions{AllowedIndices: o.AllowedIndices, Logger: log})
	if err != nil {
		return Replayed{}, err
	}
	chain := middleware.NewChain(settings(r.Route), middleware.Options{
		Name: r.Route.Name,
		Letters: &letters{
			publisher: o.Letters,
			handler:   handlerIndex + " " + r.Route.Name,
			ensure:    o.EnsurePoison,
			topicOf:   func(*logs.Origin) string { return "" },
		},
		Timeout: attemptTimeout,
		Logger:  log,
	})
	records := kafka.NewRangeSubscriber(r.Reader, r.Spans, replayBudget)
	cut, _ := perStep(r.Route.Throttle)
	records.MaxRecords = int(cut) // of a larger message nothing counts until all has passed the throttle
	p := &pipeline{
		name:       r.Route.Name,
		handler:    handlerIndex,
		topic:      r.Route.Name,
		subscriber: records,
		chain:      chain,
		handle:     index.NewHandler(bulker).Handle,
		log:        log,
	}
	working, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() {
		records.Stop()
		time.AfterFunc(o.DrainTimeout, abandon)
	})()
	bulked := make(chan error, 1)
	bulking, stopBulker := context.WithCancel(context.WithoutCancel(ctx))
	go func() { bulked <- bulker.Run(bulking) }()
	told := make(chan struct{})
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(told)
		r.tell(telling, records)
	}()

	err = p.run(working)
	gaveUp := working.Err() != nil
	abandon()
	records.Wait()
	stopBulker()
	err = errors.Join(err, <-bulked)
	stopTelling()
	<-told

	settled, unreadable := records.Read()
	b, c := bulker.Stats(), chain.Stats()
	result := Replayed{
		Records: settled, Stored: b.Stored, AlreadyThere: b.Conflicts, Refused: int64(c.Poisoned + c.Dropped),
		Poisoned: int64(c.Poisoned), Dropped: int64(c.Dropped), Unreadable: unreadable,
	}
	if err == nil && records.Err() != nil {
		err = fmt.Errorf("replay route %q: %w", r.Route.Name, records.Err())
		if reason := c.LastError; reason != "" && gaveUp {
			err = fmt.Errorf("%w; the last error was: %s", err, reason)
		}
	}
	return result, err
}

func (r *ReplayOptions) tell(ctx context.Context, records *kafka.RangeSubscriber) {
	if r.Progress == nil {
		return
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		settled, _ := records.Read()
		r.Progress(settled)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
