package embedded

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnswersItemByItem(t *testing.T) {
	s := startStore(t, t.TempDir())
	var many []string
	for i := range maxFields + 1 {
		many = append(many, fmt.Sprintf(`"f%d":1`, i))
	}
	huge := `{"message":"` + strings.Repeat("x", 3<<20) + `"}`
	tests := []struct {
		name, action, source string
		status               int
		kind                 string
	}{
		{"good", action("i", "1"), `{"a":1}`, 201, ""},
		{"index", `{"index":{"_index":"i","_id":"2"}}`, `{"a":1}`, 201, ""},
		{"index of one that is there", `{"index":{"_index":"i","_id":"1"}}`, `{"a":2}`, 409, "version_conflict_engine_exception"},
		{"no id", `{"create":{"_index":"i"}}`, `{}`, 201, ""},
		{"update", `{"update":{"_index":"i","_id":"1"}}`, `{"doc":{}}`, 400, "illegal_argument_exception"},
		{"array", action("i", "3"), `[1]`, 400, "document_parsing_exception"},
		{"text", action("i", "3"), `hello`, 400, "document_parsing_exception"},
		{"cut off", action("i", "3"), `{"a":`, 400, "document_parsing_exception"},
		{"empty", action("i", "3"), ``, 400, "document_parsing_exception"},
		{"two documents", action("i", "3"), `{"a":1}{"a":2}`, 400, "document_parsing_exception"},
		{"control character", action("i", "3"), "{\"a\":\"\x01\"}", 400, "document_parsing_exception"},
		{"not UTF-8", action("i", "3"), "{\"a\":\"\xff\"}", 400, "document_parsing_exception"},
		{"one key twice", action("i", "3"), `{"a":1,"b":{"c":[{"d":1,"d":2}]},"a":2}`, 400, "document_parsing_exception"},
		{"too deep", action("i", "3"), strings.Repeat(`{"a":`, 400) + "1" + strings.Repeat("}", 400), 400, "document_parsing_exception"},
		{"metadata field", action("i", "3"), `{"_id":"4"}`, 400, "document_parsing_exception"},
		{"too many fields", action("i", "3"), "{" + strings.Join(many, ",") + "}", 400, "document_parsing_exception"},
		{"too large", action("i", "3"), huge, 400, "illegal_argument_exception"},
		{"upper case index", action("I", "3"), `{}`, 400, "invalid_index_name_exception"},
		{"index with a slash", action("a/b", "3"), `{}`, 400, "invalid_index_name_exception"},
		{"long id", action("i", strings.Repeat("x", 513)), `{}`, 400, "illegal_argument_exception"},
		{"the id is still free", action("i", "3"), `{"a":{"b":1},"a.b":"2"}`, 201, ""},
	}
	var lines []string
	for _, test := range tests {
		lines = append(lines, test.action, test.source)
	}
	answer := bulk(t, s, lines...)
	require.True(t, answer.Errors)
	require.Len(t, answer.Items, len(tests))
	for i, test := range tests {
		for verb, item := range answer.Items[i] {
			require.Contains(t, test.action, `"`+verb+`"`, test.name)
			require.Equal(t, test.status, item.Status, test.name)
			require.Equal(t, test.kind, item.Error.Type, test.name)
			if test.kind != "" {
				require.NotEmpty(t, item.Error.Reason, test.name)
			}
			require.NotEmpty(t, item.ID, test.name)
		}
	}
	require.Equal(t, 4, count(t, s, "i"))
	require.Equal(t, `["1","2"]`, search(t, s, `_id:=3`)[0]["a.b"])
}

func TestBodiesThatCannotBeTakenApart(t *testing.T) {
	s := startStore(t, t.TempDir())
	good := action("i", "1") + "\n{}\n"
	for name, body := range map[string]string{
		"empty":                "",
		"no newline at end":    strings.TrimSuffix(good, "\n"),
		"not JSON":             good + "{\n{}\n",
		"not an object":        good + "[]\n{}\n",
		"unknown action":       good + `{"make":{}}` + "\n{}\n",
		"unknown parameter":    good + `{"create":{"_foo":"x"}}` + "\n{}\n",
		"id is a number":       good + `{"create":{"_id":1}}` + "\n{}\n",
		"action not an object": good + `{"create":"x"}` + "\n{}\n",
		"two actions":          good + `{"create":{},"index":{}}` + "\n{}\n",
		"no source":            good + action("i", "2") + "\n",
	} {
		status, answer := post(t, s.BulkURL()+"/_bulk", "application/x-ndjson", strings.NewReader(body))
		require.Equal(t, 400, status, name)
		var e struct {
			Error  struct{ Type, Reason string }
			Status int
		}
		require.NoError(t, json.Unmarshal(answer, &e), name)
		require.Equal(t, 400, e.Status, name)
		require.NotEmpty(t, e.Error.Type, name)
		require.NotEmpty(t, e.Error.Reason, name)
	}
	require.Zero(t, count(t, s, "_all"))

	status, _ := post(t, s.BulkURL()+"/_bulk", "text/plain", strings.NewReader(good))
	require.Equal(t, http.StatusNotAcceptable, status)
	status, _ = post(t, s.BulkURL()+"/_bulk", "application/json", strings.NewReader(strings.Repeat(" ", maxBody)+"\n"))
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	status, _ = post(t, s.BulkURL()+"/i/_doc", "application/json", strings.NewReader("{}"))
	require.Equal(t, http.StatusBadRequest, status)
}

