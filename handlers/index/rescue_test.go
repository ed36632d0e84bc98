package index

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

// TestOffender has sentences of Elasticsearch 7.17, 8.6 and 8.19.
func TestOffender(t *testing.T) {
	for reason, field := range map[string]string{
		"failed to parse field [code] of type [long] in document with id 'x'. Preview of field's value: 'ok': For input string: \"ok\"":               "code",
		"[1:49] failed to parse field [a.b.code] of type [long] in document with id 'x'. Preview of field's value: 'ok'":                              "a.b.code",
		"[1:9] failed to parse field [ip] of type [ip] in document with id 'x': 'z' is not an IP string literal.":                                     "ip",
		"object mapping for [a] tried to parse field [a] as object, but found a concrete value":                                                       "a",
		"object mapping for [list] tried to parse field [null] as object, but found a concrete value":                                                 "list",
		"Could not dynamically add mapping for field [a.b.c]. Existing mapping for [a.b] must be of type object but found [keyword].":                 "a.b.c",
		"mapper [x.y] cannot be changed from type [long] to [text]":                                                                                   "x.y",
		"can't merge a non object mapping [x] with an object mapping":                                                                                 "x",
		"mapping set to strict, dynamic introduction of [new] within [_doc] is not allowed":                                                           "new",
		"[1:5] mapping set to strict, dynamic introduction of [new] within [a.b] is not allowed":                                                      "a.b.new",
		`Document contains at least one immense term in field="body" (whose UTF8 encoding is longer than the max length 32766), all of which skipped`: "body",
		"Field [_id] is a metadata field and cannot be added inside a document. Use the index API request parameters.":                                "_id",
		"Cannot write to a field alias [short].":                                                                                                      "short",
		"Duplicate field 'a'":                                                                                                                         "a",
		"Limit of total fields [1000] has been exceeded while adding new fields [3]":                                                                  "",
		"failed to parse": "",
		"":                "",
	} {
		require.Equal(t, field, offender(reason), reason)
	}
}

func rescued(t *testing.T, line, field string) (string, bool) {
	p := makePoll(line)
	var d document
	d.read(&p.Records[0], "auto")
	out, ok := d.appendRescued(nil, field)
	if !ok {
		return "", false
	}
	require.True(t, json.Valid(out), "%s", out)
	require.NotContains(t, string(out), "\n")
	return strings.Replace(string(out), `,"logferry.node":"web-1","logferry.topic":"web_log","log.file.path":"/var/log/app.log","log.offset":0}`, "}", 1), true
}

func TestAppendRescued(t *testing.T) {
	const stamp, host = `,"@timestamp":"2026-01-02T03:04:05.678Z"`, `,"host.name":"web-1"`
	for _, test := range []struct{ line, field, want string }{
		{`{"a":1,"code":"ok","b":2}`, "code", `{"a":1,"b":2,"tags":["logferry.rescued"],"logferry.rescued":"{\"code\":\"ok\"}"` + stamp + host + `}`},
		{`{"code":"ok"}`, "code", `{"tags":["logferry.rescued"],"logferry.rescued":"{\"code\":\"ok\"}"` + stamp + host + `}`},
		{`{"a":{"b":{"c":[1],"d":2}}}`, "a.b.c", `{"a":{"b":{"d":2}},"tags":["logferry.rescued"],"logferry.rescued":"{\"a.b.c\":[1]}"` + stamp + host + `}`},
		{`{"a.b":{"c":1},"a":{"b.c":2,"x":3}}`, "a.b.c", `{"a.b":{},"a":{"x":3},"tags":["logferry.rescued"],"logferry.rescued":"{\"a.b.c\":1,\"a.b.c\":2}"` + stamp + host + `}`},
		{`{"a":[{"b":1},{"b":"x"}],"c":1}`, "a.b", `{"c":1,"tags":["logferry.rescued"],"logferry.rescued":"{\"a\":[{\"b\":1},{\"b\":\"x\"}]}"` + stamp + host + `}`},
		{`{"a":5,"c":1}`, "a.b", `{"c":1,"tags":["logferry.rescued"],"logferry.rescued":"{\"a\":5}"` + stamp + host + `}`},
		{`{"a.b.c":1,"abc":2}`, "a.b", `{"abc":2,"tags":["logferry.rescued"],"logferry.rescued":"{\"a.b.c\":1}"` + stamp + host + `}`},
		{`{"message":"m","a":1,"@timestamp":"2026-01-01T00:00:00Z","log":{"level":"x","offset":7},"host":{"name":"h"}}`, "",
			`{"message":"m","@timestamp":"2026-01-01T00:00:00Z","tags":["logferry.rescued"],"logferry.rescued":"{\"a\":1,\"log\":{\"level\":\"x\",\"offset\":7},\"host\":{\"name\":\"h\"}}"` + host + `}`},
		{`{"log":{"level":"x","offset":7},"a":"b"}`, "a", `{"log":{"level":"x"},"tags":["logferry.rescued"],"logferry.rescued":"{\"a\":\"b\"}"` + stamp + host + `}`},
		{`{"tags":["x"],"a":1}`, "a", `{"tags":["x","logferry.rescued"],"logferry.rescued":"{\"a\":1}"` + stamp + host + `}`},
		{`{"tags":[ ],"a":1}`, "a", `{"tags":["logferry.rescued"],"logferry.rescued":"{\"a\":1}"` + stamp + host + `}`},
		{`{"tags":"x","a":1}`, "a", `{"tags":["x","logferry.rescued"],"logferry.rescued":"{\"a\":1}"` + stamp + host + `}`},
		{`{"tags":null,"a":1}`, "a", `{"tags":["logferry.rescued"],"logferry.rescued":"{\"a\":1}"` + stamp + host + `}`},
		{`{"tags":{"k":1},"a":1}`, "a", `{"tags":["logferry.rescued"],"logferry.rescued":"{\"tags\":{\"k\":1},\"a\":1}"` + stamp + host + `}`},
		{`{"host":"h","a":1}`, "host", `{"a":1,"tags":["logferry.rescued"],"logferry.rescued":"{\"host\":\"h\"}"` + stamp + host + `}`},
		{`{"host":"h","a":1}`, "a", `{"host":"h","tags":["logferry.rescued"],"logferry.rescued":"{\"a\":1}"` + stamp + `}`},
		{`{"message":{"x":1}}`, "message", `{"tags":["logferry.rescued"],"logferry.rescued":"{\"message\":{\"x\":1}}"` + stamp + host + `}`},
		{"{\"a\":\n[1,\n2],\"k\\\"\":3}", "a", `{"k\"":3,"tags":["logferry.rescued"],"logferry.rescued":"{\"a\":[1,\n2]}"` + stamp + host + `}`},
	} {
		got, ok := rescued(t, test.line, test.field)
		require.True(t, ok, test.line)
		want := strings.ReplaceAll(test.want, "[1,\n2]", `[1,\n2]`)
		require.Equal(t, want, got)
	}
	for _, line := range []string{"text", `{"message":"m"}`, `{}`, `{"log":{"offset":1},"@timestamp":"never"}`} {
		if line == `{"log":{"offset":1},"@timestamp":"never"}` {
			_, ok := rescued(t, line, "log.offset")
			require.False(t, ok, "ours cannot be moved")
			continue
		}
		_, ok := rescued(t, line, "")
		require.False(t, ok, line)
	}
	_, ok := rescued(t, `{"a":1}`, "b")
	require.False(t, ok)
}

