package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/router"
)

func newReplay() *cobra.Command {
	var (
		t        tool
		o        app.ReplayOptions
		from, to timeFlag
		dryRun   bool
	)
	cmd := &cobra.Command{
		Use:   "replay --config FILE --route ROUTE --from T [--to T]",
		Short: "Index a time range of a route's topics again",
		Long: `Read the records of a route's topics that lie between two times, and index them
again, through everything that the route does. The route's consumer group is not
touched, and a transfer may run meanwhile: documents that are there already stay
as they are, by their _id. What is refused goes to the poison queue.

T is ` + timeForms + `.`,
		Example: `  logferry replay --config transfer.yml --route web --from now-2h --dry-run
  logferry replay --config transfer.yml --route web --from 2026-03-01 --to 2026-03-02 --index web_again`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Route == "":
				return usage(cmd, errors.New("--route ROUTE is needed"))
			case from.IsZero():
				return usage(cmd, errors.New("--from T is needed"))
			case o.Rate < 0:
				return usage(cmd, fmt.Errorf("--rate is 0 or more, not %g", o.Rate))
			}
			if o.From, o.To = from.Time, to.Time; o.To.IsZero() {
				o.To = time.Now()
			}
			if !o.From.Before(o.To) {
				return usage(cmd, errors.New("--from is not before --to"))
			}
			return replay(cmd, &t, o, dryRun)
		},
	}
	t.configFlag(cmd)
	t.outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Route, "route", "", "the route, from the config file or etcd")
	f.Var(&from, "from", "the time of the first record")
	f.Var(&to, "to", "the time after the last record (default now)")
	f.StringVar(&o.Index, "index", "", "index into this one instead of the route's; fields may be used")
	f.Float64Var(&o.Rate, "rate", 0, "records a second; 0 leaves it to the route's throttle")
	f.BoolVar(&dryRun, "dry-run", false, "only say what would be read")
	return cmd
}

func replay(cmd *cobra.Command, t *tool, o app.ReplayOptions, dryRun bool) error {
	ctx, cancel, c, log, err := t.open(cmd)
	if err != nil {
		return err
	}
	defer cancel()
	b := newBar(cmd.ErrOrStderr(), "replaying route "+o.Route)
	defer b.Close()
	var total int64
	o.Progress = func(settled int64) { b.move(settled, total) }
	r, err := app.FindReplay(ctx, c, o, log)
	var wrong app.WrongCallError
	switch {
	case errors.As(err, &wrong):
		return usage(cmd, err)
	case err != nil:
		return err
	}
	total = r.Records()
	if dryRun {
		b.Close()
		return t.plan(cmd.OutOrStdout(), r)
	}
	result, err := r.Run(ctx)
	b.Close()
	if err == nil || result.Records > 0 {
		if err := t.replayed(cmd.OutOrStdout(), r, result); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return err
	case result.Refused > 0 || result.Unreadable > 0:
		return fmt.Errorf("%s could not be indexed", records(result.Refused+result.Unreadable))
	}
	return nil
}

type planJSON struct {
	Route   string      `json:"route"`
	Index   string      `json:"index"`
	Records int64       `json:"records"`
	Spans   []logs.Span `json:"spans"`
}

// plan says what would be read.
func (t *tool) plan(out io.Writer, r *app.Replay) error {
	if t.json() {
		return printJSON(out, planJSON{r.Route.Name, r.Route.Index, r.Records(), append([]logs.Span{}, r.Spans...)})
	}
	if len(r.Spans) == 0 {
		fmt.Fprintln(out, "No records in that time.")
		return nil
	}
	rows := newTable(out, "TOPIC", "PARTITION", "FROM OFFSET", "TO OFFSET", "RECORDS")
	for _, s := range r.Spans {
		rows.AppendRow(table.Row{s.Topic, s.Partition, s.From, s.To, count(s.To - s.From)})
	}
	rows.Render()
	fmt.Fprintf(out, "\n%s at most would be indexed into %s\n", records(r.Records()), r.Route.Index)
	return nil
}

func (t *tool) replayed(out io.Writer, r *app.Replay, result router.Replayed) error {
	if t.json() {
		return printJSON(out, result)
	}
	fmt.Fprintf(out, `%s of route %s into %s
  stored         %s
  already there  %s
  refused        %s
`, records(result.Records), r.Route.Name, r.Route.Index, count(result.Stored), count(result.AlreadyThere), refusedText(result))
	if result.Unreadable > 0 {
		fmt.Fprintf(out, "  unreadable     %s\n", count(result.Unreadable))
	}
	return nil
}

func refusedText(r router.Replayed) string {
	switch {
	case r.Poisoned > 0:
		return fmt.Sprintf("%s, now in the poison queue: logferry poison ls", count(r.Refused))
	case r.Dropped > 0:
		return fmt.Sprintf("%s, dropped", count(r.Refused))
	}
	return count(r.Refused)
}

func records(n int64) string {
	if n == 1 {
		return "1 record"
	}
	return count(n) + " records"
}
