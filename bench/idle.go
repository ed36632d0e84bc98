package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/bench/report"
)

// linesBeforeIdle are in each file, and shipped before anybody is idle.
const linesBeforeIdle = 20

// idles looks at shippers with nothing to do, all at the same time.
func (b *bench) idles(ctx context.Context) (*report.Part, error) {
	part := &report.Part{Run: report.Run{What: fmt.Sprintf("each file had %d lines, which were shipped; CPU over %v, from %v after that on; rsyslog needs two handles a file, and is left out where the system gives it fewer", linesBeforeIdle, b.idle, 2*b.idle)}}
	for _, files := range []int{1, 1000, 10_000} {
		rows, err := b.idleOnce(ctx, max(1, int(float64(files)*min(1, b.scale))))
		if err != nil {
			return nil, fmt.Errorf("%d files: %w", files, err)
		}
		part.Idle = append(part.Idle, rows...)
	}
	return part, nil
}

func (b *bench) idleOnce(ctx context.Context, files int) (rows []report.Idle, err error) {
	k, err := b.broker(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close(), b.clear("broker-*"), b.clear("tree-*")) }()
	t, err := b.tree(shape{files: files, lines: files * linesBeforeIdle, size: b.size, topics: min(files, 10)})
	if err != nil {
		return nil, err
	}
	var all []*process
	defer func() {
		for _, p := range all {
			err = errors.Join(err, p.stop())
		}
	}()
	for _, s := range b.present(shippers) {
		if !s.follows || s.program == imfile.program && !room(2*files) {
			continue
		}
		name := "idle-" + s.name
		if err := k.createTopics(ctx, 1, name); err != nil {
			return nil, err
		}
		p, err := b.launchSubject(s, task{files: t.glob, topic: name, broker: k.addr})
		if err != nil {
			return nil, err
		}
		all = append(all, p)
		if err := k.arrival(ctx, files*linesBeforeIdle, name).await(ctx, p); err != nil {
			return nil, err
		}
		rows = append(rows, report.Idle{Name: s.name, Title: s.title, Files: files})
	}
	if len(all) == 0 {
		return nil, errors.New("nobody to look at")
	}
	// What work left behind is given back meanwhile. rsyslog needs a minute to
	// come to rest.
	if err := all[0].pause(ctx, 2*b.idle); err != nil {
		return nil, err
	}
	before, began := make([]time.Duration, len(all)), time.Now()
	for i, p := range all {
		if before[i], err = cpuOf(p.cmd.Process.Pid); err != nil {
			return nil, err
		}
	}
	if err := all[0].pause(ctx, b.idle); err != nil {
		return nil, err
	}
	for i, p := range all {
		u, err := p.usage()
		if err != nil {
			return nil, err
		}
		rows[i].CPU, rows[i].Memory = float64(u.cpu-before[i])/float64(time.Since(began)), u.resident
		b.say("idle %6d files %-40s %.2f%%, %d MiB", files, rows[i].Title, 100*rows[i].CPU, u.resident>>20)
	}
	return rows, nil
}

// room tells whether a program may open so many files. rsyslog opens each twice.
func room(files int) bool {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return err == nil && uint64(files)+100 < limit.Max
}

// shape is how lines are spread.
type shape struct {
	files, lines, size, topics int
}

// tree is a folder of such files: one folder for each topic.
type tree struct {
	glob   string
	topics []string
}

func (b *bench) tree(s shape) (tree, error) {
	dir, err := os.MkdirTemp(b.tmp, "tree-")
	if err != nil {
		return tree{}, err
	}
	t := tree{glob: filepath.Join(dir, "*", "*.log")}
	for i := range s.topics {
		t.topics = append(t.topics, fmt.Sprintf("%s-%03d", topic, i))
		if err := os.Mkdir(filepath.Join(dir, t.topics[i]), 0o755); err != nil {
			return tree{}, err
		}
	}
	for i := range s.files {
		lines := s.lines / s.files
		if i < s.lines%s.files {
			lines++
		}
		path := filepath.Join(dir, t.topics[i%s.topics], fmt.Sprintf("%05d.log", i))
		if err := writeLines(path, lines, s.size); err != nil {
			return tree{}, err
		}
	}
	return t, nil
}
