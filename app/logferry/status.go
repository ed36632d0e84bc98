package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config/etcd"
)

func newStatus() *cobra.Command {
	var (
		conn  connection
		watch bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the fleet: every agent and transfer, its config, lag, rates and last error",
		Long: `Show every agent and transfer that reports to etcd, and those that did within the
last week, with their last words. A process counts as gone when it has not been
heard of for 15 s.`,
		Example: `  logferry status --watch
  logferry status --output json | jq '.[] | select(.config.error)'`,
		Args: noArgs,
	}
	conn.flags(cmd)
	output := outputFlag(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again whenever it changes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		_, store, err := conn.open(cmd)
		if err != nil {
			return err
		}
		defer store.Close()
		show := func(members []etcd.Member) error {
			fleet := readFleet(members)
			if *output == "json" {
				return printJSON(cmd.OutOrStdout(), fleet)
			}
			printFleet(cmd.OutOrStdout(), fleet, time.Now())
			return printCanaries(cmd, store)
		}
		if !watch {
			members, err := store.Fleet(cmd.Context())
			if err != nil {
				return err
			}
			return show(members)
		}
		return watchFleet(cmd, store, show)
	}
	return cmd
}

// watchFleet shows the fleet until it is interrupted, or nobody reads it any more.
func watchFleet(cmd *cobra.Command, store *etcd.Store, show func([]etcd.Member) error) error {
	ctx, cancel := interrupted(cmd)
	defer cancel()
	var failed error
	err := store.FollowFleet(ctx, func(members []etcd.Member) bool {
		if out := cmd.OutOrStdout(); onTerminal(out) {
			fmt.Fprint(out, "\x1b[H\x1b[2J\x1b[3J")
		}
		failed = show(members)
		return failed != nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return cmp.Or(failed, err)
}

// member is a process as `status --output json` shows it.
type member struct {
	// Name is the node's, with @ and a number behind it when several
	// processes report as one node.
	Name string `json:"name"`
	// State is ready, waiting, stopped or gone.
	State string `json:"state"`
	app.Report
}

func readFleet(members []etcd.Member) []member {
	fleet := []member{}
	for _, m := range members {
		f := member{Name: m.Name, State: "ready"}
		if err := json.Unmarshal(m.Data, &f.Report); err != nil {
			f.LastError = "its report cannot be read: " + err.Error()
		}
		f.Role = m.Role
		switch {
		case !m.Alive && !f.Stopped.IsZero():
			f.State = "stopped"
		case !m.Alive:
			f.State = "gone"
		case f.Report.Waiting != "":
			f.State = "waiting"
		}
		fleet = append(fleet, f)
	}
	return fleet
}

func printFleet(out io.Writer, fleet []member, now time.Time) {
	if len(fleet) == 0 {
		fmt.Fprintln(out, "no agent and no transfer reports here")
		return
	}
	t := newTable(out, "ROLE", "NODE", "STATE", "CONFIG", "FILES", "LINES/S", "LAG", "RETRIES", "BREAKER", "POISON", "VERSION", "LAST ERROR")
	for _, m := range fleet {
		files := ""
		if m.Role == "agent" {
			files = strconv.Itoa(m.Files)
		}
		t.AppendRow([]any{
			oneLine(m.Role), oneLine(m.Name), m.state(now), m.revision(), files, humanize.Commaf(m.LinesPerSecond), m.lag(),
			m.Retries, oneLine(m.Breaker), m.Poisoned, oneLine(m.Version), m.trouble(now),
		})
	}
	t.Render()
}

func (m *member) state(now time.Time) string {
	switch m.State {
	case "stopped":
		return "stopped " + ago(now, m.Stopped)
	case "gone":
		return "gone, last words " + ago(now, m.Said)
	}
	return m.State
}

// revision is the one in force, and the one that is wanted when it is another.
func (m *member) revision() string {
	c := m.Report.Config
	s := strconv.FormatInt(c.Revision, 10)
	if c.AppliedAt.IsZero() {
		s = "none"
	}
	if c.RunsCanary() {
		s += " canary"
	}
	if c.Wanted != 0 && c.Wanted != c.Revision {
		s += fmt.Sprintf(", wanted %d", c.Wanted)
	}
	if c.Error != "" {
		s += " rejected"
	}
	return s
}

func (m *member) lag() string {
	s := humanize.Comma(m.Lag) + " records"
	if m.Role == "agent" {
		s = humanize.IBytes(uint64(max(m.Lag, 0)))
	}
	if m.LagSeconds != nil && *m.LagSeconds > 0 {
		s += ", " + (time.Duration(*m.LagSeconds) * time.Second).String()
	}
	return s
}

// trouble is what a person should look at first.
func (m *member) trouble(now time.Time) string {
	switch {
	case m.Report.Config.Error != "":
		return oneLine(m.Report.Config.Error)
	case m.Held != "":
		return "held: " + oneLine(m.Held)
	case m.LastError != "":
		return ago(now, m.LastErrorTime) + ": " + oneLine(m.LastError)
	case m.State == "waiting":
		return oneLine(m.Report.Waiting)
	}
	return ""
}

func ago(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	return max(now.Sub(then), 0).Truncate(time.Second).String() + " ago"
}
