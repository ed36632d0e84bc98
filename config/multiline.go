package config

import (
	"fmt"
	"regexp"
)

// Multiline says which lines of a file are one event, and so one record: by
// what an event's first line looks like, by what all its other lines look
// like, or by a preset. With none of them each line is a record.
type Multiline struct {
	// Preset is a kind of stack traces that are joined with the line before them, or, for cri and
	// docker, another way to write the input's format.
	Preset string `yaml:"preset" enum:"java python go cri docker"`
	// Start is a regular expression (RE2, at most 1,000 bytes) that the first line of each event matches.
	Start string `yaml:"start"`
	// Continue is one that each further line of an event matches.
	Continue string `yaml:"continue"`
	// MaxLines is how many lines of an event one record holds at most.
	MaxLines int `yaml:"max_lines" default:"500" min:"2" max:"100000"`
	// MaxWait is how long a file must be quiet before its last event counts as complete.
	MaxWait Duration `yaml:"max_wait" default:"1s" min:"1ms" max:"1h"`
}

// On says whether lines are joined by their text.
func (m Multiline) On() bool {
	return m.Start != "" || m.Continue != "" || m.Preset != "" && !m.isFormat()
}

// isFormat says whether the preset is another name of a format.
func (m Multiline) isFormat() bool { return m.Preset == "cri" || m.Preset == "docker" }

// checkLines holds the rules of how an input's bytes become lines.
func (in *Input) checkLines(d *decoder, key string) {
	m, at := &in.Multiline, key+".multiline"
	given := 0
	for name, text := range map[string]string{"start": m.Start, "continue": m.Continue} {
		if text == "" {
			continue
		}
		given++
		if wrong := checkRegex(text); wrong != "" {
			d.fail(join(at, name), "%s", wrong)
		}
	}
	if m.Preset != "" {
		given++
	}
	switch {
	case given > 1:
		d.fail(at, "names more than one of start, continue and a preset; write one of them")
	case given == 0 && (d.lines[at+".max_lines"] > 0 || d.lines[at+".max_wait"] > 0):
		d.fail(at, "needs start, continue or a preset")
	}
	if m.isFormat() {
		if in.Format != "raw" && in.Format != m.Preset {
			d.fail(at, "%s is a format, and format is %s; write one of them", m.Preset, in.Format)
		}
		in.Format = m.Preset
	}
	if in.Format != "raw" && in.Encoding != "utf-8" {
		d.fail(key+".encoding", "the format %s is always in utf-8", in.Format)
	}
	if in.Type == "pipe" {
		for i, path := range in.Paths {
			if path != "" && isGlob(path) {
				d.fail(item(key+".paths", i), "is a glob; the path of a pipe is its name")
			}
		}
	}
}

func checkRegex(text string) string {
	if len(text) > maxRegex {
		return fmt.Sprintf("is longer than %d bytes", maxRegex)
	}
	if _, err := regexp.Compile(text); err != nil {
		return err.Error()
	}
	return ""
}
