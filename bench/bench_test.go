package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/bench/report"
)

func TestLinesHaveTheirSizeAndNumber(t *testing.T) {
	for _, n := range []int{0, 7, 2_999_999} {
		line := appendLine([]byte("x"), n, 180)[1:]
		require.Len(t, line, 180)
		require.NotContains(t, string(line), "\n")
		got, err := numberOf(line)
		require.NoError(t, err)
		require.Equal(t, n, got)
		require.Len(t, appendLine(nil, n, 20), 20)
	}
	require.NotEqual(t, appendLine(nil, 1, 20), appendLine(nil, 2, 20))
	require.Error(t, writeLines(filepath.Join(t.TempDir(), "f"), 1, minLine-1))
}

func TestUsageIsOfTheProcess(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	require.NoError(t, err)
	for n := 0; ; n++ {
		after, err := cpuOf(os.Getpid())
		require.NoError(t, err)
		if after > before {
			break
		}
	}
	_, err = cpuOf(1 << 23)
	require.Error(t, err)

	peak, err := memoryOf([]byte("Name:\tx\nVmHWM:\t    2048 kB\n"), "VmHWM:")
	require.NoError(t, err)
	require.EqualValues(t, 2<<20, peak)
	_, err = memoryOf([]byte("Name:\tx\n"), "VmHWM:")
	require.Error(t, err)
}

func TestATreeHoldsAllLines(t *testing.T) {
	b := &bench{tmp: t.TempDir()}
	tree, err := b.tree(shape{files: 7, lines: 25, size: 20, topics: 3})
	require.NoError(t, err)
	require.Len(t, tree.topics, 3)
	files, err := filepath.Glob(tree.glob)
	require.NoError(t, err)
	require.Len(t, files, 7)
	lines := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		lines += strings.Count(string(text), "\n")
	}
	require.Equal(t, 25, lines)
}

func TestALineThatComesAgainIsAnError(t *testing.T) {
	got := make([]time.Time, 2)
	require.NoError(t, note(got, 1, time.Now()))
	require.Error(t, note(got, 1, time.Now()))
	require.Error(t, note(got, 2, time.Now()))
}

func TestTheListenerOfAPortIsFound(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	pid, err := listener(l.Addr().String())
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), pid)
	require.NoError(t, l.Close())
	_, err = listener(l.Addr().String())
	require.Error(t, err)
}

func TestTheGateTakesNoMoreThanItsSlack(t *testing.T) {
	b := &bench{options: options{gate: filepath.Join(t.TempDir(), "gate.txt")}, log: io.Discard}
	require.NoError(t, writeGate(b.gate, map[string]float64{"ship": 1.25, "index": 1.5}))
	require.NoError(t, b.judge(map[string]float64{"ship": 1.25*slack - 0.01, "index": 1}))
	require.ErrorContains(t, b.judge(map[string]float64{"ship": 1.3 * 1.25, "index": 1.5}), "ship: 1.62 of what the plain loop costs")
	require.ErrorContains(t, b.judge(map[string]float64{"other": 1}), `no line "other"`)
	require.NoError(t, os.WriteFile(b.gate, []byte("ship much\n"), 0o600))
	require.ErrorContains(t, b.judge(nil), "ship much")
}

func TestTheRatioIsOfTheThreeCheapestRounds(t *testing.T) {
	rounds := func(cpu ...float64) (r []report.Round) {
		for _, c := range cpu {
			r = append(r, report.Round{CPU: c})
		}
		return r
	}
	require.InDelta(t, 2, ratio([]report.Program{{Rounds: rounds(900, 100, 100, 100, 500)}, {Rounds: rounds(100, 200, 300, 999, 999)}}), 1e-9)
	require.InDelta(t, 3, ratio([]report.Program{{Rounds: rounds(100)}, {Rounds: rounds(300)}}), 1e-9)
}

// The limits, the broker and the sink work together, and counts are checked.
func TestTheLimitsRun(t *testing.T) {
	dir := t.TempDir()
	o := options{
		lines: 2000, docs: 2000, size: 180, rounds: 2, partitions: 2, delay: 50 * time.Millisecond, compression: "lz4",
		parts: "ship,delay,index", logferry: "-", dir: dir, results: filepath.Join(dir, "results.json"), page: filepath.Join(dir, "page.md"),
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "images"), 0o700))
	marks := func(name string) string { return "<!-- bench:" + name + " -->\n<!-- /bench:" + name + " -->\n" }
	require.NoError(t, os.WriteFile(o.page, []byte("before\n"+marks("ship")+marks("delay")+"between\n"+marks("index")+"after\n"), 0o600))
	require.NoError(t, run(context.Background(), o, io.Discard, io.Discard))
	page, err := os.ReadFile(o.page)
	require.NoError(t, err)
	require.Regexp(t, `(?s)^before\n.*plain read-and-produce loop.*the floor.*between\n.*plain consume-and-post loop.*after\n$`, string(page))
	results, err := report.Load(o.results)
	require.NoError(t, err)
	require.Len(t, results["ship"].Programs[0].Rounds, 2)
	require.FileExists(t, filepath.Join(dir, "images", "bench-cost.svg"))

	o.parts = "ship,none"
	require.ErrorContains(t, run(context.Background(), o, io.Discard, io.Discard), `no part "none"`)
}
