// Command logferry ferries log lines from files to Kafka and from Kafka to
// Elasticsearch.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
)

// Exit statuses.
const (
	exitFailed = 1 // failed while running
	exitUsage  = 2 // wrong usage or config
)

func main() {
	if err := newRoot().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, message(err))
		os.Exit(status(err))
	}
}

func newRoot() *cobra.Command {
	long := `logferry ferries log lines from files to Kafka (agent) and from Kafka to
Elasticsearch (transfer). It loses nothing and can be re-tuned while it runs.`
	if !app.Lean {
		long += `

Try it without any other program:

  logferry up '/var/log/*.log'`
	}
	root := &cobra.Command{
		Use:           "logferry",
		Short:         "Log lines from files to Kafka and from Kafka to Elasticsearch, and none lost",
		Long:          long,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:  true,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.AddCommand(newUp(), newAgent(), newTransfer(), newSelftest(), newStatus(), newConfig(), newTune(), newPoison(), newReplay(), newVersion())
	return root
}

// usageError is a wrong call: exit status 2.
type usageError struct{ error }

func usage(cmd *cobra.Command, err error) error {
	return usageError{fmt.Errorf("%w\nsee '%s --help'", err, cmd.CommandPath())}
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return usage(cmd, err)
}

// noArgs refuses arguments, as a wrong call.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usage(cmd, fmt.Errorf("%s takes no arguments, but got %q", cmd.Name(), args))
	}
	return nil
}

func status(err error) int {
	var (
		wrongUsage  usageError
		wrongConfig *config.Errors
	)
	if errors.As(err, &wrongUsage) || errors.As(err, &wrongConfig) || errors.Is(err, app.ErrLean) {
		return exitUsage
	}
	return exitFailed
}

func message(err error) string {
	var wrongConfig *config.Errors
	if errors.As(err, &wrongConfig) {
		return wrongConfig.Error()
	}
	return "logferry: " + err.Error()
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "logferry", app.Version)
			if app.Lean {
				fmt.Fprintln(cmd.OutOrStdout(), "lean: without `logferry up`")
			}
		},
	}
}
