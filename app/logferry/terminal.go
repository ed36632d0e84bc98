package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// onTerminal says whether a command's stream is one.
func onTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// outputFlag adds --output to a command and returns its value, checked before
// the command runs.
func outputFlag(cmd *cobra.Command) *string {
	output := cmd.Flags().String("output", "text", "text for people or json for programs")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if *output != "text" && *output != "json" {
			return usage(cmd, fmt.Errorf("--output is text or json, not %q", *output))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
	return output
}

// newTable returns a table without lines, as wide as what is in it.
func newTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.Style{Name: "plain", Box: table.BoxStyle{PaddingRight: "  "}})
	t.AppendHeader(header)
	t.SuppressTrailingSpaces()
	return t
}

// confirm asks a person, and takes anything but yes as no.
func confirm(cmd *cobra.Command, question string) bool {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
