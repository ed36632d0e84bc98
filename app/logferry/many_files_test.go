//go:build !race

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/app/embedded/broker"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/router/kafka"
)

// resources returns what the kernel says of a process.
func resources(t *testing.T, pid int) (rss int64, cpu time.Duration) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			require.NoError(t, err)
			rss = kb << 10
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	for _, ticks := range f[11:13] {
		n, err := strconv.Atoi(ticks)
		require.NoError(t, err)
		cpu += time.Duration(n) * 10 * time.Millisecond
	}
	return rss, cpu
}

// Ten thousand files that appear at once are all shipped, and cost next to
// nothing once they are idle.
func TestAgentWithTenThousandFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("ships a million lines")
	}
	const files, lines = 10_000, 100
	dir := t.TempDir()
	server, err := broker.Start(broker.Options{
		Dir: filepath.Join(dir, "kafka"), Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Close()) }()
	type section = map[string]any
	text, err := json.Marshal(section{
		"node": "n", "data_dir": filepath.Join(dir, "data"), "admin": section{"listen": ""},
		"kafka": section{"brokers": []string{server.Addr()}},
		"agent": section{"inputs": []section{{"name": "a", "topic": "many", "paths": []string{filepath.Join(dir, "logs/*/*.log")}}}},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agent.yml"), text, 0o600))
	for i := range 10 {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "logs", strconv.Itoa(i)), 0o700))
	}
	// The binary itself: a test's holds other pages.
	binary := filepath.Join(dir, "logferry")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	agent := &process{t: t, cmd: exec.Command(binary, "agent", "--config", "agent.yml"), errors: &safeBuffer{}}
	agent.cmd.Dir, agent.cmd.Stderr = dir, agent.errors
	require.NoError(t, agent.cmd.Start())
	t.Cleanup(func() {
		_ = agent.cmd.Process.Kill()
		_ = agent.cmd.Wait()
		if t.Failed() {
			t.Logf("stderr:\n%s", agent.errors)
		}
	})
	for i := range files {
		var b bytes.Buffer
		for j := range lines {
			fmt.Fprintf(&b, "file %d line %d %s\n", i, j, strings.Repeat("x", 80))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "logs", strconv.Itoa(i%10), fmt.Sprintf("%d.log", i)), b.Bytes(), 0o600))
	}
	reader := kafka.NewReader(config.Kafka{Brokers: []string{server.Addr()}}, slog.New(slog.DiscardHandler))
	shipped := func() (n int64) {
		spans, err := reader.Spans(context.Background(), "many")
		if err != nil {
			return 0
		}
		for _, s := range spans {
			n += s.To - s.From
		}
		return n
	}
	eventually(t, "all lines", func() bool { return shipped() >= files*lines })
	require.Equal(t, int64(files*lines), shipped(), "none came twice")

	pid := agent.cmd.Process.Pid
	var rss int64
	eventually(t, "memory is given back", func() bool {
		rss, _ = resources(t, pid)
		return rss <= 60<<20
	})
	// The first windows may hold the end of the work.
	share := 1.0
	for window := 0; window < 6 && share >= 0.01; window++ {
		_, before := resources(t, pid)
		began := time.Now()
		time.Sleep(10 * time.Second)
		_, after := resources(t, pid)
		share = float64(after-before) / float64(time.Since(began))
	}
	t.Logf("%d idle files: %d MiB, %.2f%% of a core", files, rss>>20, 100*share)
	require.Less(t, share, 0.01)
	require.Equal(t, 0, agent.stop())
}
