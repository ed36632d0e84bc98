package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func liveBase(t testing.TB) *Config {
	base, err := Parse("base", []byte("etcd: {}\nagent: {allowed_paths: [/]}"))
	require.NoError(t, err)
	return base
}

func settings(t testing.TB, list ...string) []Setting {
	var all []Setting
	for _, text := range list {
		s, err := ParseSetting(text)
		require.NoError(t, err)
		all = append(all, s)
	}
	return all
}

// tuned lists documents before and after: each - line goes, each + line comes.
var tuned = []struct {
	name, kind, set, doc string
}{
	{"a value in a line", "route", "throttle.lines_per_second=5000", `
 # The routes.
 routes:
   - name: web   # nginx
-    throttle: {lines_per_second: 100, burst: 7}   # slow
+    throttle: {lines_per_second: 5000, burst: 7}   # slow
     topics:   [ web_log ]
     index: "web"
   - {name: other, topics: [other], index: other, throttle: {lines_per_second: 100}}
`},
	{"a value on its own line", "route", "batch.max_wait=1s", `
 routes:
   - topics: [web_log]
     batch:
       max_docs: 10
-      max_wait: '200ms' # a fifth
+      max_wait: 1s # a fifth
       in_flight: 2
     index: web
     name: web
`},
	{"a key that is not there", "route", "retry.max_backoff=10s", `
 routes:
 - name: web
   retry:
     # Why.
     min_backoff: 1s
+    max_backoff: 10s

   topics: [web_log]
   index: web
`},
	{"a key in a line", "input", "throttle.by=path", `
 inputs:
-  - {name: web, paths: [/a], topic: web, throttle: {lines_per_second: 5 }}
+  - {name: web, paths: [/a], topic: web, throttle: {lines_per_second: 5, by: path }}
   - {name: b, paths: [/b], topic: web}
`},
	{"a section that is not there", "input", "retry.max_backoff=10s", `
 inputs:
   - name: web
     topic: web
     paths:
       - /var/log/a.log
       - /var/log/b.log
+    retry: {max_backoff: 10s}
   # The others.
   - name: others
     paths: [/c]
     topic: c
`},
	{"a section in a line that is not there", "input", "retry.max_backoff=10s", `
-inputs: [{name: web, topic: web, paths: [/a]}]
+inputs: [{name: web, topic: web, paths: [/a], retry: {max_backoff: 10s}}]
`},
	{"no newline at the end", "input", "retry.max_backoff=10s", `
 inputs:
   - name: web
     topic: web
-    paths: [/a]~
+    paths: [/a]
+    retry: {max_backoff: 10s}~
`},
	{"an empty section", "route", "throttle.burst=7", `
 routes:
   - name: web
-    throttle:
+    throttle: {burst: 7}
     topics: [web_log]
     index: web
`},
	{"an empty section in a line", "route", "throttle.burst=7", `
 routes:
-  - {name: web, throttle: {}, topics: [web_log], index: web}
+  - {name: web, throttle: {burst: 7}, topics: [web_log], index: web}
`},
	{"an empty value", "route", "throttle.burst=7", `
 routes:
   - name: web
     throttle:
-      burst:
+      burst: 7
       by: topic
     topics: [web_log]
     index: web
`},
	{"null", "route", "throttle.burst=7", `
 routes:
-  - {name: web, throttle: ~, topics: [web_log], index: web}
+  - {name: web, throttle: {burst: 7}, topics: [web_log], index: web}
`},
	{"a document with no other end than a block", "input", "throttle.burst=7", `
 inputs:
   - name: web
     paths: [/a]
+    throttle: {burst: 7}
     topic: >-
       web
`},
	{"JSON in a line", "route", "batch.max_wait=1s", `
-{"routes":[{"name":"web","topics":["web_log"],"index":"web"}]}~
+{"routes":[{"name":"web","topics":["web_log"],"index":"web", "batch": {"max_wait": "1s"}}]}~
`},
	{"JSON on lines", "route", "throttle.lines_per_second=5000", `
 {
   "routes": [
     {
       "name": "web",
       "topics": ["web_log"],
-      "index": "web"
+      "index": "web",
+      "throttle": {"lines_per_second": 5000}
     }
   ]
 }
`},
	{"JSON with a value", "route", "poison.topic=null", `
-{"routes": [{"name": "web", "poison": {"topic": "a\"\\", "max_ratio": 0.1}, "topics": ["web_log"], "index": "web"}]}
+{"routes": [{"name": "web", "poison": {"topic": "null", "max_ratio": 0.1}, "topics": ["web_log"], "index": "web"}]}
`},
	{"characters of several bytes", "route", "throttle.lines_per_second=5000", `
 # Schöne Wörter, 日本語
 routes:
-  - {"name": "web", "index": "wörter-日本", throttle: {lines_per_second: 1}, topics: [web_log]} # ü
+  - {"name": "web", "index": "wörter-日本", throttle: {lines_per_second: 5000}, topics: [web_log]} # ü
`},
	{"the default again", "route", "throttle.lines_per_second=", `
 routes:
   - name: web
     throttle:
-      lines_per_second: 5 # slow
       burst: 7
     topics: [web_log]
     index: web
`},
	{"the default again, in a line", "route", "throttle.lines_per_second=", `
 routes:
-  - {name: web, throttle: {lines_per_second: 5, burst: 7}, topics: [web_log], index: web}
+  - {name: web, throttle: {burst: 7}, topics: [web_log], index: web}
`},
	{"the default again, the last in a line", "route", "throttle.burst=", `
 routes:
-  - {name: web, throttle: {lines_per_second: 5, burst: 7 }, topics: [web_log], index: web}
+  - {name: web, throttle: {lines_per_second: 5 }, topics: [web_log], index: web}
`},
	{"the last value of a section", "route", "throttle.burst=", `
 routes:
   - name: web
     topics: [web_log]
-    throttle:
-      burst: 7
     index: web
`},
	{"the last value of the first section", "route", "throttle.burst=", `
 routes:
-  - throttle: {burst: 7}
-    name: web
+  - name: web
     topics: [web_log]
     index: web
`},
	{"what is not there", "route", "throttle.burst=", `
 routes:
   - {name: web, throttle: {by: topic}, topics: [web_log], index: web}
`},
}

