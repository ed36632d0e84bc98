package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// templatesOnly is a cluster without anything but index templates.
func templatesOnly(t *testing.T, writes *atomic.Int32) string {
	templates := map[string]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.URL.Path == "/", strings.Contains(r.URL.Path, "_simulate"):
			fmt.Fprint(w, `{}`)
		case !strings.HasPrefix(r.URL.Path, "/_index_template/"):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":"no handler found for uri [%s] and method [%s]"}`, r.URL.Path, r.Method)
		case r.Method == http.MethodPut:
			writes.Add(1)
			templates[r.URL.Path] = string(body)
			fmt.Fprint(w, `{"acknowledged":true}`)
		case templates[r.URL.Path] == "":
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{}`)
		default:
			fmt.Fprintf(w, `{"index_templates":[{"index_template":%s}]}`, templates[r.URL.Path])
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestTransferSetup(t *testing.T) {
	var writes atomic.Int32
	url := templatesOnly(t, &writes)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "t.yml"), `kafka: {brokers: ["127.0.0.1:1"]}
elasticsearch: {addresses: ["`+url+`"]}
transfer:
  routes:
    - {name: web, topics: [web_log], index: "web-{+2006.01.02}"}
    - {name: app, topics: [app_log], index: app, data_stream: true}
`)
	setup := func(args ...string) string {
		out, errs, status := run(t, dir, append([]string{"transfer", "setup", "--config", "t.yml"}, args...)...)
		require.Zero(t, status, errs)
		require.Empty(t, errs)
		return out
	}
	out := setup("--dry-run")
	require.Zero(t, writes.Load())
	require.Regexp(t, `would be created  index template +logferry-web +web +web-\*\n`, out)
	require.Regexp(t, `skipped +lifecycle policy +logferry-streams +the cluster has no index lifecycle management\n`, out)

	var answer struct {
		DryRun  bool `json:"dry_run"`
		Actions []struct {
			Name, Result string
			Body         map[string]any
		}
	}
	require.NoError(t, json.Unmarshal([]byte(setup("--output", "json", "--retention", "90d")), &answer))
	require.False(t, answer.DryRun)
	require.EqualValues(t, 2, writes.Load())
	require.Len(t, answer.Actions, 3)
	require.Equal(t, "created", answer.Actions[2].Result)
	require.Contains(t, answer.Actions[2].Body, "data_stream")

	require.Regexp(t, `unchanged +index template +logferry-app +app +app`, setup("--retention", "2160h"))
	require.EqualValues(t, 2, writes.Load())

	_, errs, status := run(t, dir, "transfer", "setup", "--config", "t.yml", "--retention", "soon")
	require.Equal(t, 2, status)
	require.Contains(t, errs, "a time such as 90d")
	_, errs, status = run(t, dir, "transfer", "setup")
	require.Equal(t, 2, status)
	require.Contains(t, errs, "--config FILE is needed")
	_, errs, status = run(t, dir, "transfer", "setpu")
	require.Equal(t, 2, status, errs)
}
