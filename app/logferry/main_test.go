package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/app"
)

// The test binary is logferry itself when this is set.
const beLogferry = "LOGFERRY_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beLogferry) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// command returns logferry with arguments, to run in dir.
func command(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), beLogferry+"=1")
	cmd.Dir = dir
	return cmd
}

// run runs logferry to its end.
func run(t *testing.T, dir string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := command(t, dir, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil {
		require.True(t, errors.As(err, &exit), "%v", err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// safeBuffer is a buffer that a process writes to while a test reads it.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// process is a running logferry.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	errors *safeBuffer
	done   chan struct{}
	app.Addresses
}

func startProcess(t *testing.T, dir string, args ...string) (*process, io.Reader) {
	t.Helper()
	p := &process{t: t, cmd: command(t, dir, args...), errors: &safeBuffer{}, done: make(chan struct{})}
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.cmd.Stderr = p.errors
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("stderr of %v:\n%s", args, p.errors)
		}
	})
	return p, out
}

// up starts `logferry up` and waits until it is ready.
func up(t *testing.T, dir string, globs ...string) *process {
	t.Helper()
	args := append([]string{"up", "--dir", filepath.Join(dir, "state"), "--output", "json",
		"--etcd-port", "0", "--kafka-port", "0", "--elasticsearch-port", "0", "--search-port", "0", "--console-port", "0"}, globs...)
	p, out := startProcess(t, dir, args...)
	line := make(chan error, 1)
	go func() { line <- json.NewDecoder(out).Decode(&p.Addresses) }()
	select {
	case err := <-line:
		require.NoError(t, err, "%s", p.errors)
	case <-time.After(patience):
		t.Fatalf("up is not ready:\n%s", p.errors)
	}
	return p
}

// stop asks a process to end and returns its status.
func (p *process) stop() int {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
}

// patience is how long anything may take before it counts as never.
const patience = 90 * time.Second

// query asks the search page's API and returns one object a line.
func (p *process) query(q string) []map[string]string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	form := url.Values{"query": {q}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Search+"/select/logsql/query", strings.NewReader(form.Encode()))
	require.NoError(p.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	require.NoError(p.t, err)
	defer res.Body.Close()
	require.Equal(p.t, http.StatusOK, res.StatusCode)
	var rows []map[string]string
	for d := json.NewDecoder(res.Body); ; {
		var row map[string]string
		if err := d.Decode(&row); err == io.EOF {
			return rows
		} else {
			require.NoError(p.t, err)
		}
		rows = append(rows, row)
	}
}

// count returns how many rows and how many different messages a query finds.
func (p *process) count(q string) (rows, different int) {
	p.t.Helper()
	answer := p.query(q + ` | stats count() rows, count_uniq(_msg) different`)
	require.Len(p.t, answer, 1)
	_, err := fmt.Sscan(answer[0]["rows"]+" "+answer[0]["different"], &rows, &different)
	require.NoError(p.t, err)
	return rows, different
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, 100*time.Millisecond, what)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
