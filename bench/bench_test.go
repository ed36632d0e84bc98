package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLinesHaveTheirSizeAndNumber(t *testing.T) {
	for _, n := range []int{0, 7, 2_999_999} {
		line := appendLine([]byte("x"), n, 180)[1:]
		require.Len(t, line, 180)
		require.NotContains(t, string(line), "\n")
		got, err := numberOf(line)
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
	require.Error(t, writeLines(filepath.Join(t.TempDir(), "f"), 1, minLine-1))
}

func TestUsageIsReadFromProc(t *testing.T) {
	cpu, err := cpuOf("42 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1")
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, cpu)
	_, err = cpuOf("42 (a) S 1")
	require.Error(t, err)

	peak, err := peakOf([]byte("Name:\tx\nVmHWM:\t    2048 kB\n"))
	require.NoError(t, err)
	require.EqualValues(t, 2<<20, peak)
	_, err = peakOf([]byte("Name:\tx\n"))
	require.Error(t, err)
}

func TestSpreadIsTheMedianAndTheRange(t *testing.T) {
	rounds := []result{{usage: usage{peak: 5}}, {usage: usage{peak: 1}}, {usage: usage{peak: 3}}}
	peak := func(r result) int64 { return r.peak }
	require.Equal(t, "3 (1 to 5)", spread(rounds, peak, func(n int64) string { return grouped(float64(n)) }))
	require.Equal(t, "3", spread(rounds[2:], peak, func(n int64) string { return grouped(float64(n)) }))
}

func TestGroupedRoundsToThreeDigits(t *testing.T) {
	for want, n := range map[string]float64{"0": 0, "999": 999, "1,000": 1000, "12,300": 12345, "1,240,000": 1_235_678} {
		require.Equal(t, want, grouped(n))
	}
}

func TestPercentileOfSortedDelays(t *testing.T) {
	r := delayRow{delays: []time.Duration{1, 2, 3, 4}}
	require.EqualValues(t, 3, r.percentile(0.5))
	require.EqualValues(t, 4, r.percentile(0.99))
	require.EqualValues(t, 4, r.percentile(1))
}

// The limits, the broker and the sink work together, and counts are checked.
func TestTheLimitsRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "page.md")
	o := options{
		lines: 2000, size: 180, rounds: 2, partitions: 2, delay: 50 * time.Millisecond, compression: "lz4",
		parts: "ship,delay,index", logferry: "-", dir: t.TempDir(), out: out,
	}
	var page strings.Builder
	require.NoError(t, run(context.Background(), o, &page, io.Discard))
	require.Contains(t, page.String(), "plain read-and-produce loop")
	require.Contains(t, page.String(), "plain consume-and-post loop")
	require.Contains(t, page.String(), "the floor")
	written, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, page.String(), string(written))
}
