package index

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"github.com/valyala/fastjson"
)

var oddJSON = []string{
	`{}`, ` { } `, `{"a":1}`, "\t{\"a\" :\n1 , \"b\":[ ] }\r\n", `{"a":{"b":{"c":[1,2,{"d":null}]}}}`,
	`{"time":"123","code":"200","msg":"ok"}`, `{"a":-0.5e+10,"b":0,"c":1E9,"d":true,"e":false}`,
	`{"\u0061\n":"\ud83d\ude00 \ud800 \"\\\/\b\f\n\r\t"}`, `{"ключ":"значение","日本":"語"}`, "{\"a\":\"\x7f\"}",
	`{"a":1,"a":2}`, `{"":1}`, `{"a":12345678901234567890123456789.000000000000000001}`,
	`{"a":"` + strings.Repeat("x", 1000) + `"}`, `{"a":[[[[[[[[[[]]]]]]]]]]}`,

	``, ` `, `x`, `null`, `1`, `"a"`, `[]`, `[{}]`, `{`, `}`, `{}}`, `{} {}`, `{}x`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`,
	`{"a":1 "b":2}`, `{a:1}`, `{'a':1}`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":-}`, `{"a":+1}`, `{"a":1e}`, `{"a":1e+}`,
	`{"a":0x1}`, `{"a":NaN}`, `{"a":Infinity}`, `{"a":tru}`, `{"a":trueish}`, `{"a":nul}`, `{"a":fals`, `{"a":"`, `{"a":"\`,
	`{"a":"\x41"}`, `{"a":"\u12g4"}`, `{"a":"\u12"}`, "{\"a\":\"\x01\"}", "{\"a\":\"line\nbreak\"}", "{\"a\":\"tab\there\"}",
	"{\"a\x00\":1}", "\ufeff{}", "\v{}", `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[1}`, `{"a":{"b":1]}`, `{"a":1]`,
	`{"a":1}//c`, `/*c*/{}`, `{"a":"b"`, `{"a":[`, `{"a" 1}`, `{"a"::1}`, `{"a":1,,"b":2}`, `{"a":--1}`, `{"a":1-}`,
}

func scanned(line []byte) scanResult {
	var s shape
	return s.scan(line, maxDepth, maxKeys)
}

// agrees compares scan with encoding/json, which knows no limits.
func agrees(t *testing.T, line []byte) {
	got := scanned(line)
	if got == beyondLimits {
		return
	}
	first := bytes.TrimLeft(line, " \t\r\n")
	want := json.Valid(line) && first[0] == '{'
	require.Equal(t, want, got == isObject, "%q", line)
}

func TestScanAgrees(t *testing.T) {
	for _, line := range oddJSON {
		agrees(t, []byte(line))
		require.NotEqual(t, beyondLimits, scanned([]byte(line)), "%q", line)
		for cut := range len(line) {
			agrees(t, []byte(line[:cut]))
			agrees(t, append([]byte(line[:cut]), line[cut+1:]...))
			agrees(t, []byte(line[:cut]+"\\"+line[cut:]))
			agrees(t, []byte(line[:cut]+"\""+line[cut:]))
			agrees(t, []byte(line[:cut]+"\n"+line[cut:]))
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, line := range oddJSON {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) { agrees(t, line) })
}

func nested(open, inner, shut string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(shut, n)
}

func TestScanLimits(t *testing.T) {
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":%d`, i, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	dotted := func(dots int) string { return `{"a` + strings.Repeat(".a", dots) + `":1}` }
	for line, want := range map[string]scanResult{
		nested(`{"a":`, "1", "}", 20):                     isObject,
		nested(`{"a":`, "1", "}", 21):                     beyondLimits,
		`{"a":` + nested("[", "", "]", 19) + `}`:          isObject,
		`{"a":` + nested("[", "", "]", 20) + `}`:          beyondLimits,
		`{"a":` + strings.Repeat("[", 1_000_000):          beyondLimits,
		strings.Repeat(`{"a":`, 1_000_000):                beyondLimits,
		strings.Repeat(`[`, 1_000_000):                    notObject,
		keys(1000):                                        isObject,
		keys(1001):                                        beyondLimits,
		dotted(19):                                        isObject,
		dotted(20):                                        beyondLimits,
		nested(`{"a.b":`, dotted(1), "}", 18):             isObject,
		`{"` + strings.Repeat("long", 100) + `":{"a":1}}`: isObject,
	} {
		require.Equal(t, want, scanned([]byte(line)), "%.80s", line)
	}
}

// typicalJSON is a line of 180 bytes.
const typicalJSON = `{"time":"2026-01-02T03:04:05.678Z","level":"info","code":200,"method":"GET","path":"/api/v1/items/123456","ms":12.5,"ua":"Mozilla/5.0 (X11; Linux x86_64)","msg":"request served well"}`

func BenchmarkScan(b *testing.B) {
	line := []byte(typicalJSON)
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		var s shape
		for b.Loop() {
			if s.scan(line, maxDepth, maxKeys) != isObject {
				b.Fatal()
			}
		}
	})
	b.Run("gjson", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			if !gjson.ValidBytes(line) {
				b.Fatal()
			}
		}
	})
	b.Run("fastjson", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			if fastjson.ValidateBytes(line) != nil {
				b.Fatal()
			}
		}
	})
	b.Run("encoding", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			if !json.Valid(line) {
				b.Fatal()
			}
		}
	})
}
