package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/handlers/poison"
)

// tableRows bounds the memory of a listing without a limit: it comes as tables
// of so many rows.
const tableRows = 1000

func newPoisonLs() *cobra.Command {
	var (
		q     queue
		limit int
		group bool
	)
	cmd := &cobra.Command{
		Use:   "ls --config FILE",
		Short: "List letters, the newest at the end, or their causes",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage(cmd, fmt.Errorf("--limit is 0 or more, not %d", limit))
			}
			return q.run(cmd, "reading the poison queue", func(ctx context.Context, p *app.Poison, b *bar) error {
				switch out := cmd.OutOrStdout(); {
				case group:
					return q.causes(ctx, p, b, out, limit)
				case limit == 0:
					return q.everything(ctx, p, b, out)
				default:
					return q.newest(ctx, p, b, out, limit)
				}
			})
		},
	}
	q.configFlag(cmd)
	q.outputFlag(cmd)
	q.filterFlags(cmd)
	cmd.Flags().BoolVar(&group, "group", false, "list causes, the most frequent first: reasons that differ in numbers and quoted text are one")
	cmd.Flags().IntVar(&limit, "limit", 100, "the newest so many letters; 0 lists all, in the order of the queue")
	return cmd
}

func (q *queue) newest(ctx context.Context, p *app.Poison, b *bar, out io.Writer, limit int) error {
	list, err := p.List(ctx, q.filter, limit)
	b.Close()
	if err != nil {
		return err
	}
	rows := q.rows(out)
	for _, l := range list.Letters {
		if err := rows.add(l); err != nil {
			return err
		}
	}
	if err := rows.end(); err != nil || q.json() {
		return err
	}
	switch n := int64(len(list.Letters)); {
	case list.Matched == 0:
		fmt.Fprintln(out, "No letters.")
	case n < list.Matched:
		fmt.Fprintf(out, "\nThe newest %s of %s; --limit 0 lists all, --group their causes.\n", count(n), letters(list.Matched))
	}
	return nil
}

func (q *queue) everything(ctx context.Context, p *app.Poison, b *bar, out io.Writer) error {
	rows := q.rows(out)
	err := p.Each(ctx, q.filter, func(l *poison.Letter) error {
		b.Close()
		return rows.add(l)
	})
	b.Close()
	if err != nil {
		return err
	}
	if rows.n == 0 && !q.json() {
		fmt.Fprintln(out, "No letters.")
	}
	return rows.end()
}

func (q *queue) causes(ctx context.Context, p *app.Poison, b *bar, out io.Writer, limit int) error {
	stats, err := p.Stats(ctx, q.filter)
	b.Close()
	if err != nil {
		return err
	}
	causes := stats.Causes
	if limit > 0 {
		causes = causes[:min(limit, len(causes))]
	}
	if q.json() {
		return printJSON(out, causes)
	}
	if len(causes) == 0 {
		fmt.Fprintln(out, "No letters.")
		return nil
	}
	printCauses(out, causes)
	return nil
}

func printCauses(out io.Writer, causes []poison.Cause) {
	t := newTable(out, "LETTERS", "LAST", "INDEX", "TYPE", "FOR EXAMPLE", "REASON")
	for _, c := range causes {
		t.AppendRow(table.Row{count(c.Count), when(c.Last), printable([]byte(c.Index)), printable([]byte(c.Type)),
			printable([]byte(c.Example)), clipped([]byte(c.Reason), 160)})
	}
	t.Render()
}

// rows writes letters as a table or as a list of JSON.
type rows struct {
	out   io.Writer
	json  bool
	n     int
	table table.Writer
}

func (q *queue) rows(out io.Writer) *rows { return &rows{out: out, json: q.json()} }

func (r *rows) add(l *poison.Letter) error {
	r.n++
	if r.json {
		if len(l.Value) > briefValue {
			brief := *l
			brief.Value = l.Value[:briefValue]
			l = &brief
		}
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		head := ",\n"
		if r.n == 1 {
			head = "[\n"
		}
		_, err = cleanJSON{r.out}.Write(append([]byte(head), text...))
		return err
	}
	if r.table == nil {
		r.table = newTable(r.out, "ID", "REFUSED AT", "ROUTE", "INDEX", "TYPE", "REASON", "VALUE")
	}
	r.table.AppendRow(table.Row{printable([]byte(l.ID)), when(l.Time), printable([]byte(l.Route())), printable([]byte(l.Index)),
		printable([]byte(l.Type)), clipped([]byte(l.Reason), 60), clipped(l.Value, 40)})
	if r.table.Length() == tableRows {
		r.flush()
	}
	return nil
}

// briefValue is as much of a value as a listing shows to programs.
const briefValue = 4 << 10

func (r *rows) flush() {
	if r.table != nil {
		r.table.Render()
		r.table = nil
	}
}

func (r *rows) end() error {
	r.flush()
	if !r.json {
		return nil
	}
	tail := "\n]\n"
	if r.n == 0 {
		tail = "[]\n"
	}
	_, err := io.WriteString(r.out, tail)
	return err
}
