//go:build real

package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// cluster is a real Elasticsearch and one index of it that is ours.
type cluster struct {
	t     testing.TB
	url   string
	index string
}

var asker = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func realCluster(t testing.TB) *cluster {
	url := os.Getenv("ELASTICSEARCH_URL")
	if url == "" {
		t.Fatal("ELASTICSEARCH_URL is not set")
	}
	return &cluster{t: t, url: url, index: fmt.Sprintf("index-test-%d", time.Now().UnixNano())}
}

func (c *cluster) call(method, path, body string) map[string]any {
	req, err := http.NewRequest(method, c.url+path, bytes.NewReader([]byte(body)))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := asker.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	require.Less(c.t, resp.StatusCode, 300, "%s %s: %s", method, path, answer)
	var out map[string]any
	require.NoError(c.t, json.Unmarshal(answer, &out))
	return out
}

func (c *cluster) count() int {
	c.call("POST", "/"+c.index+"/_refresh", "")
	return int(c.call("GET", "/"+c.index+"/_count", "")["count"].(float64))
}

func (c *cluster) start() *Bulker {
	client, err := NewClient(config.Elasticsearch{Addresses: []string{c.url}, Compression: "gzip"}, nil)
	require.NoError(c.t, err)
	c.t.Cleanup(client.Close)
	require.NoError(c.t, client.Ping(c.t.Context()))
	route := testRoute()
	route.Index = c.index
	route.Batch.MaxDocs = 500
	return startBulker(c.t, client, route)
}

func TestRealCluster(t *testing.T) {
	c := realCluster(t)
	b := c.start()

	p := makePoll(numbered(0, 1000)...)
	require.NoError(t, index(t, b, p))
	require.Equal(t, 1000, c.count())
	p.Reset()
	require.NoError(t, index(t, b, p), "a conflict is success")
	require.Equal(t, 1000, c.count())
	require.Equal(t, int64(1000), b.Stats().Conflicts)

	conflict := makePoll(append(numbered(2000, 99), `{"log":{"offset":{}},"@timestamp":"never","logferry":7,"code":1}`, `{"code":"ok"}`)...)
	err := index(t, b, conflict)
	require.Equal(t, map[logs.Kind]int{logs.Permanent: 1}, verdictsOf(err))
	require.Equal(t, 1, conflict.Pending())
	require.False(t, conflict.Settled(100))
	require.ErrorContains(t, err, "failed to parse field [code] of type [long]")
	require.Equal(t, 1100, c.count())
}

func TestRealReadOnlyIndexHolds(t *testing.T) {
	for _, block := range []string{"write", "read_only", "read_only_allow_delete"} {
		t.Run(block, func(t *testing.T) {
			c := realCluster(t)
			b := c.start()
			require.NoError(t, index(t, b, makePoll("first")))
			c.call("PUT", "/"+c.index+"/_settings", fmt.Sprintf(`{"index.blocks.%s":true}`, block))
			p := makePoll(numbered(0, 50)...)
			err := index(t, b, p)
			require.Equal(t, logs.Unavailable, logs.KindOf(err), err)
			require.Empty(t, verdictsOf(err)[logs.Permanent])
			require.Contains(t, b.Stats().Held, "blocked by")
			c.call("PUT", "/"+c.index+"/_settings", fmt.Sprintf(`{"index.blocks.%s":false}`, block))
			require.NoError(t, index(t, b, p))
			require.Equal(t, 51, c.count())
			require.Empty(t, b.Stats().Held)
		})
	}
}

func TestRealClosedIndexHolds(t *testing.T) {
	c := realCluster(t)
	b := c.start()
	require.NoError(t, index(t, b, makePoll("first")))
	c.call("POST", "/"+c.index+"/_close", "")
	p := makePoll(numbered(0, 5)...)
	require.Equal(t, logs.Unavailable, logs.KindOf(index(t, b, p)))
	c.call("POST", "/"+c.index+"/_open", "")
	require.NoError(t, index(t, b, p))
	require.Equal(t, 6, c.count())
}