func TestGzipAndFilterPath(t *testing.T) {
	s := startStore(t, t.TempDir())
	send := func(filter, body string, zip bool) string {
		t.Helper()
		buf := bytes.NewBufferString(body)
		req, err := http.NewRequest(http.MethodPut, s.BulkURL()+"/i/_bulk?filter_path="+filter, buf)
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/vnd.elasticsearch+x-ndjson;compatible-with=8")
		if zip {
			buf.Reset()
			z := gzip.NewWriter(buf)
			_, err := z.Write([]byte(body))
			require.NoError(t, err)
			require.NoError(t, z.Close())
			req.ContentLength = int64(buf.Len())
			req.Header.Set("Content-Encoding", "gzip")
		}
		status, answer := do(t, req)
		require.Equal(t, 200, status, string(answer))
		require.True(t, json.Valid(answer), string(answer))
		return string(answer)
	}
	body := "{\"create\":{\"_id\":\"1\"}}\n{}\n"
	bad := "{\"index\":{\"_index\":\"j\",\"_id\":\"2\"}}\n[]\n"
	require.Equal(t, `{"errors":false,"items":[{"create":{"status":201}}]}`, send("errors,items.*.status,items.*.error", body, true))
	require.Equal(t, `{"errors":true,"items":[{"create":{"error":{"type":"version_conflict_engine_exception"},"status":409}}]}`,
		send("errors,items.create.status,items.*.error.type", body, false))
	require.Equal(t, `{"errors":false}`, send("errors,items.*.error", strings.ReplaceAll(body, "1", "2"), true))
	require.Equal(t, `{"items":[{"index":{"_id":"2"}}]}`, send("items.index._id", body+bad, false))
	require.Equal(t, `{"errors":true,"items":[{"index":{"error":{"type":"document_parsing_exception","caused_by":{"type":"x_content_parse_exception"}}}}]}`,
		send("errors,**.type", bad, false))
	require.Equal(t, `{"errors":false,"items":[{"create":{"_index":"i","_id":"7","result":"created","status":201}}]}`,
		send("-took,-items.*._version", strings.ReplaceAll(body, "1", "7"), false))
}

func TestManners(t *testing.T) {
	s := startStore(t, t.TempDir())
	resp, err := testHTTP.Get(s.BulkURL())
	require.NoError(t, err)
	defer resp.Body.Close()
	var info struct {
		Tagline string
		Version struct{ Number string }
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&info))
	require.Equal(t, "You Know, for Search", info.Tagline)
	require.Regexp(t, `^8\.`, info.Version.Number)
	require.Equal(t, "Elasticsearch", resp.Header.Get("X-Elastic-Product"))

	for _, base := range []string{s.BulkURL(), s.SearchURL() + "/select/logsql/query?query=*"} {
		req, err := http.NewRequest(http.MethodGet, base, nil)
		require.NoError(t, err)
		req.Host = "evil.example:9200"
		status, _ := do(t, req)
		require.Equal(t, http.StatusForbidden, status)
	}
	resp, err = testHTTP.Get(s.SearchURL() + "/")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, "/select/vmui/", resp.Request.URL.Path)
	require.Equal(t, 200, resp.StatusCode)
	resp, err = testHTTP.Get(s.SearchURL() + "/select/logsql/query?query=*")
	require.NoError(t, err)
	resp.Body.Close()
	require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))

	bulk(t, s, action("web", "1"), "{}")
	s.logs.flush()
	for index, want := range map[string]int{"web": 200, "none": 404} {
		resp, err = testHTTP.Head(s.BulkURL() + "/" + index)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want, resp.StatusCode)
	}
	_, err = StartStore(StoreOptions{Dir: t.TempDir(), BulkAddr: "127.0.0.1:0", SearchAddr: "127.0.0.1:0", Logger: testLogger(t)})
	require.ErrorContains(t, err, "has a log store already")
}

func FuzzBulkBody(f *testing.F) {
	f.Add([]byte(action("i", "1") + "\n{}\n"))
	f.Add([]byte("{\"index\":{}}\n\n\n{\"delete\":{\"_id\":\"\\u0000\"}}\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var b bulkBody
		if b.parse(body, "i") != nil {
			return
		}
		answer := appendAnswer(nil, b.items, shapeOf(answerFilter{}), 0)
		require.True(t, json.Valid(answer), "%q", answer)
	})
}
