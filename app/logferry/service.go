package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
)

// service is an agent or a transfer.
type service interface {
	app.Service
	Run(ctx context.Context) error
}

func newAgent() *cobra.Command {
	return newService("agent", "Tail files and publish their lines to Kafka",
		func(c *config.Config, path string, log *slog.Logger) (service, error) {
			app.UseOneCore()
			return app.NewAgent(c, path, log)
		})
}

func newTransfer() *cobra.Command {
	cmd := newService("transfer", "Index records from Kafka into Elasticsearch",
		func(c *config.Config, path string, log *slog.Logger) (service, error) {
			app.TradeMemoryForTime()
			return app.NewTransfer(c, path, log)
		})
	cmd.AddCommand(newSetup())
	return cmd
}

func newService(name, short string, make func(*config.Config, string, *slog.Logger) (service, error)) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   name + " --config FILE",
		Short: short,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usage(cmd, errors.New("--config FILE is needed"))
			}
			ctx, cancel := app.WithSignals()
			defer cancel()
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			log := app.NewLogger(cmd.ErrOrStderr(), c.Log)
			s, err := make(c, path, log)
			if err != nil {
				return err
			}
			admin, err := app.NewAdmin(c.Admin, map[string]app.Service{name: s}, log)
			if err != nil {
				return err
			}
			app.TrimStartup()
			app.SayStop(ctx, log)
			return app.RunWithAdmin(ctx, s.Run, admin)
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the config file")
	_ = cmd.MarkFlagFilename("config", "yml", "yaml", "json")
	return cmd
}
