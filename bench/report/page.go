package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Fill puts each part's tables between its marks in a page, and leaves what
// people wrote around them:
//
//	<!-- bench:ship -->
//	<!-- /bench:ship -->
//
// It is an error when a part has no marks.
func (r Results) Fill(page string) (string, error) {
	for _, name := range slices.Sorted(maps.Keys(r)) {
		opening, closing := "<!-- bench:"+name+" -->\n", "<!-- /bench:"+name+" -->\n"
		before, rest, opened := strings.Cut(page, opening)
		_, after, closed := strings.Cut(rest, closing)
		if !opened || !closed {
			return "", fmt.Errorf("no line %q with %q after it", strings.TrimSpace(opening), strings.TrimSpace(closing))
		}
		page = before + opening + r[name].Tables() + closing + after
	}
	return page, nil
}

// Tables is a part as Markdown. Each figure is the median of the rounds, the
// range after it is theirs.
func (p *Part) Tables() string {
	var s strings.Builder
	if len(p.Programs) > 0 {
		p.programs(&s)
	}
	if len(p.Delays) > 0 {
		s.WriteString("\n| way | p50 | p90 | p99 | the most | CPU a line |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
		for _, d := range p.Delays {
			cpu := ""
			if d.CPU > 0 {
				cpu = fmt.Sprintf("%.0f µs", d.CPU/1e3)
			}
			fmt.Fprintf(&s, "| %s | %s | %s | %s | %s | %s |\n", d.Title, millis(d.at(50)), millis(d.at(90)), millis(d.at(99)), millis(d.at(100)), cpu)
		}
	}
	if len(p.Idle) > 0 {
		s.WriteString("| program | files | resident | CPU |\n| --- | ---: | ---: | ---: |\n")
		for _, i := range p.Idle {
			fmt.Fprintf(&s, "| %s | %s | %s MiB | %s |\n", i.Title, Whole(i.Files), mebibytes(i.Memory), percent(i.CPU))
		}
	}
	for _, c := range p.Curves {
		c.table(&s)
	}
	fmt.Fprintf(&s, "\n<sub>%s</sub>\n", p.Run)
	return s.String()
}

// String is a sentence or two for below a table.
func (r Run) String() string {
	return fmt.Sprintf("%s. %s at %s, %s, %s; load before it %s.",
		r.What, r.Date, r.Commit, r.Machine, strings.Join(r.Versions, ", "), r.Load)
}

func (d Delay) at(percentile int) float64 { return d.Percentiles[percentile] }

// programs compares each with the limit before it.
func (p *Part) programs(s *strings.Builder) {
	others := map[string]bool{}
	for _, row := range p.Programs {
		for name := range row.Rounds[0].Others {
			others[name] = true
		}
	}
	s.WriteString("| program | CPU an item | of the limit | items/s | of the limit | peak RSS |")
	for _, name := range slices.Sorted(maps.Keys(others)) {
		fmt.Fprintf(s, " CPU of %s |", name)
	}
	s.WriteString("\n| --- |" + strings.Repeat(" ---: |", 5+len(others)) + "\n")
	var limit []Round
	for i, row := range p.Programs {
		if i == 0 || row.Name == Limit {
			limit = row.Rounds
		}
		fmt.Fprintf(s, "| %s | %s µs | %.2f | %s | %.2f | %s MiB |", row.Title,
			spread(row.Rounds, cpuOf, micros), Median(row.Rounds, cpuOf)/Median(limit, cpuOf),
			spread(row.Rounds, rateOf, grouped), Median(row.Rounds, rateOf)/Median(limit, rateOf), spread(row.Rounds, peakOf, mebibytes))
		for _, name := range slices.Sorted(maps.Keys(others)) {
			if _, there := row.Rounds[0].Others[name]; !there {
				s.WriteString(" |")
				continue
			}
			fmt.Fprintf(s, " %s µs |", spread(row.Rounds, func(r Round) float64 { return r.Others[name] }, micros))
		}
		s.WriteString("\n")
	}
}

func (c Curve) table(s *strings.Builder) {
	fmt.Fprintf(s, "\n**%s**, at most x^%.2f from one point to the next\n\n| %s |", c.Title, max(0, c.Steepest()), c.Of)
	for _, p := range c.Points {
		fmt.Fprintf(s, " %s |", Whole(int64(p.X)))
	}
	s.WriteString("\n| --- |" + strings.Repeat(" ---: |", len(c.Points)))
	first := c.Points[0]
	row := func(title string, text func(p Point) string) {
		fmt.Fprintf(s, "\n| %s |", title)
		for _, p := range c.Points {
			fmt.Fprintf(s, " %s |", text(p))
		}
	}
	row("CPU a "+c.Item+", µs", func(p Point) string { return micros(p.Cost) })
	row("of the first", func(p Point) string { return fmt.Sprintf("%.2f", p.Cost/first.Cost) })
	if c.Items > 0 {
		row("each further one, µs", func(p Point) string {
			if p.X == first.X {
				return ""
			}
			return grouped(max(0, p.Cost-first.Cost) * float64(c.Items) / (p.X - first.X) / 1e3)
		})
	}
	row(c.Item+"s/s", func(p Point) string { return grouped(p.Rate) })
	row("peak RSS, MiB", func(p Point) string { return mebibytes(p.Peak) })
	s.WriteString("\n")
}
