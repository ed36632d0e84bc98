package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

func testReporting(t *testing.T, parts func() (int, []PartReport, []seen)) *reporting {
	t.Helper()
	c, err := config.Parse("test", []byte("node: n\nlabels: {zone: z}\netcd: {}"))
	require.NoError(t, err)
	l, err := newLive(c, liveOptions{"agent", "", c.AgentKeys, nil, slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	r := &reporting{role: "agent", config: c, live: l, ready: func() error { return nil }, parts: parts}
	require.NotNil(t, newReporter(r))
	return r
}

func TestReportSumsUpItsParts(t *testing.T) {
	start := time.Now()
	lines := uint64(0)
	r := testReporting(t, func() (int, []PartReport, []seen) {
		return 7, []PartReport{
			{"b", Figures{Lines: lines, Lag: 10, Retries: 1, Breaker: "half-open", LastError: "older", LastErrorTime: start}},
			{"a", Figures{Lines: 2 * lines, Lag: 5, Poisoned: 3, Breaker: "closed", LastError: "newer", LastErrorTime: start.Add(time.Second)}},
		}, []seen{{"oldest", start.Add(-time.Hour)}}
	})
	r.report(start)
	lines = 10_000
	got := r.report(start.Add(10 * time.Second))
	require.Equal(t, 7, got.Files)
	require.Equal(t, "a", got.Parts[0].Name)
	require.InDelta(t, 2000, got.Parts[0].LinesPerSecond, 0.1)
	require.InDelta(t, 3000, got.LinesPerSecond, 0.1)
	require.Equal(t, int64(15), got.Lag)
	require.Equal(t, uint64(3), got.Poisoned)
	require.Equal(t, "half-open", got.Breaker, "the worst")
	require.Equal(t, "newer", got.LastError)
	require.Equal(t, []string{
		"/logferry/v1/agent", "/logferry/v1/agent/labels/zone=z", "/logferry/v1/agent/nodes/n", "/collect_log_conf",
		"/logferry/v1/canary/agent", "/logferry/v1/canary/agent/labels/zone=z",
	}, got.Keys)

	// A question soon after it does not spoil the rate.
	require.Equal(t, got.LinesPerSecond, r.report(start.Add(10*time.Second+time.Millisecond)).LinesPerSecond)

	r.ready = func() error { return errors.New("waiting for kafka") }
	var words Report
	require.NoError(t, json.Unmarshal(r.bytes(etcd.Current), &words))
	require.Equal(t, "waiting for kafka", words.Waiting)
	require.True(t, words.Said.IsZero())
	require.NoError(t, json.Unmarshal(r.bytes(etcd.Last), &words))
	require.False(t, words.Said.IsZero())
	require.True(t, words.Stopped.IsZero())
	require.NoError(t, json.Unmarshal(r.bytes(etcd.Stopped), &words))
	require.False(t, words.Stopped.IsZero())
}

// However much there is to say, a report fits, and names what is in trouble.
func TestReportFits(t *testing.T) {
	long := strings.Repeat("\x00ü", 5000)
	r := testReporting(t, func() (int, []PartReport, []seen) {
		var parts []PartReport
		for i := range 1000 {
			parts = append(parts, PartReport{fmt.Sprintf("input %04d", i), Figures{Lag: int64(i), Breaker: "closed"}})
		}
		parts[3].LastError, parts[4].Held = long, long
		return 0, parts, []seen{{long, time.Now()}}
	})
	r.live.set(LiveStatus{Error: long})
	data := r.bytes(etcd.Current)
	require.LessOrEqual(t, len(data), etcd.MaxReport)
	var report Report
	require.NoError(t, json.Unmarshal(data, &report))
	require.Equal(t, 1000, len(report.Parts)+report.MoreParts)
	require.Greater(t, len(report.Parts), 10)
	require.Equal(t, "input 0004", report.Parts[0].Name)
	require.Equal(t, "input 0003", report.Parts[1].Name)
	require.Equal(t, "input 0999", report.Parts[2].Name)
}

func TestRatesOfASteadyFlowAreNoNews(t *testing.T) {
	for _, c := range []struct{ in, out float64 }{{0, 0}, {-1, 0}, {0.12345, 0.123}, {9.996, 10}, {12345, 12300}, {123456, 123000}} {
		require.InDelta(t, c.out, digits(c.in), 1e-9, "%v", c.in)
	}
	now := time.Now()
	r := rate{}.next(now, 100).next(now.Add(5*time.Second), 600)
	require.InDelta(t, 100, r.value, 0.1)
	require.Zero(t, r.next(now.Add(10*time.Second), 5).value, "counted anew")
}

func TestLagIsAsOldAsItsOldestLine(t *testing.T) {
	var c lagClock
	now := time.Now()
	at := func(seconds int, done uint64, behind int64) *float64 {
		return c.seconds(now.Add(time.Duration(seconds)*time.Second), done, behind)
	}
	require.Nil(t, at(0, 0, 100), "it was there before")
	require.Nil(t, at(5, 50, 50))
	require.Zero(t, *at(10, 100, 0))
	require.Zero(t, *at(15, 100, 40), "came just now")
	require.InDelta(t, 10, *at(25, 120, 60), 0.1, "the first 40 came at 15")
	require.InDelta(t, 10, *at(35, 140, 60), 0.1, "the next 40 came at 25")
	require.Zero(t, *at(40, 200, 0))
	for i := range 10_000 {
		at(50+5*i, 200, int64(i))
	}
	require.LessOrEqual(t, len(c.ends), maxLagEnds+1, "memory is bounded")
	require.NotNil(t, at(60_000, 10_199, 0))
	require.Nil(t, at(60_005, 10, 10), "a part is gone: begin again")
}

func TestReportAnswers(t *testing.T) {
	r := Report{Config: LiveStatus{Seen: 10, Documents: []DocumentStatus{
		{Key: "good", Revision: 9, Wanted: 9}, {Key: "bad", Revision: 4, Wanted: 10},
	}}}
	require.Equal(t, Applied, r.Answered("good", 9))
	require.Equal(t, NoAnswer, r.Answered("good", 11))
	require.Equal(t, Rejected, r.Answered("bad", 10))
	require.Equal(t, Applied, r.Answered("deleted", 10))
}

// The status says of each document which form is in force, and of the file
// what only a restart can change.
func TestLiveSaysWhatIsInForce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.yml")
	write := func(text string) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("node: n\ndata_dir: " + dir)
	base, err := config.Load(path)
	require.NoError(t, err)
	applyError := error(nil)
	l, err := newLive(base, liveOptions{"agent", path, base.AgentKeys, func(context.Context, *config.Config) error { return applyError }, slog.New(slog.DiscardHandler)})
	require.NoError(t, err)

	write("node: other\nlabels: {a: b}\ndata_dir: " + dir)
	l.reload(t.Context())
	require.Equal(t, []string{"node", "labels"}, l.status().Restart)
	require.Empty(t, l.status().Error)
	write("nod: x")
	l.reload(t.Context())
	require.Contains(t, l.status().Error, "agent.yml:1: nod: unknown key")
	require.False(t, l.status().AppliedAt.IsZero(), "what was in force still is")

	good := &config.Document{Key: "/agent", Data: []byte("{}"), Revision: 3}
	bad := &config.Document{Key: "/agent", Data: []byte("inputs: 7"), Revision: 5}
	for _, docs := range []config.Docs{{Agent: good}, {Agent: bad}} {
		c, used, err := config.Resolve(base, docs, l.good)
		l.accept(t.Context(), c, used, wanted(docs, 8), err)
	}
	s := l.status()
	require.Equal(t, []DocumentStatus{{Key: "/agent", Revision: 3, Wanted: 5}}, s.Documents)
	require.Equal(t, int64(3), s.Revision)
	require.Equal(t, int64(5), s.Wanted)
	require.Equal(t, int64(8), s.Seen)
	require.Contains(t, s.Error, "/agent:1: inputs: ")

	applyError = errors.New("no room")
	better := &config.Document{Key: "/agent", Data: []byte("{}"), Revision: 9}
	l.accept(t.Context(), base, config.Docs{Agent: better}, wanted(config.Docs{Agent: better}, 9), nil)
	s = l.status()
	require.Equal(t, []DocumentStatus{{Key: "/agent", Revision: 3, Wanted: 9}}, s.Documents)
	require.Equal(t, "no room", s.Error)
}
