// Bench measures the agent and the transfer beside the plain loops that are
// their limits, and beside rsyslog where it is installed, in one run: rounds
// alternate, the broker and the sink are processes of their own, and every
// count is checked. It prints a Markdown page.
//
//	bench ──► broker   ◄── logferry agent | plainship | rsyslogd ◄── a file
//	   │         │
//	   │         └──────► logferry transfer | plainindex ──► nullbulk
//	   └── samples /proc of whoever is measured
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the run's flags.
type options struct {
	lines       int
	size        int
	rounds      int
	partitions  int
	delay       time.Duration
	compression string
	parts       string
	rivals      bool
	logferry    string
	dir         string
	url         string
	out         string
}

func main() {
	var o options
	flag.IntVar(&o.lines, "lines", 3_000_000, "lines a round")
	flag.IntVar(&o.size, "size", 180, "bytes of a line, without its newline")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds")
	flag.IntVar(&o.partitions, "partitions", 1, "partitions of a topic")
	flag.DurationVar(&o.delay, "delay", 20*time.Second, "for how long 100 lines/s are appended to measure the delay")
	flag.StringVar(&o.compression, "compression", "none", "of the records: none, lz4 or zstd")
	flag.StringVar(&o.parts, "parts", "ship,delay,index", "what is measured; elastic too, with a real one")
	flag.BoolVar(&o.rivals, "rivals", true, "measure rsyslog too where it is installed")
	flag.StringVar(&o.logferry, "logferry", "", "binary to measure; empty builds ./app/logferry, - leaves it out")
	flag.StringVar(&o.dir, "dir", "", "where files are put meanwhile; empty takes the system's temporary folder")
	flag.StringVar(&o.url, "elasticsearch", os.Getenv("ELASTICSEARCH_URL"), "a real Elasticsearch, for the part elastic")
	flag.StringVar(&o.out, "out", "", "also write the page to this file")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run: its options, its folder, and what is said meanwhile.
type bench struct {
	options
	tmp  string
	log  io.Writer
	bins map[string]string // by program
	// bodies is the folder of what the transfer sent to a sink that recorded it.
	bodies string
}

func run(ctx context.Context, o options, out, log io.Writer) error {
	tmp, err := os.MkdirTemp(o.dir, "logferry-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	b := &bench{options: o, tmp: tmp, log: log, bins: map[string]string{}}
	if err := b.build(ctx); err != nil {
		return err
	}
	page := newPage(b)
	for _, part := range strings.Split(o.parts, ",") {
		var err error
		switch part {
		case "ship":
			page.ship, err = b.ship(ctx)
		case "delay":
			page.delay, err = b.delays(ctx)
		case "index":
			page.index, err = b.index(ctx)
		case "elastic":
			page.elastic, err = b.elastic(ctx)
		default:
			err = errors.New("no such part: it is ship, delay, index or elastic")
		}
		if err != nil {
			return fmt.Errorf("measure %s: %w", part, err)
		}
	}
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(page.String()), 0o644); err != nil {
			return err
		}
	}
	_, err = io.WriteString(out, page.String())
	return err
}

// build makes the programs, as they ship, from the module that the working directory is in.
func (b *bench) build(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	packages := []string{"./bench/broker", "./bench/nullbulk", "./bench/plainship", "./bench/plainindex", "./bench/bare"}
	switch b.logferry {
	case "":
		packages = append(packages, "./app/logferry")
	case "-":
	default:
		if b.bins["logferry"], err = filepath.Abs(b.logferry); err != nil {
			return err
		}
	}
	bin := filepath.Join(b.tmp, "bin") + string(filepath.Separator)
	build := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", bin}, packages...)...)
	build.Dir = strings.TrimSpace(string(root))
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as the image is
	build.Stderr = b.log
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	for _, p := range packages {
		b.bins[filepath.Base(p)] = bin + filepath.Base(p)
	}
	if path, err := exec.LookPath("rsyslogd"); err == nil && b.rivals && hasKafka() {
		b.bins["rsyslogd"] = path
	}
	return nil
}

// hasKafka tells whether rsyslog's Kafka module is installed.
func hasKafka() bool {
	found, _ := filepath.Glob("/usr/lib/*/rsyslog/omkafka.so")
	return len(found) > 0
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }
