package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// fake is a service that waits until it does not.
type fake struct {
	prometheus.Collector
	ready error
}

func (f *fake) Ready() error { return f.ready }
func (f *fake) Status() any  { return map[string]int{"files": 7} }

func startAdmin(t *testing.T, tokenFile string, f *fake) string {
	t.Helper()
	f.Collector = prometheus.NewGauge(prometheus.GaugeOpts{Name: "logferry_test_files"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a, err := newAdmin(l, tokenFile, map[string]Service{"agent": f}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return a.Addr()
}

func get(t *testing.T, addr, path, host, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
	require.NoError(t, err)
	req.Host = host
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

func TestAdminAnswers(t *testing.T) {
	f := &fake{ready: errors.New("waiting for kafka 127.0.0.1:1")}
	addr := startAdmin(t, "", f)
	status, _ := get(t, addr, "/healthz", addr, "")
	require.Equal(t, 200, status)
	status, body := get(t, addr, "/readyz", addr, "")
	require.Equal(t, 503, status)
	require.Contains(t, body, "agent: waiting for kafka")
	_, body = get(t, addr, "/metrics", addr, "")
	require.Contains(t, body, "logferry_test_files 0")
	_, body = get(t, addr, "/api/status", addr, "")
	require.JSONEq(t, `{"agent":{"files":7}}`, body)
	status, _ = get(t, addr, "/debug/pprof/", addr, "")
	require.Equal(t, 404, status)
}

func TestAdminRefusesNamesOfOtherHosts(t *testing.T) {
	addr := startAdmin(t, "", &fake{})
	for host, want := range map[string]int{
		"localhost:7070": 200, "[::1]:7070": 200, "127.0.0.1": 200,
		"evil.example": 403, "evil.example:7070": 403, "127.0.0.1.evil.example": 403, "10.0.0.1:7070": 403,
	} {
		status, _ := get(t, addr, "/api/status", host, "")
		require.Equal(t, want, status, host)
	}
}

func TestAdminAsksForItsToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("secret\n"), 0o600))
	addr := startAdmin(t, path, &fake{})
	for token, want := range map[string]int{"": 401, "wrong": 401, "secret": 200} {
		status, _ := get(t, addr, "/metrics", "host.example", token)
		require.Equal(t, want, status, token)
	}
	status, _ := get(t, addr, "/healthz", "host.example", "")
	require.Equal(t, 200, status, "probes need no token")
}

func TestAdminSaysWhatIsWrong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = NewAdmin(config.Admin{Listen: l.Addr().String()}, nil, nil)
	require.ErrorContains(t, err, "admin.listen")
	_, err = NewAdmin(config.Admin{Listen: "127.0.0.1:0", TokenFile: "/nowhere"}, nil, nil)
	require.ErrorContains(t, err, "admin.token_file")
	a, err := NewAdmin(config.Admin{}, nil, nil)
	require.NoError(t, err)
	require.Nil(t, a)
}
