package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

const password = "only for this run"

// run is one run under way.
type run struct {
	options
	cfg    config.Etcd
	etcd   *child
	fleet  *child
	store  *etcd.Store
	client *clientv3.Client
}

func measure(ctx context.Context, o options) (err error) {
	tmp, err := os.MkdirTemp(o.dir, "logferry-fleet-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	o.endpoint, o.dir = l.Addr().String(), filepath.Join(tmp, "etcd")
	if err := l.Close(); err != nil {
		return err
	}
	r := &run{options: o, cfg: config.Default[config.Etcd]()}
	r.cfg.Endpoints = []string{o.endpoint}
	defer r.end()
	if err := r.startEtcd(ctx); err != nil {
		return err
	}
	if o.user {
		if err := r.users(ctx); err != nil {
			return err
		}
	}
	if r.client, err = etcd.Client(ctx, r.cfg); err != nil {
		return err
	}
	if r.store, err = etcd.Open(ctx, r.cfg); err != nil {
		return err
	}
	fmt.Printf("%d agents, reports of %d bytes, one etcd of one member, as it comes, load at the start %s\n\n| what | figure |\n| --- | --- |\n", o.agents, r.reportSize(), loadNow())
	for _, part := range []func(context.Context) error{r.join, r.idle, r.busy, r.changes, r.status, r.restart} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// loadNow is the machine's load average over the last minute.
func loadNow() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}

func row(what, format string, args ...any) {
	fmt.Printf("| %s | %s |\n", what, fmt.Sprintf(format, args...))
}

func (r *run) end() {
	for _, c := range []*child{r.fleet, r.etcd} {
		if c != nil {
			c.end(syscall.SIGKILL)
		}
	}
	if r.store != nil {
		_ = r.store.Close()
	}
	if r.client != nil {
		_ = r.client.Close()
	}
}

func (r *run) startEtcd(ctx context.Context) (err error) {
	if r.etcd, err = start("etcd", "-dir", r.dir, "-endpoint", r.endpoint); err != nil {
		return err
	}
	for began := time.Now(); ; {
		_, err := metrics(r.endpoint, "etcd_server_has_leader")
		if err == nil {
			return nil
		}
		if time.Since(began) > time.Minute || ctx.Err() != nil {
			return fmt.Errorf("etcd does not start: %w", err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (r *run) users(ctx context.Context) error {
	c, err := etcd.Client(ctx, r.cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range []string{"root", "agents"} {
		_, err1 := c.UserAdd(ctx, name, password)
		_, err2 := c.UserGrantRole(ctx, name, "root")
		if name == "root" {
			_, err3 := c.RoleAdd(ctx, "root")
			_, err2 = c.UserGrantRole(ctx, name, "root")
			err1 = errors.Join(err1, err3)
		}
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
	}
	r.cfg.Username, r.cfg.Password = "root", password
	_, err = c.AuthEnable(ctx)
	return err
}

func (r *run) reportSize() int {
	a := &agent{node: "node-00000", started: time.Now().UTC().Truncate(time.Second), keys: config.Keys{Agent: r.cfg.Key("agent"), Labels: []string{r.cfg.Key("agent/labels/zone=0")}, Node: r.cfg.Key("agent/nodes/node-00000"), Seed: r.cfg.SeedKey}}
	s := etcd.Snapshot{Docs: config.Docs{Agent: &config.Document{Key: a.keys.Agent, Revision: 100_000}}, Revision: 100_000}
	return len(a.say(s, etcd.Current))
}

// document is one of 4 KiB, as a fleet might have; n makes it another one.
func document(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# change %d\ninputs:\n", n)
	for i := range 32 {
		fmt.Fprintf(&b, "  - {name: input-%02d, paths: ['/var/log/service-%02d/*.log'], topic: topic_%02d, throttle: {lines_per_second: 5000}}\n", i, i, i)
	}
	return b.String()
}

// join starts the fleet, all at once.
func (r *run) join(ctx context.Context) (err error) {
	if _, err = r.client.Put(ctx, r.cfg.Key("agent"), document(0)); err != nil {
		return err
	}
	began := time.Now()
	args := []string{"-agents", fmt.Sprint(r.agents), "-endpoint", r.endpoint}
	if r.user {
		args = append(args, "-user")
	}
	if r.fleet, err = start("agents", args...); err != nil {
		return err
	}
	half, most, all, err := r.connected(ctx, began)
	if err != nil {
		return err
	}
	row("all start at once: half, 99 %, all have the config after", "%s, %s, %s", half, most, all)
	for {
		members, err := r.store.Fleet(ctx)
		if err == nil && len(members) >= r.agents {
			break
		}
		if ctx.Err() != nil || time.Since(began) > 5*time.Minute {
			return fmt.Errorf("%d of %d report: %w", len(members), r.agents, err)
		}
		<-time.After(100 * time.Millisecond)
	}
	row("all have reported after", "%s", round(time.Since(began)))
	cpu, _, err1 := r.etcd.cpu()
	agents, _, err2 := r.fleet.cpu()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	row("which takes etcd, and all agents together", "%s and %s of CPU", round(cpu), round(agents))
	<-time.After(20 * time.Second) // until it is calm
	return nil
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// connected waits until all agents are.
func (r *run) connected(ctx context.Context, began time.Time) (half, most, all time.Duration, err error) {
	for ctx.Err() == nil && time.Since(began) < 10*time.Minute {
		var n int
		if err := r.fleet.ask("connected", &n); err != nil {
			return 0, 0, 0, err
		}
		d := round(time.Since(began))
		if half == 0 && n >= r.agents/2 {
			half = d
		}
		if most == 0 && n >= r.agents*99/100 {
			most = d
		}
		if n >= r.agents {
			return half, most, d, nil
		}
		<-time.After(10 * time.Millisecond)
	}
	return 0, 0, 0, errors.New("not all agents have connected")
}

var watched = []string{
	"etcd_server_proposals_committed_total", "etcd_mvcc_put_total", "etcd_network_client_grpc_received_bytes_total",
	"etcd_network_client_grpc_sent_bytes_total", `grpc_server_msg_received_total{grpc_method="LeaseKeepAlive"`,
	`grpc_server_msg_received_total{grpc_method="Txn"`, `grpc_server_msg_received_total{grpc_method="Watch"`,
	"etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_debugging_mvcc_watcher_total", "etcd_debugging_mvcc_watch_stream_total",
}

// load measures for a while.
func (r *run) load(ctx context.Context, name string) error {
	before, err1 := metrics(r.endpoint, watched...)
	cpu, _, err2 := r.etcd.cpu()
	agents, _, err3 := r.fleet.cpu()
	began := time.Now()
	select {
	case <-time.After(r.window):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err4 := metrics(r.endpoint, watched...)
	cpu2, rss, err5 := r.etcd.cpu()
	agents2, agentsRSS, err6 := r.fleet.cpu()
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return err
	}
	s := time.Since(began).Seconds()
	rate := func(name string) float64 { return (after[name] - before[name]) / s }
	row(name+": etcd", "%.1f %% of a core, %d MiB resident", 100*(cpu2-cpu).Seconds()/s, rss>>20)
	row(name+": all agents together", "%.1f %% of a core, %d MiB resident", 100*(agents2-agents).Seconds()/s, agentsRSS>>20)
	row(name+": written", "%.0f transactions/s, %.0f keys/s, %.0f KiB/s in, %.0f KiB/s out", rate(watched[0]), rate(watched[1]), rate(watched[2])/1024, rate(watched[3])/1024)
	row(name+": asked", "%.0f keepalives/s, %.0f transactions/s, %.0f messages to watches/s", rate(watched[4]), rate(watched[5]), rate(watched[6]))
	row(name+": etcd holds", "%.0f watches in %.0f streams, %.1f MiB in use", after[watched[8]], after[watched[9]], after[watched[7]]/(1<<20))
	return nil
}

func (r *run) idle(ctx context.Context) error { return r.load(ctx, "idle") }

func (r *run) busy(ctx context.Context) error {
	var n int
	if err := r.fleet.ask("busy", &n); err != nil {
		return err
	}
	<-time.After(10 * time.Second)
	return r.load(ctx, "every report is news")
}

// changes puts the document of all, again and again.
func (r *run) changes(ctx context.Context) error {
	var seen, answered []time.Duration
	var cost [2]time.Duration // of etcd, of the agents
	for n := range r.puts {
		etcd, _, err1 := r.etcd.cpu()
		agents, _, err2 := r.fleet.cpu()
		put := time.Now()
		answer, err := r.client.Put(ctx, r.cfg.Key("agent"), document(n+1))
		if err != nil {
			return err
		}
		revision := answer.Header.Revision
		reports := make(chan error, 1)
		go func() {
			times, err := r.answers(ctx, revision)
			for _, at := range times {
				answered = append(answered, at.Sub(put))
			}
			reports <- err
		}()
		var times []int64
		if err := errors.Join(r.fleet.ask(fmt.Sprint("seen ", revision), &times), <-reports); err != nil {
			return err
		}
		for _, at := range times {
			seen = append(seen, time.Unix(0, at).Sub(put))
		}
		etcd2, _, err3 := r.etcd.cpu()
		agents2, _, err4 := r.fleet.cpu()
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return err
		}
		cost[0] += etcd2 - etcd
		cost[1] += agents2 - agents
		<-time.After(10 * time.Second)
	}
	row(fmt.Sprintf("from put to read by an agent (%d puts)", r.puts), "%s", spread(seen))
	row("from put to its answer", "%s", spread(answered))
	row("a put takes etcd, and all agents together", "%s and %s of CPU", round(cost[0]/time.Duration(r.puts)), round(cost[1]/time.Duration(r.puts)))
	return nil
}

func spread(list []time.Duration) string {
	slices.Sort(list)
	at := func(share float64) time.Duration { return round(list[int(share*float64(len(list)-1))]) }
	return fmt.Sprintf("p50 %s, p99 %s, the most %s", at(0.5), at(0.99), at(1))
}

// answers waits until all agents have answered to a revision, and returns when
// each did.
func (r *run) answers(parent context.Context, revision int64) (map[string]time.Time, error) {
	ctx, cancel := context.WithTimeout(parent, 2*time.Minute)
	defer cancel()
	prefix := r.cfg.Key("status/agent/")
	times := map[string]time.Time{}
	for change := range r.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1)) {
		if err := change.Err(); err != nil {
			return nil, err
		}
		now := time.Now()
		for _, e := range change.Events {
			var report app.Report
			if e.Type != clientv3.EventTypePut || json.Unmarshal(e.Kv.Value, &report) != nil || report.Config.Seen < revision {
				continue
			}
			if _, known := times[report.Node]; !known {
				times[report.Node] = now
			}
		}
		if len(times) == r.agents {
			return times, nil
		}
	}
	return nil, fmt.Errorf("%d of %d agents have answered", len(times), r.agents)
}

// status is what people and `--wait` read.
func (r *run) status(ctx context.Context) error {
	var times []time.Duration
	for range 5 {
		began := time.Now()
		if _, err := r.store.Fleet(ctx); err != nil {
			return err
		}
		times = append(times, time.Since(began))
	}
	row("reading all reports", "%s", spread(times))
	if r.logferry == "" || r.user {
		return nil
	}
	times = nil
	for range 5 {
		began := time.Now()
		if out, err := exec.CommandContext(ctx, r.logferry, "status", "--etcd-endpoints", r.endpoint).Output(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		times = append(times, time.Since(began))
	}
	row("`logferry status`", "%s", spread(times))
	return nil
}

// restart kills etcd and starts it again.
func (r *run) restart(ctx context.Context) error {
	r.etcd.end(syscall.SIGKILL)
	<-time.After(10 * time.Second)
	if err := r.startEtcd(ctx); err != nil {
		return err
	}
	began := time.Now()
	half, most, all, err := r.connected(ctx, began)
	if err != nil {
		return err
	}
	row("etcd killed, back after 10 s: half, 99 %, all agents are connected after", "%s, %s, %s", half, most, all)
	cpu, _, err := r.etcd.cpu()
	if err != nil {
		return err
	}
	row("which takes etcd", "%s of CPU", round(cpu))
	put := time.Now()
	answer, err := r.client.Put(ctx, r.cfg.Key("agent"), document(1000))
	if err != nil {
		return err
	}
	var times []int64
	if err := r.fleet.ask(fmt.Sprint("seen ", answer.Header.Revision), &times); err != nil {
		return err
	}
	row("a put right then is read by the last after", "%s", round(time.Since(put)))
	return nil
}
