package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, read and change the live config in etcd",
		Long: `Check, read and change the live config in etcd. The documents are

  agent                   the inputs of all agents
  agent/labels/KEY=VALUE  more inputs, or others of the same name, for the nodes with that label
  agent/nodes/NODE        the same for one node
  transfer                the routes
  seed                    the list of paths and topics

Each change is checked before it is written, is written only if the document is
still the one that it was made from, and is kept, with author and message, as a
revision to compare with or go back to.`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(newConfigValidate(), newConfigGet(), newConfigPut(), newConfigEdit(), newConfigDelete(),
		newConfigDiff(), newConfigHistory(), newConfigRollback(), newConfigCanary(), newConfigPromote())
	return cmd
}

// connection is how a command finds etcd.
type connection struct {
	file      string
	endpoints []string
	prefix    string
}

func (c *connection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.file, "config", "", "a service's config file: its section etcd is used, and its limits hold")
	f.StringSliceVar(&c.endpoints, "etcd-endpoints", nil, "etcd's addresses, instead (default 127.0.0.1:2379)")
	f.StringVar(&c.prefix, "etcd-prefix", "", "where the documents are (default /logferry/v1)")
	_ = cmd.MarkFlagFilename("config", "yml", "yaml", "json")
}

// load returns the config to connect with and to check documents by.
func (c *connection) load(cmd *cobra.Command) (*config.Config, error) {
	base, err := config.Parse("defaults", []byte("etcd: {}"))
	if c.file != "" {
		base, err = config.Load(c.file)
	}
	if err != nil {
		return nil, err
	}
	if base.Etcd == nil {
		return nil, usage(cmd, fmt.Errorf("%s has no section etcd", c.file))
	}
	if len(c.endpoints) > 0 {
		base.Etcd.Endpoints = c.endpoints
	}
	if c.prefix != "" {
		base.Etcd.Prefix = strings.TrimRight(c.prefix, "/")
	}
	return base, nil
}

// open connects; the caller closes the store.
func (c *connection) open(cmd *cobra.Command) (*config.Config, *etcd.Store, error) {
	base, err := c.load(cmd)
	if err != nil {
		return nil, nil, err
	}
	store, err := etcd.Open(cmd.Context(), *base.Etcd)
	return base, store, err
}

// documentArgs checks the number of arguments and that the first is a document.
func documentArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usage(cmd, fmt.Errorf("write it as: %s", cmd.UseLine()))
		}
		if len(args) == 0 {
			return nil
		}
		if err := config.CheckDocument(args[0]); err != nil {
			return usage(cmd, err)
		}
		return nil
	}
}

// interrupted is the context of commands, which ends at the first SIGINT.
func interrupted(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

// errAbandoned says that a person said no.
var errAbandoned = errors.New("nothing was changed")

func readable(err error) string {
	if errors.Is(err, os.ErrNotExist) {
		return "no such file"
	}
	return err.Error()
}
