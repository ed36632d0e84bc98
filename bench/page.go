package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// page is the report.
type page struct {
	b       *bench
	facts   []string
	ship    []*row
	delay   []delayRow
	index   []*row
	elastic []*row
}

// newPage looks at the machine before anything is measured.
func newPage(b *bench) *page { return &page{b: b, facts: machine(b)} }

// String is the page as Markdown. Each figure is the median of the rounds,
// the range after it is theirs.
func (p *page) String() string {
	var s strings.Builder
	s.WriteString("# Performance\n\nWritten by `task bench`: " +
		"CPU is the measured process's own, user and system, its start included; the broker and the sink are other processes. " +
		"Rates share the machine with them: trust ratios, and take gaps under 20% as ties.\n\n")
	fmt.Fprintf(&s, "%s lines of %d bytes, compression %s, %d partition(s), %d rounds in turn: the median, and the range.\n",
		grouped(float64(p.b.lines)), p.b.size, p.b.compression, p.b.partitions, p.b.rounds)
	fmt.Fprintf(&s, "\n%s\n", strings.Join(p.facts, ", "))
	if len(p.ship) > 0 {
		s.WriteString("\n## File to Kafka, acknowledged by all\n")
		writeRows(&s, p.ship, "line")
	}
	if len(p.delay) > 0 {
		fmt.Fprintf(&s, "\n## From append to consumable, 100 lines/s for %v\n\n", p.b.delay)
		s.WriteString("| shipper | p50 | p99 | the most |\n| --- | ---: | ---: | ---: |\n")
		for _, r := range p.delay {
			fmt.Fprintf(&s, "| %s | %s | %s | %s |\n", r.title, millis(r.percentile(0.5)), millis(r.percentile(0.99)), millis(r.percentile(1)))
		}
	}
	if len(p.index) > 0 {
		s.WriteString("\n## Kafka to a null `_bulk` server, without gzip\n")
		writeRows(&s, p.index, "document")
	}
	if len(p.elastic) > 0 {
		s.WriteString("\n## Into a real Elasticsearch on the same machine, without gzip\n\n" +
			"Both post the same documents, four requests at once; the server is the bottleneck.\n")
		writeRows(&s, p.elastic, "document")
	}
	return s.String()
}

func writeRows(s *strings.Builder, rows []*row, item string) {
	fmt.Fprintf(s, "\n| program | CPU a %s | of the limit | %ss/s | peak RSS |\n| --- | ---: | ---: | ---: | ---: |\n", item, item)
	limit := median(rows[0].results, result.perItem)
	for _, r := range rows {
		cpu := spread(r.results, result.perItem, func(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1e6) })
		rate := spread(r.results, result.perSecond, grouped)
		peak := spread(r.results, func(r result) int64 { return r.peak >> 20 }, func(n int64) string { return fmt.Sprint(n) })
		ratio := float64(median(r.results, result.perItem)) / float64(limit)
		fmt.Fprintf(s, "| %s | %s µs | %.2f | %s | %s MiB |\n", r.title, cpu, ratio, rate, peak)
	}
}

func sorted[T cmp.Ordered](results []result, of func(result) T) []T {
	values := make([]T, len(results))
	for i, r := range results {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values
}

func median[T cmp.Ordered](results []result, of func(result) T) T {
	return sorted(results, of)[len(results)/2]
}

// spread gives the median and, after more than one round, the range.
func spread[T cmp.Ordered](results []result, of func(result) T, text func(T) string) string {
	values := sorted(results, of)
	if len(values) == 1 {
		return text(values[0])
	}
	return fmt.Sprintf("%s (%s to %s)", text(values[len(values)/2]), text(values[0]), text(values[len(values)-1]))
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }

// grouped writes a whole number with commas, to three significant digits.
func grouped(f float64) string {
	n := int64(f + 0.5)
	for unit := int64(1); ; unit *= 10 {
		if n < unit*1000 {
			n = (n + unit/2) / unit * unit
			break
		}
	}
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// machine names what the figures depend on.
func machine(b *bench) []string {
	facts := []string{time.Now().UTC().Format(time.DateOnly), fmt.Sprintf("%d cores of %s", runtime.NumCPU(), cpuModel())}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		facts = append(facts, "Linux "+strings.TrimSpace(string(kernel)))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		facts = append(facts, "load at the start "+strings.Fields(string(load))[0])
	}
	facts = append(facts, runtime.Version())
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/twmb/franz-go" {
				facts = append(facts, "franz-go "+m.Version)
			}
		}
	}
	if path := b.bins["rsyslogd"]; path != "" {
		out, _ := exec.Command(path, "-v").Output()
		if words := bytes.Fields(out); len(words) > 1 {
			facts = append(facts, "rsyslog "+string(words[1]))
		}
	}
	return facts
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
