package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/handlers/index"
)

func newSetup() *cobra.Command {
	var (
		t    tool
		o    app.SetupOptions
		keep daysFlag
	)
	cmd := &cobra.Command{
		Use:   "setup --config FILE",
		Short: "Make index templates and lifecycle policies in Elasticsearch",
		Long: `Make an index template for the indices of each route, and a lifecycle policy where
the cluster has any: types for the fields that logferry adds, text for message,
keywords for other strings, and a limit of fields. Data streams get a new index at
50 GB or 30 days. Nothing is ever deleted unless --retention says so.

What was made by others is left alone. A second run changes nothing. Templates are
used when an index is made: they change none that is there.

The credentials need the cluster privileges manage_index_templates and, for
policies, manage_ilm; the transfer itself does not.`,
		Example: `  logferry transfer setup --config transfer.yml --dry-run
  logferry transfer setup --config transfer.yml --retention 90d`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel, c, log, err := t.open(cmd)
			if err != nil {
				return err
			}
			defer cancel()
			o.Retention = time.Duration(keep)
			done, err := app.Setup(ctx, c, o, log)
			if t.json() {
				if done == nil {
					done = []index.SetupAction{}
				}
				return errors.Join(printJSON(cmd.OutOrStdout(), map[string]any{"dry_run": o.DryRun, "actions": done}), err)
			}
			printSetup(cmd.OutOrStdout(), done, o.DryRun)
			return err
		},
	}
	t.configFlag(cmd)
	t.outputFlag(cmd)
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would be made")
	cmd.Flags().Var(&keep, "retention", "delete data that is older, such as 90d; 0 keeps it")
	return cmd
}

func printSetup(out io.Writer, done []index.SetupAction, dryRun bool) {
	if len(done) == 0 {
		return
	}
	w := newTable(out, "RESULT", "WHAT", "NAME", "ROUTES", "INDICES", "NOTE")
	for _, a := range done {
		result := a.Result
		if dryRun && (result == "created" || result == "updated") {
			result = "would be " + result
		}
		w.AppendRow(table.Row{result, a.Kind, a.Name, strings.Join(a.Routes, " "), strings.Join(a.Patterns, " "), oneLine(a.Note)})
	}
	w.Render()
}

// daysFlag is a duration that may be given in days.
type daysFlag time.Duration

var daysPattern = regexp.MustCompile(`^([0-9]{1,5})d$`)

// Set implements pflag.Value.
func (f *daysFlag) Set(s string) error {
	if m := daysPattern.FindStringSubmatch(s); m != nil {
		days, err := strconv.Atoi(m[1])
		*f = daysFlag(time.Duration(days) * 24 * time.Hour)
		return err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return errors.New("is a time such as 90d or 12h")
	}
	*f = daysFlag(d)
	return nil
}

// String implements pflag.Value.
func (f *daysFlag) String() string {
	if d := time.Duration(*f); d > 0 {
		return fmt.Sprintf("%gd", d.Hours()/24)
	}
	return "0"
}

// Type implements pflag.Value.
func (f *daysFlag) Type() string { return "time" }
