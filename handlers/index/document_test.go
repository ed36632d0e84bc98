package index

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

var rewrite = flag.Bool("update", false, "write testdata anew")

// appendBulk appends the two lines of one record as a worker does.
func appendBulk(dst []byte, d *document, id *identifier, r *logs.Record, parse string) []byte {
	d.read(r, parse)
	dst = append(append(append(dst, actionHead...), "web_log"...), actionID...)
	dst = append(id.append(dst, r, d.place), actionTail...)
	return append(d.append(dst), '\n')
}

func recordOf(origin, line string) *logs.Record {
	r := &makePoll(line).Records[0]
	switch origin {
	case "foreign":
		r.Meta = logs.Meta{}
	case "split":
		r.Meta.Part, r.Meta.Flags = []byte("2"), []byte("split")
	}
	return r
}

// TestDocuments compares with exact bytes.
func TestDocuments(t *testing.T) {
	const file = "testdata/documents.txt"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	blocks := strings.Split(strings.TrimSpace(string(text)), "\n\n")
	var (
		d  document
		id identifier
	)
	for i, block := range blocks {
		lines := strings.SplitN(block, "\n", 3)
		if !strings.HasPrefix(block, "#") {
			continue
		}
		fields := strings.SplitN(lines[1], " ", 3)
		line, err := strconv.Unquote(fields[2])
		require.NoError(t, err, lines[1])
		got := strings.TrimSuffix(string(appendBulk(nil, &d, &id, recordOf(fields[1], line), fields[0])), "\n")
		_, err = parseBody([]byte(got + "\n"))
		require.NoError(t, err, lines[0])
		if *rewrite {
			blocks[i] = lines[0] + "\n" + lines[1] + "\n" + got
			continue
		}
		require.Len(t, lines, 3, lines[0])
		require.Equal(t, lines[2], got, lines[0])
	}
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o644))
	}
}

func TestDocumentBeyondLimits(t *testing.T) {
	var d document
	for _, line := range []string{
		nested(`{"a":`, "1", "}", 21),
		`{"a":` + strings.Repeat("[", 100),
		`{"a":"` + strings.Repeat("x", maxObjectSize) + `"}`,
	} {
		d.read(recordOf("ours", line), "auto")
		var got struct {
			Message string
			Tags    []string
		}
		require.NoError(t, json.Unmarshal(d.append(nil), &got))
		require.Equal(t, line, got.Message)
		require.Equal(t, []string{"logferry.limits"}, got.Tags)
	}
}

// TestDocumentsShareNothing reads records in turn that differ in one part.
func TestDocumentsShareNothing(t *testing.T) {
	change := []func(*logs.Record){
		func(*logs.Record) {},
		func(r *logs.Record) { r.Topic = "other" },
		func(r *logs.Record) { r.Meta.Node = []byte("web-2") },
		func(r *logs.Record) { r.Meta.Path = []byte("/other") },
		func(r *logs.Record) { r.Meta.Path = nil },
		func(r *logs.Record) { r.Meta.File = []byte("other") },
		func(r *logs.Record) { r.Meta.Flags = []byte("truncated") },
		func(r *logs.Record) { r.Meta.Pos = []byte("77") },
		func(r *logs.Record) { r.Meta.Pos = []byte("x") },
		func(r *logs.Record) { r.Meta = logs.Meta{} },
		func(r *logs.Record) { r.Time = r.Time.Add(time.Second) },
		func(r *logs.Record) { r.Time = r.Time.Add(time.Microsecond) },
		func(r *logs.Record) { r.Value = []byte(`{"a":"b"}`) },
	}
	var (
		d  document
		id identifier
	)
	for _, first := range change {
		for _, second := range change {
			a, b := recordOf("ours", "x"), recordOf("ours", "x")
			first(a)
			second(b)
			appendBulk(nil, &d, &id, a, "auto")
			got := appendBulk(nil, &d, &id, b, "auto")
			require.Equal(t, string(appendBulk(nil, new(document), new(identifier), b, "auto")), string(got))
		}
	}
}

// checkDocument checks what must hold whatever the line is.
func checkDocument(t *testing.T, line []byte, origin, parse string) {
	var d document
	r := recordOf(origin, string(line))
	body := appendBulk(nil, &d, new(identifier), r, parse)
	require.Equal(t, 2, bytes.Count(body, []byte{'\n'}), "%q", body)
	require.True(t, utf8.Valid(body))
	docs, err := parseBody(body)
	require.NoError(t, err)
	require.Len(t, docs, 1)
	require.Len(t, docs[0].ID, idLength)

	source := []byte(docs[0].Source)
	require.NotEqual(t, notObject, scanned(source))
	fields := flat(t, source)
	require.Equal(t, []string{`"web_log"`}, fields["logferry.topic"])
	stamps := fields["@timestamp"]
	require.NotEmpty(t, stamps)
	if stamp, _, ok := parseTime([]byte(stamps[0])); true {
		require.True(t, ok, stamps[0])
		require.WithinDuration(t, d.at, stamp, 0)
	}
	if origin != "foreign" {
		require.Equal(t, []string{`"/var/log/app.log"`}, fields["log.file.path"])
		require.Equal(t, []string{"0"}, fields["log.offset"])
		require.Equal(t, []string{`"web-1"`}, fields["logferry.node"])
		for _, object := range []string{"log", "log.file"} {
			require.Empty(t, fields[object], "conflicts with the fields below it")
		}
	} else {
		require.Empty(t, fields["logferry.node"])
	}
	if !d.object {
		want := strings.ToValidUTF8(strings.TrimSuffix(string(line), "\r"), "")
		require.Equal(t, want, strings.ReplaceAll(docs[0].message(), "\uFFFD", ""))
	}
}

