package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/logferry/logferry/bench/report"
)

// growing is one curve: what X does to a run.
type growing struct {
	curve report.Curve
	xs    []int
	base  load
	set   func(l *load, x int)
	// runs does what l says so many times.
	runs func(b *bench, ctx context.Context, l load, rounds int) ([]result, error)
}

// load is what one run of the growth has to do.
type load struct {
	shape
	partitions int
	perTick    int    // lines that are appended at once, where they are appended
	batch      string // of the transfer's route
}

// A point takes a second or two, so that work and not the start is measured.
const (
	growthLines  = 1_000_000
	growthDocs   = 500_000
	growthBytes  = 100_000_000 // where lines differ in size
	growthTicks  = 300
	growthRounds = 2
)

var (
	shipLoad  = load{shape: shape{files: 1, lines: growthLines, size: 180, topics: 1}, partitions: 1}
	indexLoad = load{shape: shape{files: 1, lines: growthDocs, size: 180, topics: 1}, partitions: 1}
)

func ofFiles(l load, files int) load {
	l.files = files
	return l
}

var growings = []growing{
	{
		curve: report.Curve{Name: "files", Title: "Agent: files", Of: "files", Item: "line", Items: growthLines},
		xs:    []int{1, 10, 100, 1000, 10_000}, base: shipLoad, runs: (*bench).shipLoads,
		set: func(l *load, x int) { l.files = x },
	},
	{
		curve: report.Curve{Name: "line", Title: "Agent: size of a line", Of: "bytes a line", Item: "KiB"},
		xs:    []int{20, 100, 1000, 10_000, 100_000}, base: shipLoad, runs: (*bench).shipLoads, set: setSize,
	},
	{
		curve: report.Curve{Name: "ship-partitions", Title: "Agent: partitions of a topic, 100 files", Of: "partitions", Item: "line", Items: growthLines},
		xs:    []int{1, 4, 16, 64}, base: ofFiles(shipLoad, 100), runs: (*bench).shipLoads,
		set: func(l *load, x int) { l.partitions = x },
	},
	{
		curve: report.Curve{Name: "ship-topics", Title: "Agent: topics, 200 files", Of: "topics", Item: "line", Items: growthLines},
		xs:    []int{1, 10, 50, 200}, base: ofFiles(shipLoad, 200), runs: (*bench).shipLoads,
		set: func(l *load, x int) { l.topics = x },
	},
	{
		curve: report.Curve{Name: "append", Title: "Agent: lines that come at once, each 10 ms", Of: "lines at once", Item: "line"},
		xs:    []int{1, 10, 100, 1000, 5000}, base: shipLoad, runs: (*bench).appendLoads,
		set: func(l *load, x int) { l.perTick = x },
	},
	{
		curve: report.Curve{Name: "document", Title: "Transfer: size of a document", Of: "bytes a document", Item: "KiB"},
		xs:    []int{100, 1000, 10_000, 100_000}, base: indexLoad, runs: (*bench).indexLoads, set: setSize,
	},
	{
		curve: report.Curve{Name: "index-partitions", Title: "Transfer: partitions of a topic, 100 files", Of: "partitions", Item: "document", Items: growthDocs},
		xs:    []int{1, 4, 16, 64}, base: ofFiles(indexLoad, 100), runs: (*bench).indexLoads,
		set: func(l *load, x int) { l.partitions = x },
	},
	{
		curve: report.Curve{Name: "index-topics", Title: "Transfer: topics, 200 files", Of: "topics", Item: "document", Items: growthDocs},
		xs:    []int{1, 10, 50, 200}, base: ofFiles(indexLoad, 200), runs: (*bench).indexLoads,
		set: func(l *load, x int) { l.topics = x },
	},
	{
		curve: report.Curve{Name: "batch", Title: "Transfer: documents in a request (`batch.max_docs`)", Of: "documents a request", Item: "document"},
		xs:    []int{50, 500, 5000, 20_000}, base: indexLoad, runs: (*bench).indexLoads,
		set: func(l *load, x int) { l.batch = fmt.Sprintf("max_docs: %d", x) },
	},
	{
		curve: report.Curve{Name: "wait", Title: "Transfer: age of a request (`batch.max_wait`), 10,000 documents/s", Of: "ms a request waits", Item: "document"},
		xs:    []int{1, 10, 100, 1000}, base: indexLoad, runs: (*bench).produceLoads,
		set: func(l *load, x int) { l.perTick, l.batch = 100, fmt.Sprintf("max_wait: %dms", x) },
	},
}

func setSize(l *load, x int) { l.size, l.lines = x, growthBytes/x }

// growth measures every point of every curve.
func (b *bench) growth(ctx context.Context) (*report.Part, error) {
	if b.bins["logferry"] == "" {
		return nil, fmt.Errorf("logferry has to be there")
	}
	part := &report.Part{Run: report.Run{What: fmt.Sprintf(
		"%s lines or %s documents of 180 bytes, %d MB where they differ in size; the cheaper of %d rounds",
		report.Whole(b.scaled(growthLines)), report.Whole(b.scaled(growthDocs)), b.scaled(growthBytes)/1_000_000, growthRounds)}}
	for _, g := range growings {
		curve := g.curve
		curve.Items = b.scaled(curve.Items)
		for _, x := range g.xs {
			l := g.base
			g.set(&l, x)
			l.lines = max(b.scaled(l.lines), l.files)
			results, err := g.runs(b, ctx, l, growthRounds)
			if err != nil {
				return nil, fmt.Errorf("%s, %d %s: %w", g.curve.Title, x, g.curve.Of, err)
			}
			p := pointOf(results, curve.Item == "KiB", l.size)
			p.X = float64(x)
			b.say("growth %-40s %6d: %.0f ns a %s", g.curve.Title, x, p.Cost, curve.Item)
			curve.Points = append(curve.Points, p)
			if err := b.clear("[^b]*-*"); err != nil {
				return nil, err
			}
		}
		part.Curves = append(part.Curves, curve)
	}
	return part, nil
}

func (b *bench) scaled(n int) int { return int(float64(n) * b.scale) }

func pointOf(results []result, bySize bool, size int) report.Point {
	r := slices.MinFunc(results, func(x, y result) int { return int(x.cpu - y.cpu) })
	items := float64(r.items)
	if bySize {
		items *= float64(size) / 1024
	}
	return report.Point{Cost: float64(r.cpu) / items, Rate: items / r.elapsed.Seconds(), Peak: r.peak}
}
