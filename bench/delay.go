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
)

const (
	every  = 10 * time.Millisecond // between two lines
	warmUp = 100                   // lines that are not counted
)

// delayRow is how long lines took from their append to a consumer.
type delayRow struct {
	title  string
	delays []time.Duration // sorted
}

func (r delayRow) percentile(p float64) time.Duration {
	return r.delays[min(int(p*float64(len(r.delays))), len(r.delays)-1)]
}

// delays measures every shipper that follows, and the floor: lines produced
// by us as they are due.
func (b *bench) delays(ctx context.Context) ([]delayRow, error) {
	floor, err := b.delayOnce(ctx, subject{title: "produced without a shipper (the floor)"})
	if err != nil {
		return nil, err
	}
	rows := []delayRow{floor}
	for _, row := range b.rows(shippers) {
		if !row.follows {
			continue
		}
		r, err := b.delayOnce(ctx, row.subject)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", row.program, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (b *bench) delayOnce(ctx context.Context, s subject) (row delayRow, err error) {
	k, err := b.broker(ctx)
	if err != nil {
		return delayRow{}, err
	}
	defer func() { err = errors.Join(err, k.close(), b.clear("broker-*")) }()
	if err := k.createTopic(ctx, topic, b.partitions); err != nil {
		return delayRow{}, err
	}
	emit := produce(ctx, k.client)
	if s.program != "" {
		file, err := os.Create(filepath.Join(b.tmp, "delay.log"))
		if err != nil {
			return delayRow{}, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		p, err := b.launchSubject(s, task{file: file.Name(), broker: k.addr})
		if err != nil {
			return delayRow{}, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		emit = func(line []byte) error {
			_, err := file.Write(append(line, '\n'))
			return err
		}
	}
	delays, err := b.follow(ctx, k.addr, emit)
	if err != nil {
		return delayRow{}, err
	}
	row = delayRow{title: s.title, delays: delays[warmUp:]}
	slices.Sort(row.delays)
	p50, p99 := row.percentile(0.5), row.percentile(0.99)
	b.say("delay %-10s p50 %v, p99 %v", s.program, p50, p99)
	return row, nil
}

func produce(ctx context.Context, client *kgo.Client) func([]byte) error {
	return func(line []byte) error {
		client.Produce(ctx, &kgo.Record{Topic: topic, Value: slices.Clone(line)}, nil)
		return nil
	}
}

// follow emits lines at their pace while it consumes them, and returns how
// long each took, in the order of their numbers.
func (b *bench) follow(ctx context.Context, addr string, emit func([]byte) error) ([]time.Duration, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(addr),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
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
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			line = appendLine(line[:0], n, b.size)
			sent[n] = time.Now()
			if err := emit(line); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error { return collect(ctx, client, got) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	delays := make([]time.Duration, count)
	for n := range delays {
		delays[n] = got[n].Sub(sent[n])
	}
	return delays, nil
}

// collect notes when each line came, until all have, each once.
func collect(ctx context.Context, client *kgo.Client, got []time.Time) error {
	for missing := len(got); missing > 0; {
		fetches := client.PollFetches(ctx)
		now := time.Now()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%d lines did not arrive: %w", missing, err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			n, err := numberOf(it.Next().Value)
			if err != nil {
				return err
			}
			if n >= len(got) || !got[n].IsZero() {
				return fmt.Errorf("line %d came again or was never sent", n)
			}
			got[n] = now
			missing--
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