// flat lists the leaves of an object as Elasticsearch maps them: nested and
// dotted names are the same, and arrays of objects are seen through.
func flat(t *testing.T, object []byte) map[string][]string {
	fields := map[string][]string{}
	var walk func(prefix string, b []byte)
	walk = func(prefix string, b []byte) {
		for m := firstMember(b); m.ok; m = nextMember(b, m) {
			path, value := prefix+string(m.path(b)), m.value.of(b)
			require.True(t, json.Valid(value), "%q", value)
			switch value[0] {
			case '{':
				walk(path+".", value)
			case 'n':
			default:
				fields[path] = append(fields[path], string(value))
			}
		}
	}
	walk("", object)
	return fields
}

func TestDocumentsHold(t *testing.T) {
	lines := append([]string{}, oddJSON...)
	lines = append(lines,
		`{"log":{"file":{"path":{"x":1}}}}`, `{"log":[{"offset":1}],"log.file":[1]}`, `{"log":{"file.path":1,"offset":{"a":2}}}`,
		`{"log.file":{"path":1}}`, `{"log.file":1,"log":{"file":2}}`, `{"log":{"flags":1},"log.flags.x":1}`,
		`{"logferry":{"node":1}}`, `{"logferry.node":1,"logferry.topic":[2],"logferry":null}`, "{\"logferry\"\n:\n1\n}",
		`{"@timestamp":[]}`, `{"@timestamp":"x","@timestamp":"y"}`, `{"\u0040timestamp":1}`, `{"log":"`+"\xff"+`"}`,
	)
	for _, line := range lines {
		for _, origin := range []string{"ours", "foreign", "split"} {
			for _, parse := range []string{"auto", "json", "text"} {
				checkDocument(t, []byte(line), origin, parse)
			}
		}
	}
}

func FuzzDocument(f *testing.F) {
	for _, line := range oddJSON {
		f.Add([]byte(line), false)
		f.Add([]byte(line), true)
	}
	f.Add([]byte(`{"log":{"file":"x"},"@timestamp":"2026-01-01","host":{"name":1}}`), false)
	f.Fuzz(func(t *testing.T, line []byte, foreign bool) {
		origin := "ours"
		if foreign {
			origin = "foreign"
		}
		checkDocument(t, line, origin, "auto")
	})
}

