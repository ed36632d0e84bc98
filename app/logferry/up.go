package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
)

func newUp() *cobra.Command {
	var (
		o      app.UpOptions
		output string
	)
	ports := []struct {
		flag string
		port *app.Port
		def  int
		what string
	}{
		{"etcd-port", &o.Etcd, 2379, "etcd"},
		{"kafka-port", &o.Kafka, 9092, "the Kafka broker"},
		{"elasticsearch-port", &o.Elasticsearch, 9200, "_bulk"},
		{"search-port", &o.Search, 9428, "the search page"},
		{"console-port", &o.Console, 7070, "health and metrics"},
	}
	cmd := &cobra.Command{
		Use:    "up [GLOB...]",
		Short:  "Run everything in one process: servers, agent, transfer and a search page",
		Hidden: app.Lean,
		Long: `Run an etcd, a Kafka broker, a log store with a search page, an agent and a
transfer in one process on 127.0.0.1. Files that match the GLOBs are shipped at
once. All state is kept in --dir: a second start goes on where the first stopped.`,
		Example: `  logferry up '/var/log/*.log' '/var/log/**/*.log'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usage(cmd, fmt.Errorf("--output is text or json, not %q", output))
			}
			for _, p := range ports {
				p.port.Fixed = cmd.Flags().Changed(p.flag)
				if p.port.Number < 0 || p.port.Number > 65535 {
					return usage(cmd, fmt.Errorf("--%s is a port, not %d", p.flag, p.port.Number))
				}
			}
			o.Globs = args
			o.Logger = app.NewLogger(cmd.ErrOrStderr(), o.Log)
			o.Ready = func(a app.Addresses) { printAddresses(cmd.OutOrStdout(), output, o, a) }
			ctx, cancel := app.WithSignals()
			defer cancel()
			app.SayStop(ctx, o.Logger)
			return app.Up(ctx, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "./logferry-data", "where all state is kept")
	f.StringVar(&output, "output", "text", "how the addresses are printed: text or json")
	f.StringVar(&o.Log.Level, "log-level", "warn", "debug, info, warn or error")
	o.Log.Format = "text"
	for _, p := range ports {
		f.IntVar(&p.port.Number, p.flag, p.def, "port of "+p.what+"; 0 takes any free one")
	}
	return cmd
}

// printAddresses prints one screen for people or one line for programs.
func printAddresses(w io.Writer, output string, o app.UpOptions, a app.Addresses) {
	if output == "json" {
		line, _ := json.Marshal(a)
		fmt.Fprintln(w, string(line))
		return
	}
	shipping := "nothing yet; name files: logferry up '/var/log/*.log'"
	if len(o.Globs) > 0 {
		shipping = strings.Join(o.Globs, "  ")
	}
	fmt.Fprintf(w, `logferry is up. Everything runs in this process; Ctrl-C stops it.

  search page     %s/%s
  shipping        %s

  etcd            %s%s    live config under /logferry/v1 and /collect_log_conf
  kafka           %s%s
  elasticsearch   %s%s    _bulk
  admin           %s%s    /healthz /readyz /metrics /api/status
  state           %s

Ship more files while it runs:

  echo '[{"path":"./app.log","topic":"app"}]' | logferry config put seed --etcd-endpoints %s

`, a.Search, moved(o.Search, a.Search), shipping,
		a.Etcd, moved(o.Etcd, a.Etcd), a.Kafka, moved(o.Kafka, a.Kafka),
		a.Elasticsearch, moved(o.Elasticsearch, a.Elasticsearch), a.Console, moved(o.Console, a.Console),
		o.Dir, a.Etcd)
}

// moved says that a server listens on another port than people expect.
func moved(p app.Port, address string) string {
	if p.Number == 0 || strings.HasSuffix(address, fmt.Sprintf(":%d", p.Number)) {
		return ""
	}
	return fmt.Sprintf("  (%d was taken)", p.Number)
}
