package index

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// cpu reports the process's own CPU time, which a busy machine does not
// stretch as it does wall time.
func cpu(b *testing.B, per int) (stop func()) {
	used := func() int64 {
		var r unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
		return r.Utime.Nano() + r.Stime.Nano()
	}
	before := used()
	return func() {
		b.ReportMetric(float64(used()-before)/float64(b.N*per), "cpu-ns/doc")
	}
}

func BenchmarkDocument(b *testing.B) {
	for name, line := range map[string]string{
		"json":    typicalJSON,
		"text":    "2026-01-02 03:04:05.678 INFO  [worker-12] com.example.Service - request served in 12 ms for user 123456, path /api/v1/items/123456, agent \"Mozilla/5.0 (X11; Linux x86_64)\", all well",
		"rewrite": `{"time":"2026-01-02T03:04:05.678Z","log":{"level":"info","file":{"path":"x"}},"code":200,"method":"GET","path":"/api/v1/items/123456","ms":12.5,"msg":"request served well"}`,
	} {
		b.Run(name, func(b *testing.B) {
			p := makePoll(line)
			var (
				d    document
				id   identifier
				body []byte
			)
			n, err := newNamer("web_log", []string{"*"})
			require.NoError(b, err)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			stop := cpu(b, 1)
			for b.Loop() {
				r := &p.Records[0]
				d.read(r, "auto")
				name, _ := n.name(r, d.at)
				body = append(append(body[:0], actionHead...), name...)
				body = append(body, actionID...)
				body = id.append(body, r, d.place)
				body = append(body, actionTail...)
				body = append(d.append(body), '\n')
			}
			stop()
		})
	}
}

func BenchmarkAnswer(b *testing.B) {
	const n = 5000
	ok := `{"create":{"status":201}}`
	created := `{"errors":false,"items":[` + strings.Repeat(ok+",", n-1) + ok + `]}`
	mixed := `{"errors":true,"items":[` + strings.Repeat(ok+",", n-2) +
		itemText(409, "version_conflict_engine_exception", "exists") + "," + itemText(400, "mapper_parsing_exception", "bad") + `]}`
	for name, body := range map[string]string{"created": created, "mixed": mixed} {
		b.Run(name, func(b *testing.B) {
			stop := cpu(b, n)
			for b.Loop() {
				if err := parseAnswer([]byte(body), n, func(int, item) {}); err != nil {
					b.Fatal(err)
				}
			}
			stop()
		})
	}
}

// nullBulk answers each request as if all was stored, after counting lines.
func nullBulk(b *testing.B) *httptest.Server {
	answers := sync.Map{}
	buffers := sync.Pool{New: func() any { return new([]byte) }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buffer := buffers.Get().(*[]byte)
		body, _ := readAll((*buffer)[:0], r.Body, 1<<40)
		n := bytes.Count(body, []byte{'\n'}) / 2
		*buffer = body
		buffers.Put(buffer)
		answer, ok := answers.Load(n)
		if !ok {
			answer = []byte(`{"errors":false,"items":[` + strings.Repeat(`{"create":{"status":201}},`, n-1) + `{"create":{"status":201}}]}`)
			answers.Store(n, answer)
		}
		_, _ = w.Write(answer.([]byte))
	}))
	b.Cleanup(s.Close)
	return s
}

const benchPoll = 2500

func benchPolls(n int) []*logs.Poll {
	polls := make([]*logs.Poll, n)
	for i := range polls {
		lines := make([]string, benchPoll)
		for j := range lines {
			lines[j] = strings.Replace(typicalJSON, "123456", fmt.Sprintf("%06d", j), 1)
		}
		polls[i] = makePoll(lines...)
		for j := range polls[i].Records {
			polls[i].Records[j].Meta.File = []byte("8:1f:" + strconv.Itoa(i))
		}
	}
	return polls
}

// BenchmarkBulker has eight callers with polls of 2,500 records, and a null
// sink in the same process, so the sink's CPU is in both figures.
func BenchmarkBulker(b *testing.B) {
	for _, compression := range []string{"none", "gzip"} {
		b.Run(compression, func(b *testing.B) {
			s := nullBulk(b)
			if compression == "gzip" {
				s.Config.Handler = inflate(s.Config.Handler)
			}
			c, err := NewClient(config.Elasticsearch{Addresses: []string{s.URL}, Compression: compression}, nil)
			require.NoError(b, err)
			route := testRoute()
			route.Batch = config.Batch{MaxDocs: 5000, MaxBytes: 5 << 20, MaxWait: config.Duration(200e6), InFlight: 4}
			bulker := startBulker(b, c, route)
			polls := benchPolls(8)
			work := make(chan struct{})
			var callers sync.WaitGroup
			for _, p := range polls {
				callers.Go(func() {
					for range work {
						p.Reset()
						if err := bulker.Index(context.Background(), p); err != nil {
							b.Error(err)
						}
					}
				})
			}
			stop := cpu(b, benchPoll)
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			callers.Wait()
			stop()
			b.ReportMetric(float64(b.N*benchPoll)/b.Elapsed().Seconds(), "docs/s")
			b.ReportMetric(float64(bulker.Stats().Bytes)/float64(b.N*benchPoll), "bytes/doc")
			c.Close()
		})
	}
}

// BenchmarkPlain is the limit: the same bodies, ready made, posted by four
// goroutines whose answers are read and thrown away.
func BenchmarkPlain(b *testing.B) {
	s := nullBulk(b)
	var (
		d    document
		id   identifier
		body []byte
	)
	polls := benchPolls(2)
	for _, p := range polls {
		for i := range p.Records {
			r := &p.Records[i]
			d.read(r, "auto")
			body = append(append(body, actionHead...), "web_log"...)
			body = append(body, actionID...)
			body = id.append(body, r, d.place)
			body = append(body, actionTail...)
			body = append(d.append(body), '\n')
		}
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	work := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range work {
				resp, err := client.Post(s.URL+"/_bulk", "application/json", bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	stop := cpu(b, 2*benchPoll)
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	callers.Wait()
	stop()
	b.ReportMetric(float64(b.N*2*benchPoll)/b.Elapsed().Seconds(), "docs/s")
	client.CloseIdleConnections()
}

// inflate unpacks bodies before h sees them.
func inflate(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(z)
		h.ServeHTTP(w, r)
	})
}
