package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/app/selftest"
	"github.com/logferry/logferry/config"
)

func newSelftest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Torture the pipeline on this machine's own disks and count what is lost",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSelftestAgent())
	return cmd
}

var errSelftest = errors.New("the self-test failed")

func newSelftestAgent() *cobra.Command {
	var (
		o      selftest.Options
		output string
	)
	cmd := &cobra.Command{
		Use:   "agent --dir DIR",
		Short: "Rotate files in every way below an agent that is killed again and again",
		Long: `Write lines that prove themselves into files in DIR, rotate these in every way
that files are rotated (rename, with a late writer, in a storm; copytruncate;
truncate; delete and recreate; hard and symbolic links), and kill the agent that
ships them to an embedded broker, with SIGKILL, again and again. Then print what
was lost and what was repeated.

The exit status is 1 when a line was lost or changed. What was written between
a copytruncate's copy and its cut can be nowhere afterwards; its share is
printed. DIR should be on the disk that is to be tested; about 100 MB are used
in a minute, and removed when all was well.`,
		Example: `  logferry selftest agent --dir /var/tmp`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Dir == "":
				return usage(cmd, errors.New("--dir DIR is needed"))
			case output != "text" && output != "json":
				return usage(cmd, fmt.Errorf("--output is text or json, not %q", output))
			case o.Duration <= 0 || o.KillEvery <= 0 || o.LinesPerSecond <= 0:
				return usage(cmd, errors.New("--duration, --kill-every and --lines-per-second are greater than 0"))
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			o.Agent = func(config string) *exec.Cmd { return exec.Command(self, "agent", "--config", config) }
			o.Logger = app.NewLogger(cmd.ErrOrStderr(), config.Log{Level: "error", Format: "text"})
			if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
				o.Progress = func(written, waiting, kills int) {
					fmt.Fprintf(os.Stderr, "\r%d lines written, %d on their way, agent killed %d times ", written, waiting, kills)
				}
				defer fmt.Fprintln(os.Stderr)
			}
			ctx, cancel := app.WithSignals()
			defer cancel()
			report, err := selftest.Agent(ctx, o)
			if err != nil {
				return err
			}
			if output == "json" {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(report); err != nil {
					return err
				}
			} else {
				report.Print(cmd.OutOrStdout())
			}
			if !report.OK() {
				return errSelftest
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "a folder on the disk that is to be tested")
	f.DurationVar(&o.Duration, "duration", time.Minute, "for how long lines are written")
	f.Uint64Var(&o.Seed, "seed", 0, "run the same program again; 0 takes any")
	f.DurationVar(&o.KillEvery, "kill-every", 200*time.Millisecond, "how long an agent lives, give or take half of it")
	f.IntVar(&o.LinesPerSecond, "lines-per-second", 4000, "how many lines are written")
	f.StringVar(&output, "output", "text", "text or json")
	_ = cmd.MarkFlagDirname("dir")
	return cmd
}
