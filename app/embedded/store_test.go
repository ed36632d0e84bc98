package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func startStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := StartStore(StoreOptions{Dir: dir, BulkAddr: "127.0.0.1:0", SearchAddr: "127.0.0.1:0", Logger: testLogger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

type bulkAnswer struct {
	Errors bool
	Items  []map[string]struct {
		Index  string `json:"_index"`
		ID     string `json:"_id"`
		Status int
		Error  struct{ Type, Reason string }
	}
}

func (a *bulkAnswer) statuses() []int {
	var s []int
	for _, item := range a.Items {
		for _, v := range item {
			s = append(s, v.Status)
		}
	}
	return s
}

func post(t testing.TB, url, contentType string, body io.Reader) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, body)
	require.NoError(t, err)
	req.Header.Set("Content-Type", contentType)
	return do(t, req)
}

func do(t testing.TB, req *http.Request) (status int, answer []byte) {
	t.Helper()
	resp, err := testHTTP.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, answer
}

var testHTTP = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func bulk(t testing.TB, s *Store, lines ...string) bulkAnswer {
	t.Helper()
	status, body := post(t, s.BulkURL()+"/_bulk", "application/x-ndjson", strings.NewReader(strings.Join(lines, "\n")+"\n"))
	require.Equal(t, 200, status, string(body))
	var a bulkAnswer
	require.NoError(t, json.Unmarshal(body, &a), string(body))
	return a
}

func action(index, id string) string {
	return fmt.Sprintf(`{"create":{"_index":%q,"_id":%q}}`, index, id)
}

// search gives the documents that a query finds through the search API.
func search(t testing.TB, s *Store, query string) []map[string]string {
	t.Helper()
	s.logs.flush()
	status, body := post(t, s.SearchURL()+"/select/logsql/query", "application/x-www-form-urlencoded",
		strings.NewReader(url.Values{"query": {query}}.Encode()))
	require.Equal(t, 200, status, string(body))
	var found []map[string]string
	for line := range bytes.Lines(body) {
		var doc map[string]string
		require.NoError(t, json.Unmarshal(line, &doc), string(line))
		found = append(found, doc)
	}
	return found
}

func count(t testing.TB, s *Store, index string) int {
	t.Helper()
	s.logs.flush()
	status, body := post(t, s.BulkURL()+"/"+index+"/_count", "application/json", nil)
	require.Equal(t, 200, status, string(body))
	var n struct{ Count int }
	require.NoError(t, json.Unmarshal(body, &n))
	return n.Count
}

func TestDocumentsAreFound(t *testing.T) {
	s := startStore(t, t.TempDir())
	a := bulk(t, s,
		action("web_log", "1"), `{"@timestamp":"2026-03-04T05:06:07.123456789Z","code":200,"host":{"name":"web-1"},"log":{"file":{"path":"/a.log"},"offset":7},"message":"hello world","tags":["a","b"]}`,
		action("web_log", "2"), `{"code":500,"index":"mine"}`,
		action("other", "1"), `{"@timestamp":"1999-01-01T00:00:00Z","message":"old"}`)
	require.False(t, a.Errors)
	require.Equal(t, []int{201, 201, 201}, a.statuses())

	found := search(t, s, `{index="web_log"} code:200`)
	require.Len(t, found, 1)
	delete(found[0], "_stream_id")
	require.Equal(t, map[string]string{
		"_time": "2026-03-04T05:06:07.123456789Z", "_msg": "hello world", "code": "200", "host.name": "web-1",
		"log.file.path": "/a.log", "log.offset": "7", "tags": `["a","b"]`, "_id": "1", "index": "web_log",
		"_stream": `{host.name="web-1",index="web_log",log.file.path="/a.log"}`,
	}, found[0])
	found = search(t, s, `code:500`)
	require.Len(t, found, 1)
	require.Equal(t, `{"code":500,"index":"mine"}`, found[0]["_msg"])
	require.Equal(t, "mine", found[0]["doc.index"])
	require.Equal(t, "1999-01-01T00:00:00Z", search(t, s, `{index="other"}`)[0]["_time"])
	require.Equal(t, 2, count(t, s, "web_log"))
	require.Equal(t, 2, count(t, s, "web*"))
	require.Equal(t, 3, count(t, s, "_all"))
}

func TestRepeatsAreConflictsAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := startStore(t, dir)
	doc := `{"message":"x"}`
	require.Equal(t, []int{201, 409, 201}, ptr(bulk(t, s, action("i", "1"), doc, action("i", "1"), doc, action("j", "1"), doc)).statuses())
	require.Equal(t, []int{409, 201}, ptr(bulk(t, s, action("i", "1"), doc, action("i", "2"), doc)).statuses())
	require.NoError(t, s.Close())
	s = startStore(t, dir)
	a := bulk(t, s, action("i", "1"), doc, action("i", "2"), doc, action("i", "3"), doc)
	require.Equal(t, []int{409, 409, 201}, a.statuses())
	require.Equal(t, "version_conflict_engine_exception", a.Items[0]["create"].Error.Type)
	require.Equal(t, 3, count(t, s, "i"))
}

func ptr[T any](v T) *T { return &v }

func TestJournalIsEmptiedOnceAllIsInFiles(t *testing.T) {
	dir := t.TempDir()
	s := startStore(t, dir)
	bulk(t, s, action("i", "1"), `{"message":"x"}`, action("i", "2"), `{"@timestamp":"2001-02-03T04:05:06Z"}`)
	require.NotZero(t, s.journal.size)
	require.NoError(t, s.emptyJournal(context.Background(), 0))
	require.NotZero(t, s.journal.size, "nothing can be in files yet")
	require.NoError(t, s.emptyJournal(context.Background(), time.Minute))
	require.Zero(t, s.journal.size)
	onDisk, err := s.logs.filed()
	require.NoError(t, err)
	require.EqualValues(t, 2, onDisk.rows)
	require.NotZero(t, onDisk.entries)
	require.Equal(t, []int{409, 201}, ptr(bulk(t, s, action("i", "1"), `{}`, action("i", "3"), `{}`)).statuses())
}

func TestRemovedDocumentsMayComeAgain(t *testing.T) {
	dir := t.TempDir()
	s := startStore(t, dir)
	bulk(t, s, action("i", "1"), `{}`)
	require.NoError(t, s.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "logs")))
	s = startStore(t, dir)
	require.Equal(t, []int{201}, ptr(bulk(t, s, action("i", "1"), `{}`)).statuses())
	require.Equal(t, 1, count(t, s, "i"))
}

// A document is seen without being asked for twice: nobody calls _refresh.
func TestDocumentsShowUpByThemselves(t *testing.T) {
	s := startStore(t, t.TempDir())
	bulk(t, s, action("i", "1"), `{"message":"here I am"}`)
	start := time.Now()
	require.Eventually(t, func() bool {
		var found atomic.Int64
		err := s.logs.query(context.Background(), `{index="i"} "here I am"`, 0, maxTime, func(columns [][]string) {
			found.Add(int64(len(columns[0])))
		}, "_msg")
		return err == nil && found.Load() == 1
	}, 30*time.Second, 20*time.Millisecond)
	t.Logf("after %v", time.Since(start))
}
