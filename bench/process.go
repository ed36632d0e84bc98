package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	cpu      time.Duration // user and system, all threads
	resident int64         // bytes of memory
	peak     int64         // the most that were resident at once
}

func (p *process) usage() (usage, error) {
	cpu, err := cpuOf(p.cmd.Process.Pid)
	if err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return usage{}, err
	}
	resident, err := memoryOf(status, "VmRSS:")
	if err != nil {
		return usage{}, err
	}
	peak, err := memoryOf(status, "VmHWM:")
	return usage{cpu: cpu, resident: resident, peak: peak}, err
}

// cpuOf reads a process's CPU clock. It counts in nanoseconds, where /proc
// counts in steps of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		return 0, fmt.Errorf("read the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// memoryOf reads a size of /proc/PID/status in bytes.
func memoryOf(status []byte, key string) (int64, error) {
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read memory: no %s", key)
}
