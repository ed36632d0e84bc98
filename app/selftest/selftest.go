package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/logferry/logferry/app/embedded/broker"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/router/kafka"
)

const (
	topic = "selftest"
	// streams is how many folders are written to at once: two of each kind.
	streams = 18
	// maxWaiting bounds the lines that have not arrived: writers wait then.
	maxWaiting = 200_000
	// defaultPatience is for how long, at the end, nothing may arrive before
	// what is missing counts as lost.
	defaultPatience = 20 * time.Second
)

// Options say what is done.
type Options struct {
	// Dir is on the disk to test; a folder is made in it.
	Dir string
	// Duration is for how long lines are written.
	Duration time.Duration
	// Seed makes the run; 0 takes any.
	Seed uint64
	// KillEvery is how long an agent lives, give or take half of it.
	KillEvery time.Duration
	// LinesPerSecond is how many lines are written.
	LinesPerSecond int
	// Agent returns the command that runs an agent with a config file.
	Agent func(config string) *exec.Cmd
	// Progress, if not nil, gets a line now and then.
	Progress func(written, waiting, kills int)
	// Logger is for the embedded broker.
	Logger *slog.Logger

	patience time.Duration
}

// run is one self-test.
type run struct {
	Options
	dir    string
	config string
	agents io.Writer // what agents say
	ledger *ledger
	rnd    *rand.Rand
	report Report
}

