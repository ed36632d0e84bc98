package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// CurrentTransfer returns c with the routes that a transfer of c would run with
// now: those of etcd's live documents, when c names an etcd. When that does not
// answer, they are those of the last good config in data_dir, or of the file,
// and log is told.
func CurrentTransfer(ctx context.Context, c *config.Config, log *slog.Logger) (*config.Config, error) {
	if c.Etcd == nil {
		return c, nil
	}
	good, _ := config.LoadLastGood(c.DataDir, "transfer")
	docs := good
	snapshot, err := readOnce(ctx, c)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		log.Warn("etcd does not answer; the routes are those of the last good config or of the file", "error", err)
	default:
		docs = snapshot.Docs
	}
	current, _, err := config.Resolve(c, docs, good)
	if err != nil {
		log.Warn("a live document is not valid; what was in force before counts", "error", err)
	}
	return current, nil
}

// readOnce follows etcd until it has read the documents, for as long as the start
// of a service would wait for them.
func readOnce(parent context.Context, c *config.Config) (etcd.Snapshot, error) {
	ctx, cancel := context.WithTimeout(parent, firstSnapshot)
	defer cancel()
	changed := make(nudges, 1)
	watcher, err := etcd.New(etcd.NewLink(*c.Etcd), c.TransferKeys(), changed, slog.New(slog.DiscardHandler))
	if err != nil {
		return etcd.Snapshot{}, err
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = watcher.Run(ctx) }) // it returns nil, when ctx ends
	select {
	case <-changed:
		snapshot, _ := watcher.Snapshot()
		return snapshot, nil
	case <-ctx.Done():
		return etcd.Snapshot{}, fmt.Errorf("no answer within %s: %s", firstSnapshot, watcher.Stats().LastError)
	}
}

// nudges is a publisher that only says that there was something.
type nudges chan struct{}

// Publish never blocks.
func (n nudges) Publish(string, ...*message.Message) error {
	select {
	case n <- struct{}{}:
	default:
	}
	return nil
}

// Close does nothing.
func (n nudges) Close() error { return nil }
