// Nullbulk answers as Elasticsearch does to _bulk, item by item, and keeps
// nothing: what a transfer costs is then its own. It prints its URL, and ends
// at SIGTERM. GET /count tells how many documents it took.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	record := flag.String("record", "", "folder that bodies are kept in")
	stamp := flag.Bool("stamp", false, "note when each document came, by the number that its field n holds; GET /stamps lists them")
	flag.Parse()

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: newSink(*record, *stamp)}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Printf("http://%s\n", l.Addr())
	if err := server.Serve(l); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-closed
}

// sink counts documents.
type sink struct {
	mux    *http.ServeMux
	docs   atomic.Int64
	record string // folder for bodies, or ""
	kept   atomic.Int64
	bodies sync.Pool // *bytes.Buffer

	stamp  bool // whether to note when documents came
	mu     sync.Mutex
	stamps bytes.Buffer // a line for each: its number and the nanoseconds since 1970
}

func newSink(record string, stamp bool) *sink {
	s := &sink{mux: http.NewServeMux(), record: record, stamp: stamp}
	s.bodies.New = func() any { return new(bytes.Buffer) }
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"name":"null","cluster_name":"null","version":{"number":"8.19.0","build_flavor":"default"},"tagline":"You Know, for Search"}`)
	})
	s.mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, s.docs.Load())
	})
	// rsyslog asks before it posts.
	s.mux.HandleFunc("GET /_cat/health", func(http.ResponseWriter, *http.Request) {})
	s.mux.HandleFunc("GET /stamps", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, _ = w.Write(s.stamps.Bytes())
	})
	s.mux.HandleFunc("POST /_bulk", s.bulk)
	s.mux.HandleFunc("PUT /_bulk", s.bulk)
	s.mux.HandleFunc("POST /{index}/_bulk", s.bulk)
	return s
}

// ServeHTTP says who we are to clients that check it.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	s.mux.ServeHTTP(w, r)
}

// bulk answers 201 for each pair of lines.
func (s *sink) bulk(w http.ResponseWriter, r *http.Request) {
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		zr, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		in = zr
	}
	buf := s.bodies.Get().(*bytes.Buffer)
	defer s.bodies.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	lines := bytes.Count(buf.Bytes(), []byte{'\n'})
	if lines == 0 || lines%2 != 0 {
		http.Error(w, `{"error":"each document is an action line and a source line"}`, http.StatusBadRequest)
		return
	}
	docs := lines / 2
	if s.record != "" {
		name := fmt.Sprintf("%06d.ndjson", s.kept.Add(1))
		if err := os.WriteFile(filepath.Join(s.record, name), buf.Bytes(), 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if s.stamp {
		s.note(buf.Bytes())
	}
	buf.Reset()
	buf.WriteString(`{"took":1,"errors":false,"items":[`)
	for i := range docs {
		if i > 0 {
			buf.WriteByte(',')
		}
		buf.WriteString(`{"create":{"status":201}}`)
	}
	buf.WriteString(`]}`)
	// Counted before the answer, so that whoever saw it answered finds it counted.
	s.docs.Add(int64(docs))
	_, _ = w.Write(buf.Bytes())
}

// note notes when the documents of a body came.
func (s *sink) note(body []byte) {
	now := time.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	source := false // each second line is an action
	for line := range bytes.Lines(body) {
		if source {
			_, rest, _ := bytes.Cut(line, []byte(`"n":`))
			number, _, _ := bytes.Cut(rest, []byte{','})
			fmt.Fprintf(&s.stamps, "%s %d\n", number, now)
		}
		source = !source
	}
}
