// Bench measures the agent and the transfer beside the plain loops that are
// their limits, and beside rsyslog where it is installed, in one run: rounds
// alternate, the broker and the sink are processes of their own, and every
// count is checked. What it measured is kept in a file of results, of which the
// tables and pictures of a page are made: parts can be measured at different
// times.
//
//	bench ──► broker   ◄── logferry agent | plainship | rsyslogd ◄── a file
//	   │         │
//	   │         └──────► logferry transfer | plainindex | rsyslogd ──► nullbulk
//	   └── samples the CPU and memory of whoever is measured
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/logferry/logferry/bench/report"
)

// options are the run's flags.
type options struct {
	parts       string
	lines       int
	docs        int
	size        int
	rounds      int
	partitions  int
	delay       time.Duration
	idle        time.Duration
	scale       float64
	compression string
	rivals      bool
	logferry    string
	dir         string
	kafka       string
	url         string
	results     string
	page        string
	gate        string
	renew       bool
}

func main() {
	var o options
	flag.StringVar(&o.parts, "parts", "ship,index,delay,search,idle,growth", "what is measured: these, real, gate; empty makes the page alone")
	flag.IntVar(&o.lines, "lines", 3_000_000, "lines that are shipped in a round")
	flag.IntVar(&o.docs, "docs", 1_000_000, "documents that are indexed in a round")
	flag.IntVar(&o.size, "size", 180, "bytes of a line, without its newline")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds")
	flag.IntVar(&o.partitions, "partitions", 1, "partitions of a topic")
	flag.DurationVar(&o.delay, "delay", 15*time.Second, "for how long 100 lines/s are appended to measure a delay")
	flag.DurationVar(&o.idle, "idle", 30*time.Second, "for how long idle programs are looked at")
	flag.Float64Var(&o.scale, "scale", 1, "of the growth's work: 0.1 is a tenth")
	flag.StringVar(&o.compression, "compression", "none", "of the records: none, lz4 or zstd")
	flag.BoolVar(&o.rivals, "rivals", true, "measure rsyslog too where it is installed")
	flag.StringVar(&o.logferry, "logferry", "", "binary to measure; empty builds the one that ships, - leaves it out")
	flag.StringVar(&o.dir, "dir", "", "where files are put meanwhile; empty takes the system's temporary folder")
	flag.StringVar(&o.kafka, "kafka", os.Getenv("KAFKA_BROKERS"), "a real Kafka on this machine, for the part real")
	flag.StringVar(&o.url, "elasticsearch", os.Getenv("ELASTICSEARCH_URL"), "a real Elasticsearch on this machine, for the part real")
	flag.StringVar(&o.results, "results", "", "file that keeps the results of all parts")
	flag.StringVar(&o.page, "page", "", "page whose marks the tables go between, its pictures to images/ beside it")
	flag.StringVar(&o.gate, "gate", "bench/gate.txt", "file of what the part gate compares with")
	flag.BoolVar(&o.renew, "renew", false, "write that file anew")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var parts = map[string]func(*bench, context.Context) (*report.Part, error){
	"ship":   (*bench).ship,
	"index":  (*bench).index,
	"delay":  (*bench).delays,
	"search": (*bench).searches,
	"idle":   (*bench).idles,
	"growth": (*bench).growth,
	"real":   (*bench).real,
	"gate":   (*bench).compare,
}

// bench is one run: its options, its folder, and what is said meanwhile.
type bench struct {
	options
	tmp  string
	log  io.Writer
	bins map[string]string // by program
}

func run(ctx context.Context, o options, out, log io.Writer) error {
	results := report.Results{}
	if o.results != "" {
		var err error
		if results, err = report.Load(o.results); err != nil {
			return err
		}
	}
	if o.parts != "" {
		if err := measure(ctx, o, results, out, log); err != nil {
			return err
		}
	}
	if o.page == "" {
		return nil
	}
	return write(results, o.page)
}

// measure measures the parts in turn, and keeps each at once: one that fails
// takes nothing of those before it away.
func measure(ctx context.Context, o options, results report.Results, out, log io.Writer) error {
	names := strings.Split(o.parts, ",")
	for _, name := range names {
		if parts[name] == nil {
			return fmt.Errorf("there is no part %q", name)
		}
	}
	tmp, err := os.MkdirTemp(o.dir, "logferry-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	b := &bench{options: o, tmp: tmp, log: log, bins: map[string]string{}}
	if err := b.build(ctx); err != nil {
		return err
	}
	for _, name := range names {
		facts := b.facts(ctx)
		part, err := parts[name](b, ctx)
		if err != nil {
			return fmt.Errorf("measure %s: %w", name, err)
		}
		facts.What = part.What
		part.Run = facts
		if _, err := fmt.Fprintf(out, "%s\n\n%s\n", name, part.Tables()); err != nil {
			return err
		}
		if o.results == "" || name == "gate" {
			continue
		}
		results[name] = part
		if err := results.Save(o.results); err != nil {
			return err
		}
	}
	return nil
}

// write brings the page and its pictures up to date.
func write(results report.Results, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page, err := results.Fill(string(text))
	if err != nil {
		return fmt.Errorf("fill %s: %w", path, err)
	}
	if err := results.Draw(filepath.Join(filepath.Dir(path), "images")); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }
