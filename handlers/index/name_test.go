package index

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

func TestNames(t *testing.T) {
	at := time.Date(2026, 1, 2, 23, 59, 59, 0, time.FixedZone("", -3600)) // the next day in UTC
	for _, test := range []struct{ template, topic, node, want string }{
		{"web_log", "t", "n", "web_log"},
		{"Web_Log", "t", "n", "web_log"},
		{"{topic}", "Web.Log-1", "n", "web.log-1"},
		{"{topic}", "__consumer_offsets", "n", "consumer_offsets"},
		{"{topic}", ".security", "n", "security"},
		{"logs-{topic}", ".security", "n", "logs-.security"},
		{"{topic}", "a/../_bulk?x=*,<>|\" #:\\é", "n", "a_..__bulk_x_____________"},
		{"{topic}-{node}", "t", "Web 1", "t-web_1"},
		{"logs-{+2006.01.02}", "t", "n", "logs-2026.01.03"},
		{"logs-{topic}-{+2006.01}", "t", "n", "logs-t-2026.01"},
		{"{+2006}-logs", "t", "n", "2026-logs"},
		{"{topic}", strings.Repeat("x", 300), "n", strings.Repeat("x", 255)},
		{"{topic}", "___", "n", ""},
		{"{node}", "t", "", ""},
	} {
		n, err := newNamer(test.template, nil)
		require.NoError(t, err, test.template)
		r := &logs.Record{Topic: test.topic, Meta: logs.Meta{Node: []byte(test.node)}, Time: at}
		for range 2 { // the second time from memory
			got, err := n.name(r, at)
			if test.want != "" {
				require.NoError(t, err)
				require.Equal(t, test.want, string(got))
				continue
			}
			var refusal *logs.Refusal
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, "invalid_index_name", refusal.Type)
		}
	}
}

func TestNamesRefuseTemplates(t *testing.T) {
	for template, text := range map[string]string{
		"":                       "is empty",
		".security":              `begins with '.'`,
		"_all":                   `begins with '_'`,
		"a*":                     `holds '*'`,
		"a/b":                    `holds '/'`,
		"a b-{topic}":            `holds ' '`,
		"{host}":                 "unknown field {host}",
		"{+}":                    "unknown field",
		"{topic}{+2006}-{+01}":   "two dates",
		"other":                  "allowed_indices does not list",
		strings.Repeat("x", 256): "longer than 255",
	} {
		_, err := newNamer(template, []string{"web*"})
		require.ErrorContains(t, err, text, template)
	}
}

func TestNamesAreClamped(t *testing.T) {
	n, err := newNamer("l-{+2006.01.02}", nil)
	require.NoError(t, err)
	read := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]string{
		read:                       "l-2026.06.15",
		read.AddDate(0, -1, 0):     "l-2026.05.15",
		read.Add(-oldestDay):       "l-2023.06.13",
		read.Add(-oldestDay - 1):   "l-2026.06.15",
		read.Add(24 * time.Hour):   "l-2026.06.16",
		read.Add(24*time.Hour + 1): "l-2026.06.15",
		time.Unix(0, 0):            "l-2026.06.15",
		time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC): "l-2026.06.15",
	} {
		got, err := n.name(&logs.Record{Time: read}, at)
		require.NoError(t, err)
		require.Equal(t, want, string(got), at)
	}
}

func TestNamesFollowTheRecord(t *testing.T) {
	n, err := newNamer("{topic}-{node}-{+2006.01.02-15.04}", []string{"a-*", "b-1-????.*"})
	require.NoError(t, err)
	at := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	name := func(topic, node string, at time.Time) string {
		got, err := n.name(&logs.Record{Topic: topic, Meta: logs.Meta{Node: []byte(node)}, Time: at}, at)
		var refusal *logs.Refusal
		if errors.As(err, &refusal) {
			require.Equal(t, "index_not_allowed", refusal.Type)
			return "refused " + refusal.Index
		}
		return string(got)
	}
	for range 2 {
		require.Equal(t, "a-1-2026.06.15-12.00", name("a", "1", at))
		require.Equal(t, "a-1-2026.06.15-12.01", name("a", "1", at.Add(time.Minute)))
		require.Equal(t, "a-2-2026.06.15-12.01", name("a", "2", at.Add(time.Minute)))
		require.Equal(t, "b-1-2026.06.15-12.01", name("b", "1", at.Add(time.Minute)))
		require.Equal(t, "refused b-2-2026.06.15-12.01", name("b", "2", at.Add(time.Minute)))
	}
}
