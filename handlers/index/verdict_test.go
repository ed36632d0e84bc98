package index

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

// told lists what an answer says, item by item, the created ones left out.
func told(t *testing.T, body string, n int) (verdicts map[int]verdict, err error) {
	verdicts = map[int]verdict{}
	err = parseAnswer([]byte(body), n, func(i int, it item) {
		require.NotContains(t, verdicts, i)
		verdicts[i] = it.verdict()
	})
	return verdicts, err
}

func TestParseAnswer(t *testing.T) {
	created, bad := `{"create":{"status":201}}`, itemText(400, "mapper_parsing_exception", "bad")
	for body, want := range map[string]map[int]verdict{
		`{"errors":false,"items":[` + created + `,` + created + `,` + created + `]}`:                              {},
		"{\"errors\":false,\"items\":[" + created + "," + created + "," + created + "]}\n":                        {},
		`{"items":[` + created + `,` + bad + `,` + created + `],"errors":true,"took":12}`:                         {1: refused},
		`{"errors":true,"items":[` + bad + `,` + created + `,` + bad + `]}`:                                       {0: refused, 2: refused},
		"{\"items\" : [ {\"create\" : {\"status\" : 200}} ,\n" + created + " , {\"create\":{\"status\":429}} ] }": {2: retry},
		`{"items":[` + created + `,{"create":{"_index":"x","_id":"]}","status":409}},{"index":{"status":201}}]}`:  {1: conflict},
		`{"items":[{},[],1]}`: {0: retry, 1: retry, 2: retry},
		`{"items":[null,"]",{"create":{"error":"a bare sentence","status":400}}]}`: {0: retry, 1: retry, 2: refused},
	} {
		got, err := told(t, body, 3)
		require.NoError(t, err, body)
		require.Equal(t, want, got, body)
	}
	for _, body := range []string{
		``, `null`, `[]`, `{}`, `{"items":null}`, `{"items":{}}`, `{"items":[]}`, `{"items":[` + created + `]}`,
		`{"items":[` + created + `,` + created + `,` + created + `,` + created + `]}`,
		`{"errors":false,"items":[` + created + `,` + created + `,` + created,
		`{"errors":false,"items":[` + created + `,` + created + `,` + created + `]`,
		`{"errors":false,"items":[` + created + `;` + created + `,` + created + `]}`,
		`{"errors":false,"items":[` + created + `,` + created + `,` + created + `]}x`,
		`<html>`, "\x1f\x8b\x08", strings.Repeat("[", 1<<20), `{"items":` + strings.Repeat("[", 1<<20),
	} {
		_, err := told(t, body, 3)
		require.ErrorIs(t, err, errUnreadable, "%.100s", body)
		require.Less(t, len(err.Error()), 400)
		require.True(t, utf8.ValidString(err.Error()))
	}
}

func TestAnswerCarriesTheCause(t *testing.T) {
	body := `{"items":[{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [code] of type [long]","caused_by":{"reason":"For input string: \"ok\""}}}}]}`
	var got *logs.Refusal
	require.NoError(t, parseAnswer([]byte(body), 1, func(_ int, it item) { got = it.refusal("web_log") }))
	require.Equal(t, &logs.Refusal{Index: "web_log", Status: 400, Type: "mapper_parsing_exception",
		Reason: `failed to parse field [code] of type [long]: For input string: "ok"`}, got)
}

func TestReasonsAreBounded(t *testing.T) {
	it := item{status: 400, kind: "x", reason: strings.Repeat("ü", 5000)}
	require.LessOrEqual(t, len(it.refusal("i").Reason), maxReason)
	require.True(t, utf8.ValidString(it.refusal("i").Reason))
	require.Less(t, len(it.err("i").Error()), maxReason+100)
	_, err := judge(&answer{status: 500, body: []byte(strings.Repeat("\xff\x1b", 5000)), where: "http://x"})
	require.Less(t, len(err.Error()), 400)
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}`), 2)
	f.Add([]byte(`{"errors":true,"items":[{"create":{"status":400,"error":{"type":"a","reason":"b","caused_by":{"reason":"c"}}}}]}`), 1)
	f.Add([]byte(`{"items":[{"create":{"status":201,"failure_store":"used"}},[],{}]}`), 3)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		n = max(n%100, 1)
		var list struct{ Items []json.RawMessage }
		valid := json.Unmarshal(body, &list) == nil
		count := 0
		err := parseAnswer(body, n, func(i int, it item) {
			count++
			require.Less(t, i, n)
			require.NotEqual(t, stored, it.verdict())
		})
		if err == nil && valid {
			// encoding/json takes any case and the last of several members.
			if strings.Count(strings.ToLower(string(body)), "items") == 1 && !strings.Contains(string(body), `\u`) {
				require.Len(t, list.Items, n)
			}
			require.LessOrEqual(t, count, n)
		}
	})
}

func TestGuard(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newGuard(0.5, time.Minute)
	require.False(t, g.note(now, 0, 1), "the first bad line")
	require.False(t, g.note(now, 0, 18), "19 are few")
	require.True(t, g.note(now, 0, 1))
	require.True(t, g.note(now.Add(2*time.Minute), 0, 1), "time alone ends no hold")
	require.True(t, g.note(now.Add(4*time.Minute), 0, 5))
	require.False(t, g.note(now.Add(4*time.Minute), 5, 0), "half is not more than half")
	require.False(t, g.note(now.Add(4*time.Minute), 1000, 0))
	require.False(t, g.note(now.Add(4*time.Minute), 0, 900))
	require.True(t, g.note(now.Add(4*time.Minute), 0, 200))
	require.True(t, g.note(now.Add(4*time.Minute+30*time.Second), 1, 0))
	require.False(t, g.note(now.Add(5*time.Minute+10*time.Second), 1, 0), "what was refused is beyond the window")
	require.False(t, g.note(now.Add(-time.Hour), 1, 0), "a clock that went back")

	g.set(0.01, time.Minute)
	require.True(t, g.note(now.Add(6*time.Minute), 50, 1))
	g.set(1, time.Minute)
	require.False(t, g.note(now.Add(6*time.Minute), 0, 5000), "1 never holds")
}

func TestVerdictsOfItems(t *testing.T) {
	for _, test := range []struct {
		status       int
		kind, reason string
		want         verdict
	}{
		{201, "", "", stored},
		{200, "", "", stored},
		{201, "x", "y", retry},
		{409, "version_conflict_engine_exception", "", conflict},
		{409, "resource_already_exists_exception", "", retry},
		{0, "", "", retry},
		{404, "index_not_found_exception", "", hold},
		{400, "illegal_argument_exception", "no write index is defined for alias [x]", hold},
		{400, "illegal_argument_exception", "pipeline with id [x] does not exist", hold},
		{400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded", refused},
		{400, "document_parsing_exception", "Field [_id] is a metadata field", refused},
		{400, "validation_exception", "id is too long", refused},
		{413, "", "", refused},
		{502, "", "", retry},
	} {
		it := item{status: test.status, kind: test.kind, reason: test.reason}
		require.Equal(t, test.want, it.verdict(), fmt.Sprint(test))
	}
}
