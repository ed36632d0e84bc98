package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	maxBody = 16 << 20 // unpacked; a larger one is 413
	// As many requests are worked on at once as there are processors, at most
	// this many, so that their bodies are bounded; the others wait.
	maxBulks    = 4
	bodyTimeout = time.Minute // from the request's start until its body is read

	elasticVersion = "8.19.7"
)

// front answers as Elasticsearch does.
type front struct {
	store   *Store
	slots   chan struct{}
	batches sync.Pool
	bodies  sync.Pool // of *bytes.Buffer
	gzips   sync.Pool // of *gzip.Reader
}

func (s *Store) bulkHandler() http.Handler {
	f := &front{store: s, slots: make(chan struct{}, min(max(2, runtime.GOMAXPROCS(0)), maxBulks))}
	f.batches.New = func() any {
		return &batch{seen: make(map[idKey]struct{}), mapper: newMapper(s.known)}
	}
	f.bodies.New = func() any { return new(bytes.Buffer) }
	f.gzips.New = func() any { return new(gzip.Reader) }
	return f
}

// ServeHTTP finds the handler: the path is a verb, or an index and a verb.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	index, verb, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	if strings.HasPrefix(index, "_") && index != "_all" {
		index, verb = "", strings.Trim(r.URL.Path, "/")
	}
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	write := r.Method == http.MethodPost || r.Method == http.MethodPut
	switch {
	case verb == "_bulk" && write:
		f.bulk(w, r, index)
	case verb == "_count" && (read || write):
		f.count(w, r, index)
	case verb == "_refresh" && (read || write):
		f.refresh(w)
	case verb == "_cluster/health" && read:
		f.health(w)
	case index == "" && verb == "" && read:
		f.info(w)
	case index != "" && verb == "" && r.Method == http.MethodHead:
		f.exists(w, r, index)
	default:
		writeJSON(w, http.StatusBadRequest, map[string]any{
			"error": fmt.Sprintf("no handler found for uri [%s] and method [%s]", clip(r.URL.Path), r.Method),
		})
	}
}

func (f *front) info(w http.ResponseWriter) {
	writeJSON(w, http.StatusOK, map[string]any{
		"name": "logferry", "cluster_name": "logferry", "cluster_uuid": "logferry",
		"version": map[string]any{
			"number": elasticVersion, "build_flavor": "default", "build_type": "embedded",
			"minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
		},
		"tagline": "You Know, for Search",
	})
}

func (f *front) bulk(w http.ResponseWriter, r *http.Request, index string) {
	start := time.Now()
	if ct := r.Header.Get("Content-Type"); !isJSON(ct) {
		// A web page may send other types to this machine without asking.
		fail(w, &refusal{
			status: http.StatusNotAcceptable, kind: "media_type_header_exception",
			reason: fmt.Sprintf("Content-Type header [%s] is not supported", clip(ct)),
		})
		return
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-r.Context().Done():
		return
	}
	// One that sends nothing must not keep a slot.
	_ = http.NewResponseController(w).SetReadDeadline(start.Add(bodyTimeout))
	body := f.bodies.Get().(*bytes.Buffer)
	defer f.putBody(body)
	if ref := f.read(body, r); ref != nil {
		// A client that is still sending would see its connection break and
		// not the answer.
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 4*maxBody))
		fail(w, ref)
		return
	}
	b := f.batches.Get().(*batch)
	defer f.putBatch(b)
	if ref := b.parse(body.Bytes(), index); ref != nil {
		fail(w, ref)
		return
	}
	b.arrival = start.UnixNano()
	b.prepare()
	if err := f.store.put(b); err != nil {
		fail(w, unavailable(err))
		return
	}
	shape := shapeOf(parseFilter(r.URL.Query().Get("filter_path")))
	answer := appendAnswer(b.answer[:0], b.items, shape, time.Since(start).Milliseconds())
	b.answer = answer
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer)
}