// sides are the document before and after; ~ at a line's end is no newline.
func sides(doc string) (before, after string) {
	for line := range strings.Lines(strings.TrimPrefix(doc, "\n")) {
		rest := strings.ReplaceAll(line[1:], "~\n", "")
		if line[0] != '+' {
			before += rest
		}
		if line[0] != '-' {
			after += rest
		}
	}
	return before, after
}

func TestTuneChangesOneValueAndNoOtherByte(t *testing.T) {
	base := liveBase(t)
	for _, c := range tuned {
		for _, end := range []string{"\n", "\r\n"} {
			t.Run(fmt.Sprintf("%s %q", c.name, end), func(t *testing.T) {
				before, after := sides(c.doc)
				before, after = strings.ReplaceAll(before, "\n", end), strings.ReplaceAll(after, "\n", end)
				before = strings.ReplaceAll(before, `a\"\\`, "a.b")
				document := map[string]string{"input": "agent", "route": "transfer"}[c.kind]
				got, err := Tune(base, document, document, []byte(before), c.kind, "web", settings(t, c.set))
				require.NoError(t, err)
				require.Equal(t, after, string(got))
			})
		}
	}
}

func TestTuneSeveralAtOnce(t *testing.T) {
	before := "routes:\n  - {name: web, topics: [a], index: a}\n"
	got, err := Tune(liveBase(t), "transfer", "transfer", []byte(before), "route", "web",
		settings(t, "retry.min_backoff=40s", "retry.max_backoff=50s", "throttle.by=topic"))
	require.NoError(t, err)
	require.Equal(t, "routes:\n  - {name: web, topics: [a], index: a, retry: {min_backoff: 40s, max_backoff: 50s}, throttle: {by: topic}}\n", string(got))
}

