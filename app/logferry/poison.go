package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/poison"
)

func newPoison() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "poison",
		Short: "Look into the poison queue; replay, drop or export its letters",
		Long: `A record that Elasticsearch refuses for its own sake, or a line that Kafka
refuses, goes to the poison topic as a letter: as it was, and with the reason.
These commands read the poison topics of all routes of the config; no consumer
group is touched.`,
		Example: `  logferry poison ls --config transfer.yml --group
  logferry poison replay --config transfer.yml --index web --dry-run`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(newPoisonLs(), newPoisonShow(), newPoisonReplay(), newPoisonDrop(), newPoisonExport(), newPoisonStats())
	return cmd
}

// tool is what the commands of one config share.
type tool struct {
	path   string
	output *string // nil: there is one form only
}

func (t *tool) configFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.path, "config", "", "the config file of the transfer")
	_ = cmd.MarkFlagFilename("config", "yml", "yaml", "json")
}

func (t *tool) outputFlag(cmd *cobra.Command) { t.output = outputFlag(cmd) }

func (t *tool) json() bool { return t.output != nil && *t.output == "json" }

// open reads the config as it is in force, and returns a context that ends with
// the first signal.
func (t *tool) open(cmd *cobra.Command) (context.Context, context.CancelFunc, *config.Config, *slog.Logger, error) {
	if t.path == "" {
		return nil, nil, nil, nil, usage(cmd, errors.New("--config FILE is needed"))
	}
	c, err := config.Load(t.path)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	log := app.NewLogger(cmd.ErrOrStderr(), config.Log{Level: "warn", Format: c.Log.Format})
	ctx, cancel := app.WithSignals()
	if c, err = app.CurrentTransfer(ctx, c, log); err != nil {
		cancel()
		return nil, nil, nil, nil, err
	}
	return ctx, cancel, c, log, nil
}

// queue is a tool for the poison queue.
type queue struct {
	tool
	filter poison.Filter
	since  timeFlag
}

// run opens the queue for f, with a bar while it is read.
func (q *queue) run(cmd *cobra.Command, text string, f func(ctx context.Context, p *app.Poison, b *bar) error) error {
	q.filter.Since = q.since.Time
	ctx, cancel, c, log, err := q.open(cmd)
	if err != nil {
		return err
	}
	defer cancel()
	b := newBar(cmd.ErrOrStderr(), text)
	defer b.Close()
	p, err := app.OpenPoison(c, b.move, log)
	if err != nil {
		return err
	}
	defer p.Close()
	err = f(ctx, p, b)
	b.Close()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return errors.New("stopped before the end")
	}
	return err
}

func (q *queue) filterFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&q.filter.Topic, "topic", "", "letters whose record was in this topic; * and ? stand for any characters, as in the next three")
	f.StringVar(&q.filter.Route, "route", "", "letters of this route")
	f.StringVar(&q.filter.Index, "index", "", "letters that were to go to this index")
	f.StringVar(&q.filter.Type, "type", "", "letters with this type of error")
	f.StringVar(&q.filter.Reason, "reason", "", "letters whose reason holds this, in any case")
	f.StringVar(&q.filter.Contains, "contains", "", "letters whose value holds this")
	f.Var(&q.since, "since", "letters that were refused at or after T: "+timeForms)
}

func letters(n int64) string {
	if n == 1 {
		return "1 letter"
	}
	return count(n) + " letters"
}