// read unpacks the request's body into to.
func (f *front) read(to *bytes.Buffer, r *http.Request) *refusal {
	to.Reset()
	var from io.Reader = r.Body
	switch enc := strings.ToLower(r.Header.Get("Content-Encoding")); enc {
	case "", "identity":
		if r.ContentLength > maxBody {
			return bodyTooLarge()
		}
		if r.ContentLength > 0 {
			to.Grow(int(r.ContentLength) + bytes.MinRead)
		}
	case "gzip":
		z := f.gzips.Get().(*gzip.Reader)
		defer f.gzips.Put(z)
		if err := z.Reset(r.Body); err != nil {
			return badRequest("illegal_argument_exception", "read gzip body: %s", err)
		}
		from = z
	default:
		return badRequest("illegal_argument_exception", "Content-Encoding [%s] is not supported", clip(enc))
	}
	n, err := to.ReadFrom(io.LimitReader(from, maxBody+1))
	switch {
	case n > maxBody:
		return bodyTooLarge()
	case err != nil:
		return badRequest("illegal_argument_exception", "read body: %s", err)
	}
	return nil
}

func (f *front) putBody(b *bytes.Buffer) {
	if b.Cap() <= maxBody/2 {
		f.bodies.Put(b)
	}
}

func (f *front) putBatch(b *batch) {
	b.dropRows()
	if cap(b.frame) <= maxBody/2 {
		f.batches.Put(b)
	}
}

func (f *front) count(w http.ResponseWriter, r *http.Request, index string) {
	n, err := f.documents(r.Context(), index)
	if err != nil {
		fail(w, unavailable(err))
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"count":   n,
		"_shards": map[string]int{"total": 1, "successful": 1, "skipped": 0, "failed": 0},
	})
}

// documents counts what is visible of the indices that a comma separated list
// of names and patterns means; "" and _all mean all.
func (f *front) documents(ctx context.Context, indices string) (n int64, err error) {
	filter := "*"
	if indices != "" && indices != "_all" && indices != "*" {
		var any []string
		for _, name := range strings.Split(indices, ",") {
			any = append(any, "index:~"+strconv.Quote("^"+globRegexp(name)+"$"))
		}
		filter = "(" + strings.Join(any, " or ") + ")"
	}
	var mu sync.Mutex
	err = f.store.logs.query(ctx, filter+" | stats count() n", 0, math.MaxInt64, func(columns [][]string) {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range columns[0] {
			i, _ := strconv.ParseInt(v, 10, 64)
			n += i
		}
	}, "n")
	return n, err
}

func (f *front) refresh(w http.ResponseWriter) {
	f.store.logs.flush()
	writeJSON(w, http.StatusOK, map[string]any{"_shards": map[string]int{"total": 1, "successful": 1, "failed": 0}})
}

func (f *front) health(w http.ResponseWriter) {
	writeJSON(w, http.StatusOK, map[string]any{
		"cluster_name": "logferry", "status": "green", "timed_out": false,
		"number_of_nodes": 1, "number_of_data_nodes": 1,
	})
}

func (f *front) exists(w http.ResponseWriter, r *http.Request, index string) {
	if n, err := f.documents(r.Context(), index); err != nil || n == 0 {
		w.WriteHeader(http.StatusNotFound)
	}
}

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && strings.HasSuffix(t, "json")
}

func bodyTooLarge() *refusal {
	return &refusal{
		status: http.StatusRequestEntityTooLarge, kind: "content_too_long_exception",
		reason: fmt.Sprintf("entity content is too long: more than %d bytes", maxBody),
	}
}

func unavailable(err error) *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable, kind: "unavailable_shards_exception", reason: clip(err.Error()),
	}
}

// fail answers a whole request with an error, as Elasticsearch words it.
func fail(w http.ResponseWriter, r *refusal) {
	cause := map[string]any{"type": r.kind, "reason": r.reason}
	writeJSON(w, r.status, map[string]any{
		"error":  map[string]any{"root_cause": []any{cause}, "type": r.kind, "reason": r.reason},
		"status": r.status,
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// globRegexp makes a regular expression of a name in which * means anything.
func globRegexp(glob string) string {
	var b strings.Builder
	for i, part := range strings.Split(glob, "*") {
		if i > 0 {
			b.WriteString(".*")
		}
		b.WriteString(regexp.QuoteMeta(part))
	}
	return b.String()
}
