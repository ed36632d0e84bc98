package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/logferry/logferry/bench/report"
)

// How the product is built for a release, without cgo; for hosts, without the
// servers of `up` too.
var (
	shipped = []string{"-trimpath", "-ldflags=-s -w"}
	lean    = "-tags=lean,grpcnotrace"
)

// build makes the programs, as they ship, from the module that the working
// directory is in, and looks for rsyslog.
func (b *bench) build(ctx context.Context) error {
	for _, name := range []string{"broker", "nullbulk", "plainship", "plainindex", "bare"} {
		if err := b.buildOne(ctx, name, "bench/"+name); err != nil {
			return err
		}
	}
	switch b.logferry {
	case "":
		if err := b.buildOne(ctx, "logferry", "app/logferry", slices.Concat(shipped, []string{lean})...); err != nil {
			return err
		}
		if err := b.buildOne(ctx, "logferry-up", "app/logferry", shipped...); err != nil {
			return err
		}
	case "-":
	default:
		path, err := filepath.Abs(b.logferry)
		if err != nil {
			return err
		}
		b.bins["logferry"], b.bins["logferry-up"] = path, path
	}
	if path, err := exec.LookPath("rsyslogd"); err == nil && b.rivals {
		b.bins["rsyslogd"] = path
		if !hasModules("omkafka", "imkafka", "omelasticsearch", "mmjsonparse") {
			return fmt.Errorf("%s has no modules for Kafka and Elasticsearch: install rsyslog-kafka and rsyslog-elasticsearch, or say -rivals=false", path)
		}
	}
	return nil
}

// buildOne builds a program, and one with args as for a release.
func (b *bench) buildOne(ctx context.Context, name, folder string, args ...string) error {
	b.bins[name] = filepath.Join(b.tmp, "bin", name)
	build := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, args, []string{"-o", b.bins[name], "github.com/logferry/logferry/" + folder})...)
	if len(args) > 0 {
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	build.Stderr = b.log
	if err := build.Run(); err != nil {
		return fmt.Errorf("build %s: %w", folder, err)
	}
	return nil
}

// hasModules tells whether rsyslog's modules are installed.
func hasModules(names ...string) bool {
	for _, name := range names {
		if found, _ := filepath.Glob("/usr/lib/*/rsyslog/" + name + ".so"); len(found) == 0 {
			return false
		}
	}
	return true
}

// facts name what the figures depend on.
func (b *bench) facts(ctx context.Context) report.Run {
	run := report.Run{
		Date:     time.Now().UTC().Format(time.DateOnly),
		Commit:   commit(ctx),
		Machine:  fmt.Sprintf("%d cores of %s", runtime.NumCPU(), cpuModel()),
		Load:     "unknown",
		Versions: []string{runtime.Version()},
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		run.Versions = append(run.Versions, "Linux "+strings.TrimSpace(string(kernel)))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		run.Load = strings.Fields(string(load))[0]
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/twmb/franz-go" {
				run.Versions = append(run.Versions, "franz-go "+m.Version)
			}
		}
	}
	if path := b.bins["rsyslogd"]; path != "" {
		out, _ := exec.CommandContext(ctx, path, "-v").Output()
		if words := bytes.Fields(out); len(words) > 1 {
			run.Versions = append(run.Versions, "rsyslog "+string(words[1]))
		}
	}
	return run
}

// commit is the tree's; changes of the bench's own pages do not count.
func commit(ctx context.Context) string {
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "an unknown commit"
	}
	changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no", "--", "*.go", "go.mod").Output()
	name := strings.TrimSpace(string(head))
	if err != nil || len(changed) > 0 {
		name += "+"
	}
	return name
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
