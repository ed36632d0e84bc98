package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// agent is a simulated one: it applies nothing, but answers.
type agent struct {
	node    string
	keys    config.Keys
	watcher *etcd.Watcher
	changed chan struct{}
	started time.Time
	busy    *atomic.Bool
	lines   uint64

	seen, at atomic.Int64 // the last revision, and when it came
}

// Publish implements message.Publisher: there is another snapshot.
func (a *agent) Publish(string, ...*message.Message) error {
	s, _ := a.watcher.Snapshot()
	a.at.Store(time.Now().UnixNano())
	a.seen.Store(s.Revision)
	select {
	case a.changed <- struct{}{}:
	default:
	}
	return nil
}

// Close implements message.Publisher.
func (a *agent) Close() error { return nil }

// report is new each time while the fleet is busy.
func (a *agent) report(words etcd.Words) []byte {
	if a.busy.Load() && words == etcd.Current {
		a.lines += 5000
	}
	s, _ := a.watcher.Snapshot()
	return a.say(s, words)
}

// say is as long as the report of an agent with one input.
func (a *agent) say(s etcd.Snapshot, words etcd.Words) []byte {
	r := app.Report{
		Role: "agent", Node: a.node, Version: "v1.0.0", PID: os.Getpid(), Started: a.started, Keys: a.keys.All(), Files: 12,
		Config: app.LiveStatus{Revision: s.Docs.Revision(), Wanted: s.Docs.Revision(), Seen: s.Revision, AppliedAt: a.started},
	}
	for _, doc := range s.Docs.All() {
		r.Config.Documents = append(r.Config.Documents, app.DocumentStatus{Key: doc.Key, Revision: doc.Revision, Wanted: doc.Revision})
	}
	r.Lines, r.LinesPerSecond, r.Breaker = a.lines, 1000, "closed"
	r.Parts = []app.PartReport{{Name: "web", Figures: r.Figures}}
	if words != etcd.Current {
		r.Said = time.Now().UTC().Truncate(time.Second)
	}
	data, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return data
}

// runAgents runs the fleet until ctx ends, and answers lines on standard input:
//
//	busy | idle      how the reports are
//	connected        how many are
//	seen REVISION    when each has seen it: nanoseconds since 1970, one line; waits for all
func runAgents(ctx context.Context, o options) error {
	cfg := config.Default[config.Etcd]()
	cfg.Endpoints = []string{o.endpoint}
	if o.user {
		cfg.Username, cfg.Password = "agents", config.Secret(password)
	}
	busy := &atomic.Bool{}
	var wait sync.WaitGroup
	agents := make([]*agent, o.agents)
	for i := range agents {
		a := &agent{node: fmt.Sprintf("node-%05d", i), changed: make(chan struct{}, 1), started: time.Now().UTC().Truncate(time.Second), busy: busy}
		c := config.Config{Node: a.node, Etcd: &cfg, Labels: map[string]string{"zone": strconv.Itoa(i % 3)}}
		a.keys = c.AgentKeys()
		log := slog.New(slog.DiscardHandler)
		link := etcd.NewLink(cfg)
		var err error
		if a.watcher, err = etcd.New(link, a.keys, a, log); err != nil {
			return err
		}
		reporter := etcd.NewReporter(link, "agent", a.node, a.report, a.changed, log)
		wait.Go(func() { _ = a.watcher.Run(ctx) }) // nil
		wait.Go(func() { _ = reporter.Run(ctx) })  // nil
		agents[i] = a
	}
	asked := make(chan string)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			asked <- lines.Text()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			wait.Wait()
			return nil
		case line := <-asked:
			answer, err := json.Marshal(answer(ctx, agents, busy, line))
			if err != nil {
				return err
			}
			fmt.Println(string(answer))
		}
	}
}

func answer(ctx context.Context, agents []*agent, busy *atomic.Bool, line string) any {
	var word string
	var revision int64
	_, _ = fmt.Sscan(line, &word, &revision)
	switch word {
	case "busy", "idle":
		busy.Store(word == "busy")
	case "connected":
		n := 0
		for _, a := range agents {
			if a.watcher.Stats().Connected {
				n++
			}
		}
		return n
	case "seen":
		for slices.ContainsFunc(agents, func(a *agent) bool { return a.seen.Load() < revision }) && ctx.Err() == nil {
			<-time.After(5 * time.Millisecond)
		}
		times := make([]int64, len(agents))
		for i, a := range agents {
			times[i] = a.at.Load()
		}
		return times
	}
	return 0
}