// picky refuses documents whose code is no number, and those whose ms is not
// either, naming one field at a time, as Elasticsearch does.
func picky(d doc) string {
	var fields map[string]any
	_ = json.Unmarshal([]byte(d.Source), &fields)
	for _, name := range []string{"code", "ms"} {
		if v, ok := fields[name]; ok {
			if _, number := v.(float64); !number {
				return itemText(400, "document_parsing_exception", fmt.Sprintf("[1:9] failed to parse field [%s] of type [long] in document with id 'x'. Preview of field's value: '%v'", name, v))
			}
		}
	}
	if fields["message"] == "hopeless" {
		return itemText(400, "document_parsing_exception", "failed to parse")
	}
	return ""
}

func TestRescue(t *testing.T) {
	s := newSink(t)
	s.set(nil, picky)
	route := testRoute()
	route.Poison.OnReject = "rescue"
	b := startBulker(t, testClient(t, s.URL), route)
	lines := append(numbered(0, 20),
		`{"message":"one","code":"ok","k":1}`,
		`{"message":"both","code":"ok","ms":"fast","k":2}`,
		`{"message":"hopeless","code":"ok","k":3}`)
	p := makePoll(lines...)
	err := index(t, b, p)
	require.Equal(t, map[logs.Kind]int{logs.Permanent: 3}, verdictsOf(err), "the originals go to the poison queue")
	require.Equal(t, 3, p.Pending())
	require.Equal(t, 22, s.count())
	found := map[string]map[string]any{}
	for key, source := range s.stored {
		if !strings.HasSuffix(key, rescuedSuffix) {
			continue
		}
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(source), &fields))
		require.Equal(t, []any{tagRescued}, fields["tags"])
		found[fields["message"].(string)] = fields
	}
	require.Len(t, found, 2)
	require.Equal(t, `{"code":"ok"}`, found["one"]["logferry.rescued"])
	require.InDelta(t, 1, found["one"]["k"], 0)
	require.Equal(t, `{"code":"ok","ms":"fast","k":2}`, found["both"]["logferry.rescued"])
	stats := b.Stats()
	require.Equal(t, int64(2), stats.Rescued)
	require.Equal(t, int64(20), stats.Stored)
	require.Equal(t, int64(3), stats.Refused)

	require.Error(t, index(t, b, p))
	require.Equal(t, 22, s.count(), "a repeat finds the other form there")

	s.set(nil, nil)
	require.NoError(t, index(t, b, p))
	require.Equal(t, 25, s.count(), "what was repaired has its own id")
}

// TestRescueWaitsForABusySink: a refusal whose rescue could not be told comes
// again as a whole.
func TestRescueWaitsForABusySink(t *testing.T) {
	s := newSink(t)
	s.set(func(w http.ResponseWriter, _ *http.Request, docs []doc) bool {
		if strings.HasSuffix(docs[0].ID, rescuedSuffix) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}, picky)
	route := testRoute()
	route.Poison.OnReject = "rescue"
	b := startBulker(t, testClient(t, s.URL), route)
	p := makePoll(`{"code":"ok","message":"one"}`, "well")
	require.Equal(t, map[logs.Kind]int{logs.Transient: 1}, verdictsOf(index(t, b, p)))
	require.Equal(t, 1, p.Pending())
	require.Zero(t, b.Stats().Refused)
	s.set(nil, picky)
	require.Equal(t, map[logs.Kind]int{logs.Permanent: 1}, verdictsOf(index(t, b, p)))
	require.Equal(t, 2, s.count())
}

func TestNothingIsRescuedUnasked(t *testing.T) {
	s := newSink(t)
	s.set(nil, picky)
	b := startBulker(t, testClient(t, s.URL), testRoute())
	require.Error(t, index(t, b, makePoll(`{"code":"ok"}`)))
	require.Zero(t, s.count())
	require.Len(t, s.requests, 1)
}