// TestRealOddLines sends lines that are odd by their bytes: each is stored,
// exactly once.
func TestRealOddLines(t *testing.T) {
	c := realCluster(t)
	b := c.start()
	var lines []string
	for i := range 256 {
		lines = append(lines, "byte "+string([]byte{byte(i)})+" in text", `{"s":"byte `+string([]byte{byte(i)})+` in an object"}`)
	}
	lines = append(lines,
		`{}`, ` { } `, "{\n\"a1\"\r\n:\t1}", `[1]`, `"x"`, `null`, ``, "\r", `{"a2":"`+strings.Repeat("x", 40_000)+`"}`,
		`{"a3":"\ud800"}`, `{"a3":"\u0000"}`, "{\"k\xff\":1}", "{\"\u2028a\":\"\ufeff\"}", "\ufeff{}", `{"a4":-0.0e-5}`,
		`{"log":"text"}`, `{"log":{"file":"x","offset":"y"}}`, `{"log.file.path.x":1}`,
		`{"logferry":[1,{"node":2}]}`, `{"host":{}}`, `{"host":null}`, `{"@timestamp":12}`, `{"@timestamp":1767225599123}`,
		`{"@timestamp":"2026-01-02T03:04:05,123+0100"}`, `{"@timestamp":"2026-01-02"}`, `{"@timestamp":"2026-01-02T03:04"}`,
		`{"@timestamp":"2026-01-02T03:04:05.123456789+01"}`, `{"@timestamp":["x"]}`, `{"@timestamp":null}`,
		nested(`{"d":`, "{}", "}", 19), nested(`{"d":`, "1", "}", 21), strings.Repeat("[", 10_000),
		`{"`+strings.Repeat("x.", 30)+`x":1}`, "\x1b[31mred\x1b[0m", "{\"create\":{\"_index\":\"other\"}}\n{}", "}\n{\"delete\":{\"_id\":1}}\n",
	)
	p := makePoll(lines...)
	err := index(t, b, p)
	var batch *logs.BatchError
	if errors.As(err, &batch) {
		for _, f := range batch.Failures() {
			t.Errorf("%.200q: %v", lines[f.Index], f.Err)
		}
	}
	require.NoError(t, err)
	require.Equal(t, len(lines), c.count())
	p.Reset()
	require.NoError(t, index(t, b, p))
	require.Equal(t, len(lines), c.count())
}

func TestRealDateNamesAndAliases(t *testing.T) {
	c := realCluster(t)
	client, err := NewClient(config.Elasticsearch{Addresses: []string{c.url}}, nil)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	route := testRoute()
	route.Index = c.index + "-{topic}-{+2006.01.02}"
	b := startBulker(t, client, route)
	require.NoError(t, index(t, b, makePoll(`{"ts":"2026-01-01T00:00:00Z"}`, `{"ts":"2026-01-02T00:00:00Z"}`, "x")))
	c.index += "-web_log-2026.01.0*"
	require.Equal(t, 3, c.count())
}

