package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestReplayKnowsTheLiveRoutes replays a route that is in etcd alone.
func TestReplayKnowsTheLiveRoutes(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir)
	put(t, p.Etcd, "/collect_log_conf", `[{"path":"./xx.log","topic":"web_log"}]`)
	write(t, filepath.Join(dir, "xx.log"), strings.Repeat("a line\n", 10))
	eventually(t, "the lines", func() bool { rows, _ := p.count(`{index="web_log"}`); return rows == 10 })
	file := filepath.Join("state", "up.yaml")
	out, errs, status := run(t, dir, "replay", "--config", file, "--route", "web_log", "--from", "1h")
	require.Zero(t, status, errs)
	require.Contains(t, out, "10 records of route web_log into web_log\n  stored         0\n  already there  10\n")
	out, errs, status = run(t, dir, "poison", "ls", "--config", file)
	require.Zero(t, status, errs)
	require.Equal(t, "No letters.\n", out)
	require.Equal(t, 0, p.stop())
}

// TestAReplayThatIsInterrupted settles what is in flight, and says that it did
// not come to its end.
func TestAReplayThatIsInterrupted(t *testing.T) {
	s := newSick(t)
	var recs []*kgo.Record
	for i := range 1000 {
		recs = append(recs, &kgo.Record{Topic: "web_log", Value: fmt.Append(nil, i)})
	}
	require.NoError(t, s.client().ProduceSync(context.Background(), recs...).FirstErr())
	p, out := startProcess(t, s.dir, "replay", "--config", s.file, "--route", "web", "--from", "1h", "--rate", "20")
	eventually(t, "the first documents", func() bool { return len(s.elastic.find("web", "")) >= 20 })
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	text, err := io.ReadAll(out)
	require.NoError(t, err)
	_ = p.cmd.Wait()
	require.Equal(t, 1, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.errors.String(), "stopped before the end")
	stored := len(s.elastic.find("web", ""))
	require.Less(t, stored, 1000)
	require.Contains(t, string(text), fmt.Sprintf("  stored         %d\n", stored))
}

func TestReplayWithoutEtcdTakesTheFile(t *testing.T) {
	s := newSick(t)
	write(t, s.file, "etcd: {endpoints: ['127.0.0.1:1']}\n")
	out, errs := s.ask(0, "replay", "--route", "web", "--from", "1h", "--dry-run")
	require.Contains(t, out, "No records in that time.")
	require.Contains(t, errs, "etcd does not answer")
	require.Equal(t, 1, strings.Count(errs, "\n"), errs)
}
