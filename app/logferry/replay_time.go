package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

var timeLayouts = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

const timeForms = "RFC 3339 (2026-03-01T12:00:00Z), a local date or time (2026-03-01, '2026-03-01 12:00'), now, now-2h, or how long ago (2h, 7d)"

// parseTime reads a point in time as people write it.
func parseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	if text == "now" {
		return now, nil
	}
	if ago, err := parseAgo(strings.TrimPrefix(text, "now-")); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; write %s", text, timeForms)
}

// parseAgo reads a duration as Go writes it, after a number of days if any.
func parseAgo(text string) (time.Duration, error) {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, err
	}
	ago := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return ago, nil
	}
	more, err := time.ParseDuration(rest)
	return ago + more, err
}

// timeFlag is a flag that holds a time.
type timeFlag struct {
	time.Time
	text string
}

func (f *timeFlag) String() string { return f.text }
func (f *timeFlag) Type() string   { return "T" }
func (f *timeFlag) Set(text string) (err error) {
	f.text = text
	f.Time, err = parseTime(text, time.Now())
	return err
}
