package index

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// doc is one document as Elasticsearch's bulk parser cuts it out of a body.
type doc struct {
	Index, ID string
	Source    string
}

// message returns the field message of the document.
func (d doc) message() string {
	var fields struct{ Message string }
	_ = json.Unmarshal([]byte(d.Source), &fields)
	return fields.Message
}

// parseBody reads a body as Elasticsearch does: it is cut at line breaks, each
// action must be JSON, each source too, and the last one ends with a break.
func parseBody(body []byte) ([]doc, error) {
	if len(body) == 0 || body[len(body)-1] != '\n' {
		return nil, fmt.Errorf("the bulk request must be terminated by a newline")
	}
	lines := bytes.Split(body[:len(body)-1], []byte{'\n'})
	if len(lines)%2 != 0 {
		return nil, fmt.Errorf("%d lines", len(lines))
	}
	var docs []doc
	for i := 0; i < len(lines); i += 2 {
		var action struct {
			Create struct {
				Index string `json:"_index"`
				ID    string `json:"_id"`
			}
		}
		if err := json.Unmarshal(lines[i], &action); err != nil {
			return nil, fmt.Errorf("action %q: %w", lines[i], err)
		}
		var source map[string]json.RawMessage
		if err := json.Unmarshal(lines[i+1], &source); err != nil {
			return nil, fmt.Errorf("source %q: %w", lines[i+1], err)
		}
		if source == nil {
			return nil, fmt.Errorf("source %q is no object", lines[i+1])
		}
		docs = append(docs, doc{action.Create.Index, action.Create.ID, string(lines[i+1])})
	}
	return docs, nil
}

// sink is a scripted _bulk server that keeps documents by index and id.
type fakeSink struct {
	*httptest.Server

	mu       sync.Mutex
	stored   map[string]string // index/id → source
	requests []int             // documents of each request
	sizes    []int             // bytes of each body
	active   int
	most     int // requests at once
	// script answers a request; false means the usual answer.
	script func(w http.ResponseWriter, r *http.Request, docs []doc) bool
	// judge gives the answer's item for one document, "" for the usual one.
	judge func(d doc) string
}

func newSink(t testing.TB) *fakeSink {
	s := &fakeSink{stored: map[string]string{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fakeSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var from io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		from, _ = gzip.NewReader(bufio.NewReader(r.Body))
	}
	body, err := io.ReadAll(from)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	docs, err := parseBody(body)
	s.mu.Lock()
	s.requests = append(s.requests, len(docs))
	s.sizes = append(s.sizes, len(body))
	s.active++
	s.most = max(s.most, s.active)
	script, judge := s.script, s.judge
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.active--
		s.mu.Unlock()
	}()
	if script != nil && script(w, r, docs) {
		return
	}
	if err != nil {
		http.Error(w, `{"error":{"type":"illegal_argument_exception","reason":`+strconv.Quote(err.Error())+`},"status":400}`, http.StatusBadRequest)
		return
	}
	items := make([]string, len(docs))
	for i, d := range docs {
		if judge != nil {
			items[i] = judge(d)
		}
		if items[i] == "" {
			items[i] = s.keep(d)
		}
	}
	writeItems(w, items)
}

func (s *fakeSink) keep(d doc) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := d.Index + "/" + d.ID
	if _, ok := s.stored[key]; ok {
		return itemText(409, "version_conflict_engine_exception", "document already exists")
	}
	s.stored[key] = d.Source
	return `{"create":{"status":201}}`
}

func (s *fakeSink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stored)
}

func (s *fakeSink) set(script func(http.ResponseWriter, *http.Request, []doc) bool, judge func(doc) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script, s.judge = script, judge
}

func writeItems(w http.ResponseWriter, items []string) {
	failed := false
	for _, it := range items {
		failed = failed || strings.Contains(it, `"error"`)
	}
	fmt.Fprintf(w, `{"errors":%t,"items":[%s]}`, failed, strings.Join(items, ","))
}

func itemText(status int, kind, reason string) string {
	return fmt.Sprintf(`{"create":{"status":%d,"error":{"type":%q,"reason":%q}}}`, status, kind, reason)
}

// testRoute is a route with small limits.
func testRoute() config.Route {
	return config.Route{
		Name: "web", Index: "web_log", Parse: "auto",
		Batch:  config.Batch{MaxDocs: 100, MaxBytes: 1 << 20, MaxWait: config.Duration(20 * time.Millisecond), InFlight: 2},
		Poison: config.Poison{MaxRatio: 0.5, Window: config.Duration(time.Minute)},
	}
}

func testClient(t testing.TB, addresses ...string) *Client {
	c, err := NewClient(config.Elasticsearch{Addresses: addresses, Compression: "none"}, nil)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// startBulker runs a bulker until the test ends.
func startBulker(t testing.TB, c *Client, route config.Route) *Bulker {
	b, err := NewBulker(c, route, BulkerOptions{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return b
}

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

// makePoll returns a poll of records of one file with the given lines.
func makePoll(lines ...string) *logs.Poll {
	p := &logs.Poll{Topic: "web_log", Partition: 3}
	position := 0
	for i, line := range lines {
		p.Records = append(p.Records, logs.Record{
			Topic: p.Topic, Partition: p.Partition, Offset: int64(1000 + i), Value: []byte(line), Time: testTime,
			Meta: logs.Meta{Node: []byte("web-1"), Path: []byte("/var/log/app.log"), File: []byte("8:1f:1"),
				Pos: []byte(strconv.Itoa(position))},
		})
		position += len(line) + 1
		p.Bytes += int64(len(line))
	}
	return p
}

func numbered(from, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d", from+i)
	}
	return lines
}
