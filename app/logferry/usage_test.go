package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/app"
)

func TestWrongCallsExitWithTwoAndSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"agnet"}, "did you mean agent?"},
		{[]string{"agent"}, "--config FILE is needed"},
		{[]string{"agent", "--config", "a.yml", "more"}, "takes no arguments"},
		{[]string{"agent", "--confg", "a.yml"}, "unknown flag: --confg"},
		{[]string{"transfer", "--config", "/nowhere/a.yml"}, "/nowhere/a.yml: "},
		{[]string{"up", "--output", "xml"}, "--output is text or json"},
		{[]string{"up", "--etcd-port", "70000"}, "--etcd-port is a port"},
	} {
		out, errs, status := run(t, t.TempDir(), c.args...)
		require.Equal(t, 2, status, "%v", c.args)
		require.Contains(t, errs, c.says)
		require.Empty(t, out)
	}
}

func TestThreeMistakesAreNamedAtOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yml"), `kafka:
  brokers: [127.0.0.1]
agent:
  inputs:
    - name: web
      paths: [/tmp/*.log]
      topic: "no topic"
      max_line_byte: 5
`)
	_, errs, status := run(t, dir, "agent", "--config", "a.yml")
	require.Equal(t, 2, status)
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	require.Len(t, lines, 3)
	require.Contains(t, lines[0], "a.yml:2: kafka.brokers[0]: ")
	require.Contains(t, lines[1], "a.yml:7: agent.inputs[0].topic: ")
	require.Contains(t, lines[2], "a.yml:8: agent.inputs[0].max_line_byte: unknown key; did you mean max_line_bytes?")
}

func TestADataDirThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "in the way")
	write(t, filepath.Join(dir, "a.yml"), "data_dir: file/data\nadmin: {listen: ''}\n")
	_, errs, status := run(t, dir, "agent", "--config", "a.yml")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "data_dir")
	require.Contains(t, errs, "file/data")
	require.Equal(t, 1, strings.Count(errs, "\n"), "one sentence: %s", errs)
}

func TestAPortThatIsTaken(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir)
	port := p.Console[strings.LastIndex(p.Console, ":")+1:]
	_, errs, status := run(t, dir, "up", "--dir", filepath.Join(dir, "other"), "--console-port", port)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "--console-port")
	require.Contains(t, errs, port)
	require.Equal(t, 0, p.stop())
}

func TestAbsentServersAreSaidOnceAndWaitedFor(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.log"), "a line\n")
	write(t, filepath.Join(dir, "t.yml"), `
admin: {listen: ''}
etcd: {endpoints: ['127.0.0.1:1']}
kafka: {brokers: ['127.0.0.1:1']}
elasticsearch: {addresses: ['http://127.0.0.1:1']}
transfer: {routes: [{name: a, topics: [a], index: a}]}
`)
	p, _ := startProcess(t, dir, "transfer", "--config", "t.yml")
	said := []string{"cannot reach kafka 127.0.0.1:1", "cannot reach elasticsearch http://127.0.0.1:1", "etcd"}
	eventually(t, "all three said", func() bool {
		for _, s := range said {
			if !strings.Contains(p.errors.String(), s) {
				return false
			}
		}
		return true
	})
	require.Equal(t, 0, p.stop(), "nothing was in flight")
	errs := p.errors.String()
	require.Equal(t, 1, strings.Count(errs, said[0]), errs)
	require.Equal(t, 1, strings.Count(errs, said[1]), errs)
}

func TestHelpShowsOnlyWhatIsThere(t *testing.T) {
	out, _, status := run(t, t.TempDir())
	require.Equal(t, 0, status)
	for _, c := range []string{"agent", "transfer", "version", "completion"} {
		require.Contains(t, out, "\n  "+c)
	}
	require.Equal(t, !app.Lean, strings.Contains(out, "\n  up "), out)
	require.Equal(t, !app.Lean, strings.Contains(out, "logferry up '"), out)
	_, err := os.Stat("logferry-data")
	require.ErrorIs(t, err, os.ErrNotExist)
}
