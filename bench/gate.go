package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/logferry/logferry/bench/report"
)

// A round of the gate is short, so that what disturbs it rarely lasts for all.
const (
	gateLines  = 500_000
	gateRounds = 9
	// slack is how much more than its reference a ratio may be. The ratios of one
	// tree stayed within a tenth of their middle on a machine with ten times the
	// work that it has cores for.
	slack = 1.15
)

// compare is the regression gate: what the agent and the transfer cost, as a
// multiple of what the plain loop beside them costs in the same run. It is an
// error when that is much more than the reference.
func (b *bench) compare(ctx context.Context) (*report.Part, error) {
	if b.bins["logferry"] == "" {
		return nil, errors.New("logferry has to be there")
	}
	gate := *b
	gate.lines, gate.docs, gate.rounds = b.scaled(gateLines), b.scaled(gateLines), gateRounds
	ship, err := gate.shipEach(ctx, []subject{plainship, agent})
	if err != nil {
		return nil, err
	}
	index, err := gate.indexEach(ctx, []subject{plainindex, transfer})
	if err != nil {
		return nil, err
	}
	ratios := map[string]float64{"ship": ratio(ship.Programs), "index": ratio(index.Programs)}
	part := &report.Part{
		Run:      report.Run{What: fmt.Sprintf("%s, the three cheapest of %d rounds count", b.sizes(gate.lines), gateRounds)},
		Programs: slices.Concat(ship.Programs, index.Programs),
	}
	if b.renew {
		return part, writeGate(b.gate, ratios)
	}
	return part, b.judge(ratios)
}

// ratio is the second's by the first's, of their cheapest rounds: what disturbs
// a round makes it dearer. There are three of them, for the cheapest by itself
// may be a stroke of luck.
func ratio(programs []report.Program) float64 {
	var sums [2]float64
	for i := range sums {
		var cpu []float64
		for _, r := range programs[i].Rounds {
			cpu = append(cpu, r.CPU)
		}
		slices.Sort(cpu)
		for _, c := range cpu[:min(3, len(cpu))] {
			sums[i] += c
		}
	}
	return sums[1] / sums[0]
}

func (b *bench) judge(ratios map[string]float64) error {
	references, err := readGate(b.gate)
	if err != nil {
		return err
	}
	for name, is := range ratios {
		was, known := references[name]
		b.say("gate %s: %.2f of the plain loop, the reference is %.2f", name, is, was)
		switch {
		case !known:
			err = errors.Join(err, fmt.Errorf("%s has no line %q", b.gate, name))
		case is > was*slack:
			err = errors.Join(err, fmt.Errorf("%s: %.2f of what the plain loop costs, more than %.2f and its slack of %.0f%%: "+
				"find what got slower (task bench:micro), or, when it is worth that, renew %s (task bench:gate -- -renew)",
				name, is, was, 100*(slack-1), b.gate))
		}
	}
	return err
}

const gateHead = `# What the agent (ship) and the transfer (index) cost, as multiples of the plain
# loops beside them. The part gate of the bench fails when one costs much more.
# Renew it on a quiet machine after a change that is worth its cost, or that made
# them cheaper: task bench:gate -- -renew
`

func readGate(path string) (map[string]float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	ratios := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var name string
		var ratio float64
		if _, err := fmt.Sscan(line, &name, &ratio); err != nil {
			return nil, fmt.Errorf("read %s: %q is no name and number", path, line)
		}
		ratios[name] = ratio
	}
	return ratios, nil
}

func writeGate(path string, ratios map[string]float64) error {
	text := fmt.Sprintf("%sship %.2f\nindex %.2f\n", gateHead, ratios["ship"], ratios["index"])
	return os.WriteFile(path, []byte(text), 0o644)
}