func TestParseTime(t *testing.T) {
	for value, want := range map[string]string{
		`"2026-01-02T03:04:05Z"`:                "2026-01-02T03:04:05.000Z native",
		`"2026-01-02T03:04:05.123456789Z"`:      "2026-01-02T03:04:05.123456789Z native",
		`"2026-01-02T03:04:05.1234567891Z"`:     "2026-01-02T03:04:05.123456789Z",
		`"2026-01-02T03:04:05,5+01:00"`:         "2026-01-02T02:04:05.500Z native",
		`"2026-01-02T03:04:05-0830"`:            "2026-01-02T11:34:05.000Z native",
		`"2026-01-02T03:04:05+01"`:              "2026-01-02T02:04:05.000Z native",
		`"2026-01-02T03:04"`:                    "2026-01-02T03:04:00.000Z native",
		`"2026-01-02"`:                          "2026-01-02T00:00:00.000Z native",
		`"2024-02-29"`:                          "2024-02-29T00:00:00.000Z native",
		`"2026-02-29"`:                          "",
		`"2026-13-01"`:                          "",
		`"2026-01-02T24:00:00Z"`:                "",
		`"2026-01-02 03:04:05"`:                 "2026-01-02T03:04:05.000Z",
		`"2026-01-02 03:04:05,678"`:             "2026-01-02T03:04:05.678Z",
		`"2026-01-02 03:04:05.678 +0100"`:       "2026-01-02T02:04:05.678Z",
		`"2026-01-02 03:04:05 +0000 UTC"`:       "2026-01-02T03:04:05.000Z",
		`"2026/01/02 03:04:05"`:                 "2026-01-02T03:04:05.000Z",
		`"02/Jan/2026:03:04:05 +0100"`:          "2026-01-02T02:04:05.000Z",
		`"Fri, 02 Jan 2026 03:04:05 GMT"`:       "2026-01-02T03:04:05.000Z",
		`"Fri, 02 Jan 2026 03:04:05 +0100"`:     "2026-01-02T02:04:05.000Z",
		`"Fri Jan  2 03:04:05 2026"`:            "2026-01-02T03:04:05.000Z",
		`1767323045`:                            "2026-01-02T03:04:05.000Z",
		`1767323045.25`:                         "2026-01-02T03:04:05.250Z",
		`1767323045678`:                         "2026-01-02T03:04:05.678Z",
		`1767323045678901`:                      "2026-01-02T03:04:05.678901000Z",
		`1767323045678901234`:                   "2026-01-02T03:04:05.678901234Z",
		`"1767323045"`:                          "2026-01-02T03:04:05.000Z",
		`"123"`:                                 "",
		`123`:                                   "",
		`0`:                                     "",
		`-1767323045`:                           "",
		`1.7e9`:                                 "",
		`9223372036854775807`:                   "",
		`99999999999999999999`:                  "",
		`"1970-01-01T00:00:00Z"`:                "",
		`"9999-12-31T23:59:59Z"`:                "",
		`"1989-12-31T23:59:59Z"`:                "",
		`"2100-01-01T00:00:00Z"`:                "",
		`"Jan  2 03:04:05"`:                     "",
		`""`:                                    "",
		`"yesterday"`:                           "",
		`null`:                                  "",
		`true`:                                  "",
		`{}`:                                    "",
		`["2026-01-02"]`:                        "",
		`"2026-01-02T03:04:05\u005a"`:           "",
		`"` + strings.Repeat("2", 1000) + `"`:   "",
		`"2026-01-02T03:04:05 Europe/Helsinki"`: "",
	} {
		got := ""
		if at, native, ok := parseTime([]byte(value)); ok {
			got = strings.Trim(string(new(clock).append(nil, at)), `"`)
			if native {
				got += " native"
			}
		}
		require.Equal(t, want, got, value)
	}
}

func TestIDs(t *testing.T) {
	var id identifier
	seen := map[string]string{}
	last := ""
	for _, position := range []string{"0", "1", "9", "10", "255", "256", "65536", "281474976710655"} {
		for _, part := range []string{"", "1", "2", "300", "70000"} {
			r := recordOf("ours", "line")
			r.Meta.Pos, r.Meta.Part = []byte(position), []byte(part)
			got := string(id.append(nil, r, placeOf(r)))
			require.Len(t, got, 32)
			require.Regexp(t, `^[-0-9A-Z_a-z]+$`, got)
			require.Greater(t, got, last, "ids grow with position and part")
			require.Empty(t, seen[got])
			last, seen[got] = got, position
		}
	}
	base := recordOf("ours", "line")
	want := string(new(identifier).append(nil, base, placeOf(base)))
	for name, change := range map[string]func(*logs.Record){
		"node": func(r *logs.Record) { r.Meta.Node = []byte("web-2") },
		"file": func(r *logs.Record) { r.Meta.File = []byte("8:1f:2") },
		"line": func(r *logs.Record) { r.Value = []byte("lime") },
		"pos":  func(r *logs.Record) { r.Meta.Pos = []byte("1") },
		"none": func(r *logs.Record) { r.Meta = logs.Meta{} },
		"long": func(r *logs.Record) { r.Meta.Pos = []byte("999999999999999999999999") },
		"part": func(r *logs.Record) { r.Meta.Part = []byte("-1") },
	} {
		r := recordOf("ours", "line")
		change(r)
		require.NotEqual(t, want, string(id.append(nil, r, placeOf(r))), name)
	}
	same := recordOf("ours", "line")
	same.Topic, same.Partition, same.Offset, same.Meta.Path, same.Time = "x", 9, 9, []byte("/renamed"), time.Now()
	require.Equal(t, want, string(id.append(nil, same, placeOf(same))), "a repeat has the id of the first")

	offsets := ""
	for offset := range int64(300) {
		r := recordOf("foreign", "line")
		r.Offset = offset
		got := string(id.append(nil, r, placeOf(r)))
		require.Greater(t, got, offsets)
		offsets = got
	}
	foreign := func(topic string, partition int32) string {
		r := recordOf("foreign", "line")
		r.Topic, r.Partition = topic, partition
		return string(id.append(nil, r, placeOf(r)))
	}
	require.NotEqual(t, foreign("a", 1), foreign("b", 1))
	require.NotEqual(t, foreign("a", 1), foreign("a", 2))
	require.NotEqual(t, foreign("a1", 1), foreign("a", 11))
}

func TestIDIsFixed(t *testing.T) {
	r := recordOf("ours", "line")
	require.Equal(t, "0IPt-zfuzto-----------02J0AifYlA", string(new(identifier).append(nil, r, placeOf(r))),
		"documents of another version would be stored twice")
}
