package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that is measured, or that serves one.
type process struct {
	name   string
	cmd    *exec.Cmd
	start  time.Time
	log    string // file of its output
	exited chan struct{}
	err    error // of its end, once exited is closed
}

// launch starts a program. Its end is awaited by a goroutine that stop joins.
func (b *bench) launch(name string, args ...string) (*process, error) {
	log, err := os.CreateTemp(b.tmp, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p := &process{name: name, log: log.Name(), exited: make(chan struct{})}
	p.cmd = exec.Command(b.bins[name], args...)
	p.cmd.Dir = b.tmp
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.start = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// serve starts a program whose first line of output is its address, and
// returns that.
func (b *bench) serve(ctx context.Context, name string, args ...string) (*process, string, error) {
	p, err := b.launch(name, args...)
	if err != nil {
		return nil, "", err
	}
	for {
		out, err := os.ReadFile(p.log)
		if err != nil {
			return nil, "", errors.Join(err, p.stop())
		}
		if line, _, whole := bytes.Cut(out, []byte{'\n'}); whole {
			return p, string(line), nil
		}
		if err := p.pause(ctx, 5*time.Millisecond); err != nil {
			return nil, "", errors.Join(err, p.stop())
		}
	}
}

// pause waits; it ends early, with an error, when the process or ctx does.
func (p *process) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended: %w: %s", p.name, p.err, p.lastWords())
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// lastWords is the end of the process's output, one line.
func (p *process) lastWords() string {
	out, _ := os.ReadFile(p.log)
	if len(out) > 600 {
		out = out[len(out)-600:]
	}
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", " | ")
}

// stop asks the process to end and waits for it; one that takes longer than
// 20 s is killed. It is an error when the process did not end well.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not stop within 20 s: %s", p.name, p.lastWords())
	}
	// A process that ended by our own signal ended well.
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if p.err != nil && (!ok || status.Signal() != syscall.SIGTERM) {
		return fmt.Errorf("%s: %w: %s", p.name, p.err, p.lastWords())
	}
	return nil
}

// usage is what a process has taken so far.
type usage struct {
	cpu  time.Duration // user and system, all threads
	peak int64         // bytes of memory, the most that were resident at once
}

func (p *process) usage() (usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return usage{}, err
	}
	var u usage
	if u.cpu, err = cpuOf(string(stat)); err != nil {
		return usage{}, err
	}
	u.peak, err = peakOf(status)
	return u, err
}

// tick is Linux's USER_HZ, 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// cpuOf reads fields 14 and 15 of /proc/PID/stat, counted after the name in
// parentheses, which may hold anything.
func cpuOf(stat string) (time.Duration, error) {
	_, rest, _ := strings.Cut(stat[strings.LastIndexByte(stat, ')')+1:], " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("read cpu: short /proc/PID/stat")
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read user time: %w", err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read system time: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

// peakOf reads VmHWM of /proc/PID/status.
func peakOf(status []byte) (int64, error) {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("read peak of memory: no VmHWM")
}
