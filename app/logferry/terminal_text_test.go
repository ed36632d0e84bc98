package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

// evil are texts that a terminal might obey.
var evil = []string{
	"\x1b]0;title\x07", "\x1b[2J", "\r overwritten", "two\nlines", "\u202e reversed", "\u009b31m", "\x9b31m", "\x7f", "\x00",
	"\ufeff", "\u200b", "\u2028", "\xff\xfe", "\U000e0001", "a\tb", "\u0085",
}

func TestNothingSteersATerminal(t *testing.T) {
	for _, text := range evil {
		safe := printable([]byte("a" + text + "z"))
		require.True(t, strings.HasPrefix(safe, "a") && strings.HasSuffix(safe, "z"), "%q", safe)
		for _, r := range safe {
			require.True(t, unicode.IsPrint(r), "%q holds %q", safe, r)
		}
		var out bytes.Buffer
		require.NoError(t, printJSON(&out, map[string]string{"value": text}))
		for _, r := range strings.TrimSuffix(out.String(), "\n") {
			require.True(t, unicode.IsPrint(r), "%q holds %q", out.String(), r)
		}
		var back map[string]string
		require.NoError(t, json.Unmarshal(out.Bytes(), &back))
		require.Equal(t, strings.ToValidUTF8(text, "\ufffd"), strings.ReplaceAll(back["value"], "\ufffd\ufffd", "\ufffd"))
	}
	require.Equal(t, `größe 日本 "quoted" {"a":1}`, printable([]byte(`größe 日本 "quoted" {"a":1}`)))
	require.Equal(t, `\x1b[2J\n\u202e\xff\U000e0001`, printable([]byte("\x1b[2J\n\u202e\xff\U000e0001")))
}

func TestClipped(t *testing.T) {
	require.Equal(t, "short", clipped([]byte("short"), 5))
	require.Equal(t, "long…", clipped([]byte("longer"), 5))
	require.Equal(t, "ünü…", clipped([]byte("ünümüz"), 4))
	require.Equal(t, "日本…", clipped([]byte("日本語です"), 3))
	require.Len(t, []rune(clipped(bytes.Repeat([]byte("x"), 1<<20), 40)), 40)
}

func TestTimes(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"2026-03-01T10:00:00Z":      time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		"2026-03-01T10:00:00+01:00": time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
		"2026-03-01":                time.Date(2026, 3, 1, 0, 0, 0, 0, zone),
		"2026-03-01 08:30":          time.Date(2026, 3, 1, 8, 30, 0, 0, zone),
		"2026-03-01T08:30:15":       time.Date(2026, 3, 1, 8, 30, 15, 0, zone),
		"now":                       now,
		"now-2h":                    now.Add(-2 * time.Hour),
		"90m":                       now.Add(-90 * time.Minute),
		"7d":                        now.Add(-7 * 24 * time.Hour),
		"now-1d12h":                 now.Add(-36 * time.Hour),
	} {
		got, err := parseTime(text, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%s is %s", text, got)
	}
	for _, text := range []string{"", "yesterday", "now+2h", "-2h", "now--2h", "2026-13-01", "d", "-1d", "5", "99999999d"} {
		_, err := parseTime(text, now)
		require.ErrorContains(t, err, "is no time", text)
	}
}
