package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/handlers/poison"
)

func newPoisonReplay() *cobra.Command {
	var (
		q   queue
		o   poison.ReplayOptions
		all bool
	)
	cmd := &cobra.Command{
		Use:   "replay [ID...] --config FILE",
		Short: "Send letters to their topics again, as they were",
		Long: fmt.Sprintf(`Publish the records of letters to their own topics again, as they were, so that
their route indexes them; then take the letters out of the queue. A document has
the _id that it had the first time, so a repeat does no harm. What is refused
again comes back as a new letter, %d times at most.

Name letters by ID, choose them with filters, or say --all.`, poison.MaxReplays),
		Example: `  logferry poison replay --config transfer.yml web_log-0-1734
  logferry poison replay --config transfer.yml --index web --since 2h --rate 500`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Rate < 0 {
				return usage(cmd, fmt.Errorf("--rate is 0 or more, not %g", o.Rate))
			}
			if err := q.chosen(cmd, args, all); err != nil {
				return err
			}
			return q.run(cmd, "replaying", func(ctx context.Context, p *app.Poison, b *bar) error {
				result, err := p.Replay(ctx, q.filter, o)
				b.Close()
				verb := "replayed"
				if o.DryRun {
					verb = "would be replayed"
				}
				return q.report(cmd.OutOrStdout(), verb, result, err)
			})
		},
	}
	q.configFlag(cmd)
	q.outputFlag(cmd)
	q.filterFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&q.filter.Limit, "limit", 0, "so many letters; 0 is all")
	f.Float64Var(&o.Rate, "rate", 0, "letters a second; 0 is no limit")
	f.BoolVar(&o.DryRun, "dry-run", false, "only count what would be replayed")
	f.BoolVar(&all, "all", false, "every letter")
	return cmd
}

func newPoisonDrop() *cobra.Command {
	var (
		q        queue
		all, yes bool
	)
	cmd := &cobra.Command{
		Use:   "drop [ID...] --config FILE",
		Short: "Take letters out of the queue for good",
		Long: `Answer letters with tombstones, and index nothing. Name letters by ID, choose them
with filters, or say --all. Without IDs, a person is asked first, and a program
says --yes.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.chosen(cmd, args, all); err != nil {
				return err
			}
			person := onTerminal(cmd.InOrStdin()) && !q.json()
			if len(args) == 0 && !yes && !person {
				return usage(cmd, errors.New("--yes is needed to drop letters that are not named by ID"))
			}
			return q.run(cmd, "dropping", func(ctx context.Context, p *app.Poison, b *bar) error {
				if len(args) == 0 && !yes {
					if ok, err := q.confirm(ctx, cmd, p, b); !ok {
						return err
					}
				}
				result, err := p.Drop(ctx, q.filter)
				b.Close()
				return q.report(cmd.OutOrStdout(), "dropped", result, err)
			})
		},
	}
	q.configFlag(cmd)
	q.outputFlag(cmd)
	q.filterFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&q.filter.Limit, "limit", 0, "so many letters; 0 is all")
	f.BoolVar(&all, "all", false, "every letter")
	f.BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// chosen takes the IDs, and wants a choice.
func (q *queue) chosen(cmd *cobra.Command, ids []string, all bool) error {
	if q.filter.Limit < 0 {
		return usage(cmd, fmt.Errorf("--limit is 0 or more, not %d", q.filter.Limit))
	}
	q.filter.IDs, q.filter.Since = ids, q.since.Time
	if q.filter.All() && !all {
		return usage(cmd, errors.New("name letters by ID, choose them with filters, or say --all"))
	}
	return nil
}

func (q *queue) confirm(ctx context.Context, cmd *cobra.Command, p *app.Poison, b *bar) (bool, error) {
	n := int64(0)
	err := p.Each(ctx, q.filter, func(*poison.Letter) error {
		n++
		return nil
	})
	b.Close()
	if err != nil {
		return false, err
	}
	if n == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "No letters.")
		return false, nil
	}
	if confirm(cmd, fmt.Sprintf("Drop %s for good?", letters(n))) {
		return true, nil
	}
	fmt.Fprintln(cmd.OutOrStdout(), "Nothing was dropped.")
	return false, nil
}

// report says what became of the letters. What was asked for and not done is an
// error.
func (q *queue) report(out io.Writer, verb string, r poison.Result, err error) error {
	if q.json() {
		if failed := printJSON(out, r); failed != nil {
			return failed
		}
	} else {
		fmt.Fprintf(out, "%s %s\n", letters(r.Done), verb)
		for _, topic := range slices.Sorted(maps.Keys(r.Topics)) {
			fmt.Fprintf(out, "  %s to %s\n", count(r.Topics[topic]), printable([]byte(topic)))
		}
		for _, left := range r.Reasons {
			fmt.Fprintf(out, "  %s stays: %s\n", printable([]byte(left.ID)), printable([]byte(left.Reason)))
		}
		if more := r.Left - int64(len(r.Reasons)); more > 0 {
			fmt.Fprintf(out, "  %s more stay\n", count(more))
		}
	}
	switch {
	case err != nil:
		return err
	case len(r.Missing) > 0:
		return fmt.Errorf("no such letter: %s", strings.Join(r.Missing, ", "))
	case r.Left > 0:
		return fmt.Errorf("%s cannot be %s", letters(r.Left), strings.TrimPrefix(verb, "would be "))
	}
	return nil
}
