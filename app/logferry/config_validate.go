package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/config"
)

func newConfigValidate() *cobra.Command {
	var conn connection
	cmd := &cobra.Command{
		Use:   "validate [DOCUMENT] FILE",
		Short: "Check a config file or a document, and name all that is wrong",
		Long: `Check a service's config file or, with the name of a document first, a file to
put as that document. All that is wrong is named at once, with file, line and
key. Nothing is read from etcd; --config names the file whose limits
(allowed_topics, allowed_indices) the document must respect.`,
		Example: `  logferry config validate /etc/logferry/agent.yaml
  logferry config validate transfer routes.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return documentArgs(1, 2)(cmd, args)
		},
	}
	output := outputFlag(cmd)
	cmd.Flags().StringVar(&conn.file, "config", "", "a service's config file, whose limits hold")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := validate(cmd, &conn, args)
		var wrong *config.Errors
		if *output == "json" && (err == nil || errors.As(err, &wrong)) {
			answer := struct {
				Valid  bool           `json:"valid"`
				Errors []config.Error `json:"errors"`
			}{err == nil, []config.Error{}}
			if wrong != nil {
				answer.Errors = wrong.All
			}
			if failed := printJSON(cmd.OutOrStdout(), answer); failed != nil {
				return failed
			}
			return err
		}
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%s is valid\n", args[len(args)-1])
		}
		return err
	}
	return cmd
}

func validate(cmd *cobra.Command, conn *connection, args []string) error {
	if len(args) == 1 {
		_, err := config.Load(args[0])
		return err
	}
	base, err := conn.load(cmd)
	if err != nil {
		return err
	}
	data, err := readDocument(cmd, args[1])
	if err != nil {
		return err
	}
	return config.Validate(base, args[0], fileName(args[1]), data)
}
