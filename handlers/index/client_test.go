package index

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func TestPing(t *testing.T) {
	var (
		status  = http.StatusOK
		product = "Elasticsearch"
		body    = `{"version":{"number":"8.6.2"}}`
	)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", product)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	c := testClient(t, s.URL)
	require.NoError(t, c.Ping(context.Background()))
	product = ""
	require.NoError(t, c.Ping(context.Background()))

	status, body = http.StatusUnauthorized, `{"error":{"type":"security_exception","reason":"missing credentials"}}`
	err := c.Ping(context.Background())
	require.ErrorContains(t, err, s.URL+" refuses the credentials: 401 Unauthorized: security_exception: missing credentials")
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	status = http.StatusBadGateway
	require.ErrorContains(t, c.Ping(context.Background()), "502 Bad Gateway")

	s.Close()
	err = c.Ping(context.Background())
	require.ErrorContains(t, err, "reach elasticsearch: "+s.URL+": dial tcp")
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
}

func TestPingTriesEachAddress(t *testing.T) {
	down, up := newSink(t), newSink(t)
	down.Close()
	up.set(func(w http.ResponseWriter, _ *http.Request, _ []doc) bool { return true }, nil)
	c := testClient(t, down.URL, up.URL)
	for range 4 {
		require.NoError(t, c.Ping(context.Background()))
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	a, b, down := newSink(t), newSink(t), newSink(t)
	down.Close()
	bulker := startBulker(t, testClient(t, a.URL, down.URL, b.URL), testRoute())
	for i := range 20 {
		p := makePoll(numbered(i, 1)...)
		for index(t, bulker, p) != nil {
		}
	}
	require.GreaterOrEqual(t, len(a.requests), 5)
	require.GreaterOrEqual(t, len(b.requests), 5)
}

func TestRequests(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  config.Elasticsearch
		want map[string]string
	}{
		"plain": {config.Elasticsearch{Compression: "none"},
			map[string]string{"Content-Encoding": "", "Authorization": "", "Content-Type": "application/json", "User-Agent": "logferry"}},
		"gzip":    {config.Elasticsearch{Compression: "gzip"}, map[string]string{"Content-Encoding": "gzip"}},
		"api key": {config.Elasticsearch{APIKey: "a2V5"}, map[string]string{"Authorization": "APIKey a2V5"}},
		"basic":   {config.Elasticsearch{Username: "u", Password: "p"}, map[string]string{"Authorization": "Basic dTpw"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t)
			s.set(func(_ http.ResponseWriter, r *http.Request, docs []doc) bool {
				for key, value := range test.want {
					require.Equal(t, value, r.Header.Get(key), key)
				}
				require.Equal(t, "/_bulk", r.URL.Path)
				require.Equal(t, "POST", r.Method)
				require.Positive(t, r.ContentLength)
				require.Equal(t, strings.Join(filterPath, ","), r.URL.Query().Get("filter_path"))
				require.Len(t, docs, 50)
				return false
			}, nil)
			test.cfg.Addresses = []string{s.URL + "/"}
			c, err := NewClient(test.cfg, nil)
			require.NoError(t, err)
			t.Cleanup(c.Close)
			b := startBulker(t, c, testRoute())
			require.NoError(t, index(t, b, makePoll(numbered(0, 50)...)))
			require.NoError(t, index(t, b, makePoll(numbered(50, 50)...)))
		})
	}
}

func TestTLS(t *testing.T) {
	s := &fakeSink{stored: map[string]string{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of refused handshakes
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))

	client := func(cfg *config.TLS) *Client {
		c, err := NewClient(config.Elasticsearch{Addresses: []string{s.URL}, TLS: cfg}, nil)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	require.NoError(t, index(t, startBulker(t, client(&config.TLS{CAFile: ca}), testRoute()), makePoll("a")))
	err := index(t, startBulker(t, client(nil), testRoute()), makePoll("b"))
	require.ErrorContains(t, err, "certificate")
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	err = index(t, startBulker(t, client(&config.TLS{CAFile: ca, ServerName: "other"}), testRoute()), makePoll("b"))
	require.ErrorContains(t, err, "certificate")
}

func TestNewClientRefuses(t *testing.T) {
	for text, cfg := range map[string]config.Elasticsearch{
		"elasticsearch.addresses is empty": {},
		"an address looks like":            {Addresses: []string{"user:secret@host:9200"}},
		"read ca_file":                     {Addresses: []string{"https://h:9200"}, TLS: &config.TLS{CAFile: "/nowhere"}},
		"holds no certificate":             {Addresses: []string{"https://h:9200"}, TLS: &config.TLS{CAFile: "client_test.go"}},
		"load cert_file and key_file":      {Addresses: []string{"https://h:9200"}, TLS: &config.TLS{CertFile: "/nowhere"}},
	} {
		_, err := NewClient(cfg, nil)
		require.ErrorContains(t, err, text)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestErrorsHideCredentials(t *testing.T) {
	s := newSink(t)
	s.Close()
	c := testClient(t, strings.Replace(s.URL, "http://", "http://user:secret@", 1))
	for _, err := range []error{c.Ping(context.Background()), index(t, startBulker(t, c, testRoute()), makePoll("a"))} {
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestRetryAfter(t *testing.T) {
	require.Equal(t, 3*time.Second, retryAfter(" 3 "))
	require.Equal(t, time.Minute, retryAfter("86400"))
	require.Zero(t, retryAfter("-1"))
	require.Zero(t, retryAfter("Wed, 21 Oct 2026 07:28:00 GMT"))
	require.Zero(t, retryAfter(""))
}
