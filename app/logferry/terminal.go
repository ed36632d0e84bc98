package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// onTerminal says whether a command's stream is one.
func onTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// harmless replaces what could steer a terminal: control characters, all but
// newlines and tabs, and those that change the direction of text.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// oneLine is harmless for a cell of a table.
func oneLine(s string) string { return strings.Join(strings.Fields(harmless(s)), " ") }

// printText prints a text of others: as it is to a file or a program, made
// harmless to a terminal.
func printText(w io.Writer, text string) {
	if onTerminal(w) {
		text = harmless(text)
	}
	fmt.Fprint(w, text)
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

func printJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if onTerminal(w) {
		e.SetIndent("", "  ")
	}
	return e.Encode(value)
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
