// Fleet measures what a fleet of agents asks of one etcd. The agents' watchers
// and reporters are the real ones, with figures that are made up, all in one
// process; etcd is another, as `etcd` starts without flags; who measures is a
// third. It prints a Markdown page.
//
//	fleet ──► etcd  ◄── agents: N times etcd.Link, Watcher, Reporter
//	  │  puts,  ▲
//	  │  kills  └── samples /proc and /metrics
//	  └── asks the agents what they have seen
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the run's flags.
type options struct {
	agents   int
	puts     int
	window   time.Duration
	user     bool
	logferry string
	dir      string
	// Of the processes that the run starts: what they are, and where.
	role, endpoint string
}

func main() {
	var o options
	flag.IntVar(&o.agents, "agents", 2000, "simulated agents")
	flag.IntVar(&o.puts, "puts", 5, "changes of the document of all agents")
	flag.DurationVar(&o.window, "window", 30*time.Second, "for how long the load is measured")
	flag.BoolVar(&o.user, "user", false, "agents log in with a user and a password")
	flag.StringVar(&o.logferry, "logferry", "", "binary whose status command is timed; empty leaves that out")
	flag.StringVar(&o.dir, "dir", "", "where etcd keeps its data meanwhile; empty takes the system's temporary folder")
	flag.StringVar(&o.role, "role", "", "for the run's own use")
	flag.StringVar(&o.endpoint, "endpoint", "", "for the run's own use")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch o.role {
	case "":
		err = measure(ctx, o)
	case "etcd":
		err = serveEtcd(ctx, o)
	case "agents":
		err = runAgents(ctx, o)
	default:
		err = fmt.Errorf("no such role: %s", o.role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}