// Agent runs the self-test of an agent. The error says that it could not be
// run; what was found is in the report.
func Agent(ctx context.Context, o Options) (_ *Report, err error) {
	if o.Seed == 0 {
		o.Seed = rand.Uint64() >> 12 // JSON numbers are exact that far
	}
	if o.patience == 0 {
		o.patience = defaultPatience
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("make --dir: %w", err)
	}
	dir, err := os.MkdirTemp(o.Dir, "logferry-selftest-")
	if err != nil {
		return nil, fmt.Errorf("make a folder in --dir: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	r := &run{
		Options: o, dir: dir, config: filepath.Join(dir, "agent.yml"),
		ledger: newLedger(o.Seed, streams), rnd: rand.New(rand.NewPCG(o.Seed, 1<<32)),
	}
	r.report = Report{Seed: o.Seed, Rotations: map[string]int{}, Dir: dir}
	said, err := os.OpenFile(filepath.Join(dir, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer said.Close()
	r.agents = said
	server, err := broker.Start(broker.Options{Dir: filepath.Join(dir, "kafka"), Addr: "127.0.0.1:0", Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, server.Close())
		if err == nil && r.report.OK() {
			r.report.Dir = ""
			err = os.RemoveAll(dir)
		}
	}()
	if err := r.writeConfig(server.Addr()); err != nil {
		return nil, err
	}
	if err := r.torture(ctx, config.Kafka{Brokers: []string{server.Addr()}}); err != nil {
		return nil, err
	}
	r.ledger.report(&r.report)
	return &r.report, nil
}

func (r *run) writeConfig(broker string) error {
	type section = map[string]any
	text, err := json.Marshal(section{
		"node":     "selftest",
		"data_dir": filepath.Join(r.dir, "agent"),
		"log":      section{"level": "info"},
		"admin":    section{"listen": ""},
		"kafka":    section{"brokers": []string{broker}},
		"agent": section{"inputs": []section{{
			"name": "selftest", "topic": topic, "rotate_wait": "1s",
			"paths": []string{filepath.Join(r.dir, "logs", "*", live+"*")},
		}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(r.config, text, 0o600)
}

// torture writes and kills for a while, and then lets the agent catch up.
func (r *run) torture(ctx context.Context, cfg config.Kafka) (err error) {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	reader := make(chan error, 1)
	go func() { reader <- r.read(reading, cfg) }()
	defer func() { stopReading(); err = errors.Join(err, <-reader) }()

	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, r.Duration)
	defer cancel()
	writers, writing := errgroup.WithContext(limited)
	pace := time.Second * streams / time.Duration(max(1, r.LinesPerSecond))
	var all []*stream
	for i := range streams {
		s := newStream(i, filepath.Join(r.dir, "logs"), r.Seed, pace, r.ledger)
		all = append(all, s)
		writers.Go(func() error { return s.run(writing) })
	}
	killing := r.kill(writing)
	cancel()
	if err := errors.Join(writers.Wait(), killing); err != nil {
		return err
	}
	r.report.Seconds = time.Since(began).Seconds()
	for _, s := range all {
		r.report.Rotations[s.kind] += s.rotations
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.catchUp(ctx)
}

// kill runs one agent after the other until ctx ends, and kills each.
func (r *run) kill(ctx context.Context) error {
	progress := time.Now()
	for ctx.Err() == nil {
		a, err := r.start()
		if err != nil {
			return err
		}
		life := r.KillEvery/2 + time.Duration(r.rnd.Int64N(int64(r.KillEvery)+1))
		select {
		case err := <-a.ended:
			r.failed(err)
			return nil
		case <-time.After(life):
		case <-ctx.Done():
		}
		a.kill()
		r.report.Kills++
		if r.Progress != nil && time.Since(progress) > time.Second {
			progress = time.Now()
			written, waiting := r.ledger.standing()
			r.Progress(written, waiting, r.report.Kills)
		}
	}
	return nil
}

// catchUp runs an agent until all has arrived, or nothing does, and ends it in
// good order.
func (r *run) catchUp(ctx context.Context) error {
	if r.report.AgentFailure != "" {
		return nil
	}
	a, err := r.start()
	if err != nil {
		return err
	}
	defer a.kill()
	began, moved, last := time.Now(), time.Now(), -1
	for {
		owing := r.ledger.owing()
		if owing != last {
			last, moved = owing, time.Now()
		}
		if owing == 0 || time.Since(moved) > r.patience {
			break
		}
		select {
		case err := <-a.ended:
			r.failed(err)
			return nil
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.report.CatchUp = time.Since(began).Seconds()
	_ = a.cmd.Process.Signal(syscall.SIGTERM) // it may have ended right now
	select {
	case err := <-a.ended:
		if err != nil && !bySIGTERM(err) {
			r.failed(err)
		}
	case <-time.After(time.Minute):
		r.report.AgentFailure = "it did not end within a minute of SIGTERM"
	}
	return nil
}

// bySIGTERM says whether a process was ended before it could listen to signals.
func bySIGTERM(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

func (r *run) failed(err error) {
	r.report.AgentFailure = "it ended by itself"
	if err != nil {
		r.report.AgentFailure = err.Error()
	}
}

// agent is a child process.
type agent struct {
	cmd   *exec.Cmd
	ended chan error
}

func (r *run) start() (*agent, error) {
	a := &agent{cmd: r.Options.Agent(r.config), ended: make(chan error, 1)}
	a.cmd.Stdout = r.agents
	a.cmd.Stderr = r.agents
	// It does not outlive us, and a terminal's Ctrl-C is for us alone.
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	go func() { a.ended <- a.cmd.Wait() }()
	return a, nil
}

// kill kills the process and waits until it is gone.
func (a *agent) kill() {
	if a.cmd.Process.Kill() == nil {
		<-a.ended //nolint:errcheck // it says that it was killed
	}
}

// read takes what arrives until ctx ends.
func (r *run) read(ctx context.Context, cfg config.Kafka) error {
	reader := kafka.NewReader(cfg, r.Logger)
	next := map[int32]int64{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		spans, err := reader.Spans(ctx, topic)
		if err != nil {
			continue // the topic is made by its first record
		}
		for i := range spans {
			spans[i].From = max(spans[i].From, next[spans[i].Partition])
		}
		if _, err := reader.Read(ctx, spans, r.ledger.take); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, s := range spans {
			next[s.Partition] = s.To
		}
	}
}
