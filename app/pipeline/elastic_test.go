package pipeline

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// elastic is an Elasticsearch that keeps documents by id and fails as told.
type elastic struct {
	t      *testing.T
	server *httptest.Server

	mu        sync.Mutex
	docs      map[string]map[string]map[string]any // index, id, document
	conflicts int
	bulks     int
	// whole answers a request instead; 0 lets it in.
	whole func() int
	// item refuses one document; 0 stores it.
	item func(index string, doc map[string]any) (status int, kind, reason string)
}

func newElastic(t *testing.T) *elastic {
	e := &elastic{t: t, docs: map[string]map[string]map[string]any{}}
	e.server = httptest.NewServer(e)
	t.Cleanup(e.server.Close)
	return e
}

func (e *elastic) fail(whole func() int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.whole = whole
}

func (e *elastic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/" {
		fmt.Fprint(w, `{"version":{"number":"8.6.2"},"tagline":"You Know, for Search"}`)
		return
	}
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.whole != nil {
		if status := e.whole(); status != 0 {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":{"type":"told_to","reason":"fail"},"status":%d}`, status)
			return
		}
	}
	e.bulks++
	e.bulk(w, raw)
}

func (e *elastic) bulk(w io.Writer, raw []byte) {
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 64<<20)
	var items []any
	for lines.Scan() {
		var action map[string]struct {
			Index string `json:"_index"`
			ID    string `json:"_id"`
		}
		require.NoError(e.t, json.Unmarshal(lines.Bytes(), &action))
		create, ok := action["create"]
		require.True(e.t, ok, "only create may be sent")
		require.True(e.t, lines.Scan(), "an action has a document")
		var doc map[string]any
		require.NoError(e.t, json.Unmarshal(lines.Bytes(), &doc), "%s", lines.Bytes())
		items = append(items, map[string]any{"create": e.create(create.Index, create.ID, doc)})
	}
	answer, err := json.Marshal(map[string]any{"errors": true, "items": items})
	require.NoError(e.t, err)
	_, _ = w.Write(answer) // who asked may be gone
}

func (e *elastic) create(index, id string, doc map[string]any) map[string]any {
	answer := func(status int, kind, reason string) map[string]any {
		a := map[string]any{"_index": index, "_id": id, "status": status}
		if kind != "" {
			a["error"] = map[string]any{"type": kind, "reason": reason}
		}
		return a
	}
	if e.item != nil {
		if status, kind, reason := e.item(index, doc); status != 0 {
			return answer(status, kind, reason)
		}
	}
	if e.docs[index] == nil {
		e.docs[index] = map[string]map[string]any{}
	}
	if _, ok := e.docs[index][id]; ok {
		e.conflicts++
		return answer(409, "version_conflict_engine_exception", "document already exists")
	}
	e.docs[index][id] = doc
	return answer(201, "", "")
}

// counts returns how often each value of a field is in an index.
func (e *elastic) counts(index, field string) map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	counts := map[string]int{}
	for _, doc := range e.docs[index] {
		counts[fmt.Sprint(doc[field])]++
	}
	return counts
}

func (e *elastic) len(index string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.docs[index])
}

func (e *elastic) repeats() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conflicts
}
