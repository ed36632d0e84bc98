package tail

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// Each of these is one event, and so is the line after it.
var traces = map[string][]string{
	"java": {
		"2026-01-02 ERROR it failed\njava.lang.IllegalStateException: no\n\tat a.b.C.d(C.java:1) ~[x.jar:1]\n\tat java.base/java.lang.Thread.run(Unknown Source)\n" +
			"\tSuppressed: java.io.IOException: x\n\t\tat a.B.c(B.java:3)\nCaused by: java.io.IOException\n\tat x.Y$1.z(Y.java:2)\n\t... 3 common frames omitted",
		"Exception in thread \"main\" java.lang.NullPointerException\n\tat a.b.C.main(C.java:1)",
		"WARN x\r\norg.hibernate.exception.ConstraintViolationException: could not execute statement\r\n\tat a.B.c(B.java:3)\r",
		"INFO com.example.Service started",
		"com.example.Service started",
	},
	"python": {
		"ERROR:root:it failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\n    ~^^\nKeyError: 'x'\n\n" +
			"During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\nmy.pkg.OddError: no\n" +
			"\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"a.py\", line 9\nKeyboardInterrupt",
		"INFO:root:Error: none",
		"ExceptionHandler started",
	},
	"go": {
		"panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x47]\n\n" +
			"goroutine 1 [running]:\nmain.(*T).do(...)\n\t/tmp/x.go:8\nmain.main()\n\t/tmp/x.go:4 +0x1d\n\ngoroutine 7 [select, 5 minutes]:\n" +
			"net/http.(*conn).serve(0xc00010, {0x7f, 0xc00})\n\t/usr/go/server.go:2 +0x2\ngithub.com/a/b.v2/c.F[...](0x1)\n\t/x.go:1\ncreated by net/http.(*Server).Serve in goroutine 1\n\t/usr/go/server.go:3 +0x4\nexit status 2",
		"2026/01/02 listening on (any)",
		`{"level":"info","msg":"a.b(c)"}`,
	},
}

func TestPresets(t *testing.T) {
	for preset, events := range traces {
		r := rulesOf(t, config.Input{Multiline: config.Multiline{Preset: preset}})
		got, _ := joinAll(t, r, []byte(strings.Join(events, "\n")), 1000, limits{maxLine: 10_000, maxLines: 100}, true)
		require.Equal(t, events, texts(got), preset)
	}
}

// Only a line's beginning is compared.
func TestMatchIsBounded(t *testing.T) {
	r := rulesOf(t, config.Input{Multiline: config.Multiline{Continue: "x$"}})
	require.True(t, r.multi.continues([]byte("ax\r")))
	require.False(t, r.multi.continues([]byte(strings.Repeat("y", maxMatch)+"x")))
}

// What a line begins with decides nothing that the expression would not.
func FuzzBegins(f *testing.F) {
	for _, re := range []string{`^$`, `^\s`, `^a|b`, `^(?:a|^b)`, `(?i)^k`, `^é|^[^a]`, `^.*x`, `(?m)^a`, `\b^a`, `^a*`, `^(a|)$`, `(^a)+`, `^$a`, `^\x{80}`, `[^a]^`, ``, `$`, `^(?s:.)`} {
		for _, line := range []string{"", "a", "b", "K", "\u212a", "é", "\xff", " x", "\na", "xa"} {
			f.Add(re, line)
		}
	}
	for _, re := range presets {
		f.Add(re, "Caused by: x")
	}
	f.Fuzz(func(t *testing.T, re, line string) {
		m, err := newMultiline(config.Multiline{Continue: re})
		if err != nil || re == "" || len(line) > maxMatch || strings.HasSuffix(line, "\r") {
			return
		}
		require.Equal(t, regexp.MustCompile(re).MatchString(line), m.continues([]byte(line)), "%q %q", re, line)
	})
}

func BenchmarkLines(b *testing.B) {
	var plain, traced, cri, docker strings.Builder
	filler := strings.Repeat("some words ", 14)
	for i := range 2500 {
		l := fmt.Sprintf("2026-01-02T03:04:05.678Z INFO %06d %s", i, filler)
		plain.WriteString(l + "\n")
		if i%5 > 0 {
			traced.WriteString("\tat com.example.Class.method(Class.java:123) " + filler + "\n")
		} else {
			traced.WriteString(l + "\n")
		}
		cri.WriteString("2026-01-02T03:04:05.678901234Z stdout F " + l + "\n")
		fmt.Fprintf(&docker, "{\"log\":\"%s\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.678901234Z\"}\n", l)
	}
	for _, c := range []struct {
		name string
		text string
		cfg  config.Input
	}{
		{"raw", plain.String(), config.Input{}},
		{"java/plain", plain.String(), config.Input{Multiline: config.Multiline{Preset: "java"}}},
		{"java/traces", traced.String(), config.Input{Multiline: config.Multiline{Preset: "java"}}},
		{"python/plain", plain.String(), config.Input{Multiline: config.Multiline{Preset: "python"}}},
		{"go/plain", plain.String(), config.Input{Multiline: config.Multiline{Preset: "go"}}},
		{"start/plain", plain.String(), config.Input{Multiline: config.Multiline{Start: `^\d{4}-`}}},
		{"start/traces", traced.String(), config.Input{Multiline: config.Multiline{Start: `^\d{4}-`}}},
		{"cri", cri.String(), config.Input{Format: "cri"}},
		{"docker", docker.String(), config.Input{Format: "docker"}},
		{"latin1", plain.String(), config.Input{Encoding: "latin1"}},
		{"gb18030", plain.String(), config.Input{Encoding: "gb18030"}},
		{"utf-16le", utf16le(plain.String()), config.Input{Encoding: "utf-16le"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := rulesOf(b, c.cfg)
			buf := &buffer{}
			data := []byte(c.text)
			lim := limits{maxLine: 1 << 20, maxLines: 4096}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				buf.lines = buf.lines[:0]
				if r == nil {
					buf.lines, _ = split(buf.lines, data, place{}, lim, false)
				} else {
					r.join(buf, data, place{}, lim, false, false)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2500, "ns/line")
		})
	}
}

func utf16le(s string) string {
	b := make([]byte, 0, 2*len(s))
	for i := range len(s) {
		b = append(b, s[i], 0)
	}
	return string(b)
}
