package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/config"
)

func newConfigEdit() *cobra.Command {
	var c changeFlags
	cmd := &cobra.Command{
		Use:   "edit DOCUMENT",
		Short: "Change a document in $EDITOR",
		Long: `Open a document in $VISUAL, $EDITOR or vi, and put what comes out as put does. An
edited text that is not valid can be edited again, and is kept in a file when
it is not put.`,
		Args: documentArgs(1, 1),
	}
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := c.begin(cmd, args[0])
		if err != nil {
			return err
		}
		defer change.end()
		dir, err := os.MkdirTemp("", "logferry-edit-")
		if err != nil {
			return fmt.Errorf("make a file to edit: %w", err)
		}
		path := filepath.Join(dir, strings.ReplaceAll(args[0], "/", "-")+".yaml")
		if err := os.WriteFile(path, change.data(), 0o600); err != nil {
			return fmt.Errorf("make a file to edit: %w", err)
		}
		if err := change.edit(path); err != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "the edited text is in", path)
			return err
		}
		return os.RemoveAll(dir)
	}
	return cmd
}

// edit runs the editor until the text is valid or the person gives up.
func (c *changing) edit(path string) error {
	for {
		if err := runEditor(c.cmd, path); err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the edited text: %w", err)
		}
		if c.current == nil && len(data) == 0 {
			return c.put(nil, path) // an empty file of no document is no document
		}
		err = config.Validate(c.base, c.document, filepath.Base(path), data)
		if err == nil {
			return c.put(data, "edited")
		}
		if !onTerminal(c.cmd.InOrStdin()) {
			return err
		}
		fmt.Fprintln(c.cmd.ErrOrStderr(), err)
		if !confirm(c.cmd, "edit again?") {
			return errAbandoned
		}
	}
}

func runEditor(cmd *cobra.Command, path string) error {
	words := strings.Fields(os.Getenv("VISUAL"))
	if len(words) == 0 {
		words = strings.Fields(os.Getenv("EDITOR"))
	}
	if len(words) == 0 {
		words = []string{"vi"}
	}
	editor := exec.CommandContext(cmd.Context(), words[0], append(words[1:], path)...)
	editor.Stdin, editor.Stdout, editor.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := editor.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return usage(cmd, fmt.Errorf("there is no editor %q; set EDITOR", words[0]))
		}
		return fmt.Errorf("run %s: %w", words[0], err)
	}
	return nil
}
