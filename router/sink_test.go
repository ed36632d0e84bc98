package router

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

type document struct{ index, id, source string }

// script is what an index's documents meet.
type script struct {
	// whole answers a request, or hangs up.
	whole func(w http.ResponseWriter, docs []document)
	// item answers for one document; "" stores it.
	item func(d document) string
}

// scriptedSink is Elasticsearch's _bulk with a script for each index.
type scriptedSink struct {
	*httptest.Server
	mu       sync.Mutex
	scripts  map[string]script
	stored   map[string]map[string]string // by index and id
	requests map[string]int               // by the index of the first document
}

func newScriptedSink(t *testing.T) *scriptedSink {
	s := &scriptedSink{scripts: map[string]script{}, stored: map[string]map[string]string{}, requests: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *scriptedSink) play(index string, sc script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[index] = sc
}

func (s *scriptedSink) count(index string) (stored, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stored[index]), s.requests[index]
}

func (s *scriptedSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	if err != nil || len(lines) < 2 {
		return
	}
	var docs []document
	for i := 0; i+1 < len(lines); i += 2 {
		var action struct {
			Create struct {
				Index string `json:"_index"`
				ID    string `json:"_id"`
			} `json:"create"`
		}
		_ = json.Unmarshal(lines[i], &action)
		docs = append(docs, document{action.Create.Index, action.Create.ID, string(lines[i+1])})
	}
	index := docs[0].index
	s.mu.Lock()
	s.requests[index]++
	sc := s.scripts[index]
	s.mu.Unlock()
	if sc.whole != nil {
		sc.whole(writer{w, s}, docs)
		return
	}
	s.answer(w, docs)
}

// writer knows its sink, so that a script can answer as usual.
type writer struct {
	http.ResponseWriter
	sink *scriptedSink
}

func (w writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.ResponseWriter.(http.Hijacker).Hijack()
}

func sinkOf(w http.ResponseWriter) *scriptedSink { return w.(writer).sink }

// answer stores what the scripts let through.
func (s *scriptedSink) answer(w http.ResponseWriter, docs []document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := make([]string, len(docs))
	for i, d := range docs {
		if sc := s.scripts[d.index]; sc.item != nil {
			items[i] = sc.item(d)
		}
		if items[i] == "" {
			items[i] = s.keep(d)
		}
	}
	fmt.Fprintf(w, `{"took":1,"errors":true,"items":[%s]}`, strings.Join(items, ","))
}

func (s *scriptedSink) keep(d document) string {
	if s.stored[d.index] == nil {
		s.stored[d.index] = map[string]string{}
	}
	if _, ok := s.stored[d.index][d.id]; ok {
		return item(409, "version_conflict_engine_exception", "document already exists")
	}
	s.stored[d.index][d.id] = d.source
	return `{"create":{"status":201}}`
}

func item(status int, kind, reason string) string {
	return fmt.Sprintf(`{"create":{"status":%d,"error":{"type":%q,"reason":%q}}}`, status, kind, reason)
}

// whole answers every request alike.
func whole(status int, body string) script {
	return script{whole: func(w http.ResponseWriter, _ []document) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}}
}

func elastic(kind, reason string) string {
	return fmt.Sprintf(`{"error":{"type":%q,"reason":%q}}`, kind, reason)
}

// bad answers so for the line that is called bad, and for no other.
func bad(answer string) script {
	return script{item: func(d document) string {
		if strings.Contains(d.source, "bad") {
			return answer
		}
		return ""
	}}
}

// every answers so for each document.
func every(answer string) script { return script{item: func(document) string { return answer }} }

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter, _ []document) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}
