package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/logferry/logferry/bench/report"
)

const (
	every  = 10 * time.Millisecond // between two lines
	warmUp = 100                   // lines that are not counted
)

// delays measures every shipper that follows, and the floor: lines produced
// by us as they are due.
func (b *bench) delays(ctx context.Context) (*report.Part, error) {
	floor, err := b.delayOnce(ctx, subject{name: "floor", title: "produced without a shipper (the floor)"})
	if err != nil {
		return nil, err
	}
	rows := []report.Delay{floor}
	for _, s := range b.present(shippers) {
		if !s.follows {
			continue
		}
		row, err := b.delayOnce(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.program, err)
		}
		rows = append(rows, row)
	}
	return &report.Part{Run: report.Run{What: b.pace()}, Delays: rows}, nil
}

func (b *bench) pace() string {
	return fmt.Sprintf("%d lines/s of %d bytes for %v, each appended by itself", time.Second/every, b.size, b.delay)
}

func (b *bench) delayOnce(ctx context.Context, s subject) (row report.Delay, err error) {
	k, err := b.broker(ctx)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, k.close(), b.clear("broker-*")) }()
	if err := k.createTopics(ctx, b.partitions, topic); err != nil {
		return row, err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(k.addr),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return row, err
	}
	defer client.Close()
	collect := func(ctx context.Context, got []time.Time) error { return consume(ctx, client, got) }
	if s.args == nil {
		return b.follow(ctx, s, produce(ctx, k.client), collect)
	}
	file, err := os.Create(filepath.Join(b.tmp, "delay.log"))
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	p, err := b.launchSubject(s, task{files: file.Name(), topic: topic, broker: k.addr})
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	return b.follow(ctx, s, appendTo(file), collect, p)
}

func produce(ctx context.Context, client *kgo.Client) func([]byte) error {
	return func(line []byte) error {
		client.Produce(ctx, &kgo.Record{Topic: topic, Value: slices.Clone(line)}, nil)
		return nil
	}
}

func appendTo(file *os.File) func([]byte) error {
	return func(line []byte) error {
		_, err := file.Write(append(line, '\n'))
		return err
	}
}

// follow emits lines at their pace while collect notes when each came, until
// all have. What the processes use after the warm-up is the way's.
func (b *bench) follow(ctx context.Context, s subject, emit func([]byte) error, collect func(context.Context, []time.Time) error, all ...*process) (report.Delay, error) {
	row := report.Delay{Name: s.name, Title: s.title}
	count := warmUp + int(b.delay/every)
	sent, got := make([]time.Time, count), make([]time.Time, count)
	ctx, cancel := context.WithTimeout(ctx, b.delay+time.Minute)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		ticks := time.NewTicker(every)
		defer ticks.Stop()
		var line []byte
		for n := range count {
			if n == warmUp {
				used, err := cpuOfAll(all)
				if err != nil {
					return err
				}
				row.CPU -= float64(used)
			}
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			line = appendLine(line[:0], n, max(b.size, minJSON))
			sent[n] = time.Now()
			if err := emit(line); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error { return collect(ctx, got) })
	if err := group.Wait(); err != nil {
		return row, err
	}
	used, err := cpuOfAll(all)
	if err != nil {
		return row, err
	}
	row.CPU = (row.CPU + float64(used)) / float64(count-warmUp)
	delays := make([]float64, 0, count)
	for n := warmUp; n < count; n++ {
		delays = append(delays, float64(got[n].Sub(sent[n]))/1e6)
	}
	row.Percentiles = report.Percentiles(delays)
	b.say("delay %-40s p50 %.1f ms, p99 %.1f ms, %.0f µs of CPU a line", s.title, row.Percentiles[50], row.Percentiles[99], row.CPU/1e3)
	return row, nil
}

func cpuOfAll(all []*process) (sum time.Duration, err error) {
	for _, p := range all {
		used, err := cpuOf(p.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// note notes that line n came; again, or without having been sent, is an error.
func note(got []time.Time, n int, at time.Time) error {
	if n < 0 || n >= len(got) || !got[n].IsZero() {
		return fmt.Errorf("line %d came again or was never sent", n)
	}
	got[n] = at
	return nil
}

// consume notes when each line came, until all have, each once.
func consume(ctx context.Context, client *kgo.Client, got []time.Time) error {
	for missing := len(got); missing > 0; {
		fetches := client.PollFetches(ctx)
		now := time.Now()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%d lines did not arrive: %w", missing, err)
		}
		for it := fetches.RecordIter(); !it.Done(); missing-- {
			n, err := numberOf(it.Next().Value)
			if err != nil {
				return err
			}
			if err := note(got, n, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// numberOf finds what appendLine wrote as n.
func numberOf(line []byte) (int, error) {
	_, rest, _ := bytes.Cut(line, []byte(`"n":`))
	digits, _, _ := bytes.Cut(rest, []byte{','})
	return strconv.Atoi(string(digits))
}
