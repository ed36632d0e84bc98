package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/handlers/poison"
)

func newPoisonShow() *cobra.Command {
	var q queue
	cmd := &cobra.Command{
		Use:   "show ID --config FILE",
		Short: "Show one letter: its value, its headers, and why it was refused",
		Long: `Show one letter. What could lead a terminal astray is written as \x1b or \u202e;
--output json has the bytes as they are, in base64 where they are no UTF-8.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(cmd, fmt.Errorf("show takes the ID of one letter; 'logferry poison ls' lists them"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return q.run(cmd, "reading the poison queue", func(ctx context.Context, p *app.Poison, b *bar) error {
				l, err := p.Show(ctx, args[0])
				b.Close()
				if err != nil {
					return err
				}
				if q.json() {
					return printJSON(cmd.OutOrStdout(), l)
				}
				printLetter(cmd.OutOrStdout(), l)
				return nil
			})
		},
	}
	q.configFlag(cmd)
	q.outputFlag(cmd)
	return cmd
}

func printLetter(out io.Writer, l *poison.Letter) {
	field := func(name, text string) {
		if text != "" {
			fmt.Fprintf(out, "%-12s %s\n", name, printable([]byte(text)))
		}
	}
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	field("letter", l.ID)
	field("refused at", stamp(l.Time))
	field("by", l.Handler)
	field("index", l.Index)
	field("status", number(l.Status))
	field("type", l.Type)
	field("reason", l.Reason)
	field("replays", number(l.Replays))
	fmt.Fprintln(out)
	field("topic", l.Topic)
	field("place", l.Place)
	field("record time", stamp(l.RecordTime))
	if l.Key != nil {
		fmt.Fprintf(out, "%-12s %s\n", "key", printable(l.Key))
	}
	for i, h := range l.Headers {
		name := ""
		if i == 0 {
			name = "headers"
		}
		fmt.Fprintf(out, "%-12s %s: %s\n", name, printable([]byte(h.Key)), printable(h.Value))
	}
	fmt.Fprintf(out, "\nvalue, %s bytes:\n", count(len(l.Value)))
	for line := range bytes.SplitSeq(l.Value, []byte{'\n'}) {
		fmt.Fprintf(out, "  %s\n", printable(line))
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339Nano)
}

func newPoisonExport() *cobra.Command {
	var (
		q    queue
		file string
	)
	cmd := &cobra.Command{
		Use:   "export --config FILE",
		Short: "Write letters as they are, one JSON object a line",
		Long: `Write letters without loss, one JSON object a line: key, value and headers as the
record had them, and why it was refused. Bytes that are no UTF-8 are in base64,
in a field whose name ends in _base64.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return q.run(cmd, "exporting", func(ctx context.Context, p *app.Poison, b *bar) error {
				if file == "" || file == "-" {
					if onTerminal(cmd.OutOrStdout()) {
						b.Close()
					}
					_, err := q.export(ctx, p, cmd.OutOrStdout())
					return err
				}
				n, err := q.exportFile(ctx, p, file)
				b.Close()
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s in %s\n", letters(n), file)
				return nil
			})
		},
	}
	q.configFlag(cmd)
	q.filterFlags(cmd)
	cmd.Flags().IntVar(&q.filter.Limit, "limit", 0, "so many letters; 0 is all")
	cmd.Flags().StringVar(&file, "file", "", "write to this file, which appears when it is complete; standard output otherwise")
	_ = cmd.MarkFlagFilename("file")
	return cmd
}

func (q *queue) export(ctx context.Context, p *app.Poison, out io.Writer) (n int64, err error) {
	lines := jsonLines(out)
	err = p.Each(ctx, q.filter, func(l *poison.Letter) error {
		n++
		return lines.Encode(l)
	})
	return n, err
}

func (q *queue) exportFile(ctx context.Context, p *app.Poison, path string) (n int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, fmt.Errorf("export to %q: %w", path, err)
	}
	defer os.Remove(f.Name()) // nothing is there after the rename
	if n, err = q.export(ctx, p, f); err != nil {
		_ = f.Close()
		return n, err
	}
	if err = f.Sync(); err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return n, fmt.Errorf("export to %q: %w", path, err)
	}
	return n, nil
}
