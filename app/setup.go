package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/index"
)

// SetupOptions say how Elasticsearch is set up.
type SetupOptions struct {
	// Retention is how long data is kept; 0 is for ever.
	Retention time.Duration
	// DryRun changes nothing.
	DryRun bool
}

// Setup makes the index templates and lifecycle policies of the routes of c, and
// says what it did. With an error it says what it did before.
func Setup(ctx context.Context, c *config.Config, o SetupOptions, log *slog.Logger) ([]index.SetupAction, error) {
	client, err := index.NewClient(c.Elasticsearch, log)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return nil, err
	}
	return client.Setup(ctx, c.Transfer.Routes, index.SetupOptions{
		AllowedIndices: c.Elasticsearch.AllowedIndices,
		Retention:      o.Retention,
		DryRun:         o.DryRun,
	})
}
