package selftest

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// Report is what a self-test found. Its JSON form is the command's output.
type Report struct {
	Seed      uint64         `json:"seed"`
	Seconds   float64        `json:"seconds"` // for how long lines were written
	Kills     int            `json:"kills"`
	Rotations map[string]int `json:"rotations"` // by kind
	Written   int            `json:"written"`   // lines
	Arrived   int            `json:"arrived"`   // different lines that are at the broker
	// Lost lines had to arrive and did not.
	Lost int `json:"lost"`
	// Repeated counts the records beyond the first of each line.
	Repeated int `json:"repeated"`
	// RepeatedAnew are those of them that a document's id would not tell from
	// a new line: they came with another file or position.
	RepeatedAnew int `json:"repeated_anew"`
	// Corrupted counts records that are not exactly a line that was written.
	Corrupted int `json:"corrupted"`
	// Raced lines were written between a copytruncate's copy and its cut, and
	// are nowhere unless the agent was there in time. RaceLost did not arrive;
	// RaceShare is their share of all lines.
	Raced     int     `json:"raced"`
	RaceLost  int     `json:"race_lost"`
	RaceShare float64 `json:"race_share"`
	// CutUnread lines were removed or cut off on purpose before they had
	// arrived, and did not.
	CutUnread int `json:"cut_unread"`
	// CatchUp is how long it took, after the last kill, until all had arrived.
	CatchUp float64 `json:"catch_up_seconds"`

	FirstLost      []lineName `json:"first_lost,omitempty"`
	FirstCorrupted string     `json:"first_corrupted,omitempty"`
	FirstAnew      string     `json:"first_anew,omitempty"`
	// AgentFailure says how the agent ended by itself, if it did.
	AgentFailure string `json:"agent_failure,omitempty"`
	// Dir is where files, state and the agent's log were left; empty when all
	// was well and they were removed.
	Dir string `json:"dir,omitempty"`
}

type lineName struct {
	Stream int `json:"stream"`
	Number int `json:"number"`
}

// OK says whether the agent kept its promise.
func (r *Report) OK() bool { return r.Lost == 0 && r.Corrupted == 0 && r.AgentFailure == "" }

// Print writes the report for people.
func (r *Report) Print(w io.Writer) {
	var rotations string
	for i, kind := range slices.Sorted(maps.Keys(r.Rotations)) {
		if i > 0 {
			rotations += ", "
		}
		rotations += fmt.Sprintf("%s %d", kind, r.Rotations[kind])
	}
	fmt.Fprintf(w, "seed %d, %.0f s, agent killed with SIGKILL %d times", r.Seed, r.Seconds, r.Kills)
	if r.Kills > 0 {
		fmt.Fprintf(w, ", every %.0f ms", 1000*r.Seconds/float64(r.Kills))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "rotations: %s\n\n", rotations)
	row := func(name string, n int, note string) { fmt.Fprintf(w, "  %-12s %9d   %s\n", name, n, note) }
	row("written", r.Written, "lines")
	row("arrived", r.Arrived, "different lines, each byte as written")
	row("lost", r.Lost, "")
	row("corrupted", r.Corrupted, r.FirstCorrupted)
	row("repeated", r.Repeated, fmt.Sprintf("%d of them not hidden by the document's id", r.RepeatedAnew))
	row("raced", r.RaceLost, fmt.Sprintf("of %d lines written between copy and truncate: %.4f%% of all", r.Raced, 100*r.RaceShare))
	row("cut unread", r.CutUnread, "removed or truncated on purpose before they were read")
	fmt.Fprintf(w, "\nall had arrived %.1f s after the last kill\n", r.CatchUp)
	if r.FirstAnew != "" {
		fmt.Fprintf(w, "not hidden, the first: %s\n", r.FirstAnew)
	}
	if r.AgentFailure != "" {
		fmt.Fprintf(w, "the agent failed: %s\n", r.AgentFailure)
	}
	for _, l := range r.FirstLost {
		fmt.Fprintf(w, "lost: line %d of stream %d\n", l.Number, l.Stream)
	}
	if r.Dir != "" {
		fmt.Fprintf(w, "files, state and the agent's log are in %s\n", r.Dir)
	}
}