func TestTuneSaysWhatIsWrong(t *testing.T) {
	base := liveBase(t)
	const routes = "routes:\n  - {name: web, topics: [a], index: a, throttle: &slow {burst: 5}}\n  - {name: b, topics: [b], index: b, throttle: *slow}\n"
	const plain = "routes:\n  - {name: web, topics: [a], index: a}\n"
	const inputs = "inputs: [{name: web, paths: [/a], topic: a}]\n"
	for set, want := range map[string]string{
		"throttle.lines_per_secnd=5":   "throttle.lines_per_secnd: unknown key; did you mean throttle.lines_per_second?",
		"lines_per_second=5":           "lines_per_second: unknown key; did you mean throttle.lines_per_second?",
		"throttle.speed=5":             "throttle.speed: unknown key; throttle has lines_per_second, bytes_per_second, burst, by",
		"index=5":                      "index: cannot be tuned; what can is in throttle, retry, breaker, poison, batch, and the rest is changed with 'logferry config edit'",
		"throttle.lines_per_second=x":  `throttle.lines_per_second: "x" is not a number`,
		"throttle.lines_per_second=-1": "throttle.lines_per_second: -1 is out of range: min is 0",
		"throttle.burst=1.5":           `throttle.burst: "1.5" is not a whole number`,
		"throttle.bytes_per_second=1x": `throttle.bytes_per_second: "1x" is not a size; write bytes or a unit such as 64KiB`,
		"retry.max_backoff=10":         `retry.max_backoff: "10" is not a duration; write a number with a unit such as 200ms, 5s or 1h`,
		"throttle.by=node":             `throttle.by: "node" is none of all, path, topic, partition`,
		"poison.topic=a b":             `poison.topic: "a b" is not a topic name; use at most 249 letters, digits, '.', '_' and '-'`,
		"retry.max_backoff=1ms":        "transfer:2: routes[0].retry.min_backoff: 100ms is more than max_backoff, 1ms",
	} {
		_, err := Tune(base, "transfer", "transfer", []byte(plain), "route", "web", settings(t, set))
		require.EqualError(t, err, want, set)
	}
	_, err := Tune(base, "transfer", "transfer", []byte(routes), "route", "web", settings(t, "throttle.burst=7"))
	require.ErrorContains(t, err, "an anchor may be shared with others; use 'logferry config edit transfer'")
	_, err = Tune(base, "transfer", "transfer", []byte(routes), "route", "web", settings(t, "throttle.by=topic"))
	require.EqualError(t, err, `transfer: throttle.by of route "web" cannot be changed in place, as it is written; use 'logferry config edit transfer'`)
	_, err = Tune(base, "transfer", "transfer", []byte(routes), "route", "b", settings(t, "throttle.burst=7"))
	require.ErrorContains(t, err, "cannot be changed in place")
	_, err = Tune(base, "agent", "agent", []byte(inputs), "input", "web", settings(t, "breaker.failures=7"))
	require.EqualError(t, err, "breaker.failures: an input has no breaker; what can be tuned of it is in throttle and retry")
	_, err = Tune(base, "agent", "agent", []byte(inputs), "input", "web", settings(t, "throttle.burst=7", "throttle.burst=8"))
	require.EqualError(t, err, "throttle.burst: is given twice")
	_, err = Tune(base, "agent", "agent", []byte(inputs), "input", "web", settings(t, "throttle.by=partition"))
	require.EqualError(t, err, "agent:1: inputs[0].throttle.by: partition is for routes; of an input, write all, path or topic")
	_, err = Tune(base, "agent", "agent", []byte(inputs), "input", "other", settings(t, "throttle.burst=7"))
	require.ErrorIs(t, err, ErrNoEntry)
	_, err = ParseSetting("throttle.burst")
	require.ErrorContains(t, err, "KEY=VALUE")
	// One place stands for two routes.
	shared := strings.Replace(routes, "&slow {burst: 5}", "\n      &slow\n      burst: 5\n   ", 1)
	_, err = Tune(base, "transfer", "transfer", []byte(shared), "route", "web", settings(t, "throttle.burst=7"))
	require.Error(t, err)
}

func TestTunablesAreAllOfTheirSections(t *testing.T) {
	in, r := Default[Input](), Default[Route]()
	in.Throttle.LinesPerSecond = 7
	byKey := map[string]Tunable{}
	for _, one := range Tunables(&in) {
		byKey[one.Key] = one
	}
	require.Len(t, byKey, 9)
	require.Equal(t, "7", byKey["throttle.lines_per_second"].Value)
	require.Equal(t, "0", byKey["throttle.lines_per_second"].Default)
	require.Equal(t, "all | path | topic", byKey["throttle.by"].Expects)
	require.Len(t, Tunables(&r), 19)
}

// FuzzTune: whatever a document holds, an edit of it is right or refused.
func FuzzTune(f *testing.F) {
	for _, c := range tuned {
		before, _ := sides(c.doc)
		f.Add(before, c.kind == "input", c.set)
	}
	f.Add("\ufeffroutes: [{name: web, topics: [a], index: a}]", false, "throttle.burst=7")
	base := liveBase(f)
	f.Fuzz(func(t *testing.T, doc string, input bool, set string) {
		kind, document := "route", "transfer"
		if input {
			kind, document = "input", "agent"
		}
		s, err := ParseSetting(set)
		if err != nil {
			return
		}
		before, err := Entries(base, "doc", []byte(doc), kind)
		if err != nil {
			return
		}
		out, err := Tune(base, document, "doc", []byte(doc), kind, "web", []Setting{s})
		if err != nil {
			if before["web"] != nil {
				require.False(t, errors.Is(err, ErrNoEntry))
			}
			return
		}
		require.NoError(t, Apply(before["web"], []Setting{s}))
		after, err := Entries(base, "doc", out, kind)
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
}
