// Package report keeps what the bench measured, and makes of it the tables and
// pictures of docs/performance.md.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
)

// Results are the last measurements of the parts, by their names. Parts can be
// measured at different times.
type Results map[string]*Part

// Part is what one part of a run measured. Which of the lists it fills is its
// own affair.
type Part struct {
	Run
	Programs []Program `json:"programs,omitempty"`
	Delays   []Delay   `json:"delays,omitempty"`
	Idle     []Idle    `json:"idle,omitempty"`
	Curves   []Curve   `json:"curves,omitempty"`
}

// Run says when, where and how a part was measured.
type Run struct {
	Date     string   `json:"date"`   // UTC
	Commit   string   `json:"commit"` // of the tree; with a + when its code had changes
	Machine  string   `json:"machine"`
	Load     string   `json:"load"` // of the last minute, before it began
	Versions []string `json:"versions"`
	What     string   `json:"what"` // how much of what, how often
}

// Program is one of several that did the same work.
type Program struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Rounds []Round `json:"rounds"`
}

// Limit is the name of programs that those after them are compared with.
const Limit = "limit"

// Round is what one program took once.
type Round struct {
	CPU  float64 `json:"cpu"`  // nanoseconds an item, user and system
	Rate float64 `json:"rate"` // items a second, from the program's start to the last item's arrival
	Peak int64   `json:"peak"` // bytes of memory, the most that were resident at once
	// Others is the CPU of the servers meanwhile, in nanoseconds an item, where it was looked at.
	Others map[string]float64 `json:"others,omitempty"`
}

// Delay is how long items took on one way.
type Delay struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Percentiles are milliseconds: the least, each of the 99 percentiles, the most.
	Percentiles []float64 `json:"percentiles"`
	// CPU is nanoseconds an item, of all programs on the way that are measured.
	CPU float64 `json:"cpu,omitempty"`
}

// Idle is what a program takes that has nothing to do.
type Idle struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Files  int     `json:"files"`
	Memory int64   `json:"memory"` // bytes that are resident
	CPU    float64 `json:"cpu"`    // share of one core
}

// Curve is how a cost grows.
type Curve struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Of    string `json:"of"`   // what X counts
	Item  string `json:"item"` // what Cost is for: line, document, KiB
	// Items is how many there were at each point, where a step of X by itself
	// costs something; else 0.
	Items  int     `json:"items,omitempty"`
	Points []Point `json:"points"` // by X
}

// Point is what one X took, the cheapest of its rounds.
type Point struct {
	X    float64 `json:"x"`
	Cost float64 `json:"cost"` // nanoseconds of CPU an item
	Rate float64 `json:"rate"` // items a second
	Peak int64   `json:"peak"` // bytes of memory
}

// Steepest is the largest exponent between two neighbours: 1 is linear, 0 or
// less is no growth at all.
func (c Curve) Steepest() float64 {
	steepest := math.Inf(-1)
	for i, p := range c.Points[1:] {
		before := c.Points[i]
		if before.X > 0 {
			steepest = max(steepest, math.Log(p.Cost/before.Cost)/math.Log(p.X/before.X))
		}
	}
	return steepest
}

// Load reads results; those of a file that is not there are empty.
func Load(path string) (Results, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Results{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := Results{}
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// Save writes them for people to compare.
func (r Results) Save(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