// TestRealRescue has documents that a real mapping refuses, each for another
// reason; all are searchable afterwards, in their other form.
func TestRealRescue(t *testing.T) {
	c := realCluster(t)
	client, err := NewClient(config.Elasticsearch{Addresses: []string{c.url}}, nil)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	c.call("PUT", "/"+c.index, `{"mappings":{"properties":{"code":{"type":"long"},"ip":{"type":"ip"},"obj":{"properties":{"x":{"type":"long"}}},
		"text":{"type":"keyword"},"strict":{"dynamic":"strict","properties":{"a":{"type":"long"}}}}}}`)
	route := testRoute()
	route.Index = c.index
	route.Poison.OnReject, route.Poison.MaxRatio = "rescue", 1
	b := startBulker(t, client, route)
	lines := []string{
		`{"message":"a","code":"ok"}`, `{"message":"b","ip":"nowhere"}`, `{"message":"c","obj":5}`, `{"message":"d","code":{"y":1}}`,
		`{"message":"e","strict":{"a":1,"new":2}}`, `{"message":"f","text":"` + strings.Repeat("x", 40_000) + `"}`,
		`{"message":"g","text":{"sub":1}}`, `{"message":"h","code":"ok","ip":"nowhere"}`, `{"message":"i","":1}`, `{"message":"j","_id":"x"}`,
		`{"message":"k","dup":1,"dup":2}`, `{"message":"l","obj":{"x":"z"},"tags":["own"]}`, `{"message":"m","code.x":1}`,
	}
	p := makePoll(lines...)
	require.Equal(t, map[logs.Kind]int{logs.Permanent: len(lines)}, verdictsOf(index(t, b, p)))
	require.Equal(t, int64(len(lines)), b.Stats().Rescued)
	require.Equal(t, len(lines), c.count())
	c.call("POST", "/"+c.index+"/_refresh", "")
	found := c.call("POST", "/"+c.index+"/_search?size=100", `{"query":{"bool":{"must":[{"match":{"tags":"logferry.rescued"}},{"exists":{"field":"logferry.rescued"}}]}}}`)
	require.Len(t, found["hits"].(map[string]any)["hits"], len(lines))
	hits := c.call("POST", "/"+c.index+"/_search?size=100", `{"query":{"match":{"logferry.rescued":"nowhere"}}}`)
	require.Len(t, hits["hits"].(map[string]any)["hits"], 2, "what was moved can be searched")
	require.Error(t, index(t, b, p))
	require.Equal(t, len(lines), c.count())
}

// TestRealSetup makes templates in a cluster that lacks lifecycle management and
// some types, twice, and fills a data stream by the one it was given.
func TestRealSetup(t *testing.T) {
	c := realCluster(t)
	client, err := NewClient(config.Elasticsearch{Addresses: []string{c.url}}, nil)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	stream := testRoute()
	stream.Name, stream.Index, stream.DataStream = c.index+"-s", c.index+"-stream", true
	plain := testRoute()
	plain.Name, plain.Index = c.index+"-p", c.index+"-plain-{+2006.01.02}"
	t.Cleanup(func() {
		c.call("DELETE", "/_index_template/logferry-"+plain.Name, "")
	})
	for _, result := range []string{"created", "unchanged"} {
		done, err := client.Setup(t.Context(), []config.Route{stream, plain}, SetupOptions{})
		require.NoError(t, err)
		require.Equal(t, []string{"lifecycle policy logferry-streams skipped",
			"index template logferry-" + stream.Name + " " + result, "index template logferry-" + plain.Name + " " + result}, results(done))
	}

	b := startBulker(t, client, stream)
	lines := append(numbered(0, 100), `{"code":"ok","error":"e","error_code":5}`, `{"code":7,"error":{"x":1}}`)
	err = index(t, b, makePoll(lines...))
	require.Equal(t, map[logs.Kind]int{logs.Permanent: 1}, verdictsOf(err), "a word where an object is not: %v", err)
	b2 := startBulker(t, client, plain)
	require.NoError(t, index(t, b2, makePoll(numbered(0, 100)...)))

	c.index = stream.Index
	require.Equal(t, 101, c.count())
	p := makePoll(numbered(0, 100)...)
	require.NoError(t, index(t, b, p), "a conflict is success in a data stream too")
	require.Equal(t, int64(100), b.Stats().Conflicts)
	require.Equal(t, 101, c.count())
	hits := c.call("POST", "/"+c.index+"/_search", `{"query":{"term":{"log.file.path":"/var/log/app.log"}},"track_total_hits":true}`)
	require.InDelta(t, 101, hits["hits"].(map[string]any)["total"].(map[string]any)["value"], 0)

	c.call("POST", "/"+c.index+"/_rollover", "")
	p.Reset()
	require.NoError(t, index(t, b, p))
	require.Equal(t, 201, c.count(), "after a rollover a repeat is a second copy, as documented")
}
