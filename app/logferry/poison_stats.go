package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/handlers/poison"
)

func newPoisonStats() *cobra.Command {
	var q queue
	cmd := &cobra.Command{
		Use:   "stats --config FILE",
		Short: "Count letters by cause, topic, route, index and day",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return q.run(cmd, "counting", func(ctx context.Context, p *app.Poison, b *bar) error {
				stats, err := p.Stats(ctx, q.filter)
				b.Close()
				if err != nil {
					return err
				}
				if q.json() {
					return printJSON(cmd.OutOrStdout(), stats)
				}
				printStats(cmd.OutOrStdout(), stats)
				return nil
			})
		},
	}
	q.configFlag(cmd)
	q.outputFlag(cmd)
	q.filterFlags(cmd)
	return cmd
}

// statsRows is how many of each count a person is shown.
const statsRows = 20

func printStats(out io.Writer, s poison.Stats) {
	if s.Letters == 0 {
		fmt.Fprintln(out, "No letters.")
		return
	}
	fmt.Fprintf(out, "%s, %s of values, refused from %s to %s\n\n", letters(s.Letters), humanize.IBytes(uint64(s.Bytes)), when(s.Oldest), when(s.Newest))
	printCauses(out, s.Causes[:min(statsRows, len(s.Causes))])
	if more := len(s.Causes) - statsRows; more > 0 {
		fmt.Fprintf(out, "and %s more causes\n", count(more))
	}
	for _, part := range []struct {
		name   string
		counts []poison.Count
	}{{"TOPIC", s.Topics}, {"ROUTE", s.Routes}, {"INDEX", s.Indices}, {"DAY (UTC)", s.Days}} {
		fmt.Fprintln(out)
		t := newTable(out, part.name, "LETTERS")
		counts := part.counts
		if more := len(counts) - statsRows; more > 0 && part.name == "DAY (UTC)" {
			counts = counts[more:]
		}
		for _, c := range counts[:min(statsRows, len(counts))] {
			name := printable([]byte(c.Name))
			if name == "" {
				name = "-"
			}
			t.AppendRow(table.Row{name, count(c.Letters)})
		}
		t.Render()
		if more := len(part.counts) - statsRows; more > 0 {
			fmt.Fprintf(out, "and %s more\n", count(more))
		}
	}
}
