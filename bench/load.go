package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// shipLoads has the agent ship a tree.
func (b *bench) shipLoads(ctx context.Context, l load, rounds int) ([]result, error) {
	t, err := b.tree(l.shape)
	if err != nil {
		return nil, err
	}
	var results []result
	for range rounds {
		k, err := b.broker(ctx)
		if err != nil {
			return nil, err
		}
		r, err := b.shipTree(ctx, k, t, l)
		if err := errors.Join(err, k.close(), b.clear("broker-*")); err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func (b *bench) shipTree(ctx context.Context, k *broker, t tree, l load) (result, error) {
	if err := k.createTopics(ctx, l.partitions, t.topics...); err != nil {
		return result{}, err
	}
	p, err := b.launchSubject(agent, task{files: t.glob, topic: "{path.dir}", broker: k.addr})
	if err != nil {
		return result{}, err
	}
	return finish(ctx, k.arrival(ctx, l.lines, t.topics...), p)
}

// indexLoads has the transfer index what the agent shipped of a tree.
func (b *bench) indexLoads(ctx context.Context, l load, rounds int) (results []result, err error) {
	t, err := b.tree(l.shape)
	if err != nil {
		return nil, err
	}
	k, err := b.broker(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close(), b.clear("broker-*")) }()
	if _, err := b.shipTree(ctx, k, t, l); err != nil {
		return nil, err
	}
	for range rounds {
		r, err := b.indexOnce(ctx, transfer, task{broker: k.addr, topics: t.topics, batch: l.batch}, l.lines)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

// appendLoads has the agent follow a file that grows at a pace.
func (b *bench) appendLoads(ctx context.Context, l load, rounds int) ([]result, error) {
	return b.paced(rounds, func() (r result, err error) {
		k, err := b.broker(ctx)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, k.close(), b.clear("broker-*")) }()
		if err := k.createTopics(ctx, 1, topic); err != nil {
			return r, err
		}
		file, err := os.Create(filepath.Join(b.tmp, "append.log"))
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
		p, err := b.launchSubject(agent, task{files: file.Name(), topic: topic, broker: k.addr})
		if err != nil {
			return r, err
		}
		return b.stream(ctx, p, l, func(lines []byte) error {
			_, err := file.Write(lines)
			return err
		}, func(want int) counted { return k.arrival(ctx, want, topic) })
	})
}

// produceLoads has the transfer index records that come at a pace.
func (b *bench) produceLoads(ctx context.Context, l load, rounds int) ([]result, error) {
	return b.paced(rounds, func() (r result, err error) {
		k, err := b.broker(ctx)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, k.close(), b.clear("broker-*")) }()
		if err := k.createTopics(ctx, 1, topic); err != nil {
			return r, err
		}
		sink, url, err := b.serve(ctx, "nullbulk")
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, sink.stop()) }()
		p, err := b.launchSubject(transfer, task{broker: k.addr, topics: []string{topic}, sink: url, index: topic, batch: l.batch})
		if err != nil {
			return r, err
		}
		return b.stream(ctx, p, l, k.produceLines(ctx), func(want int) counted { return stored(ctx, url, want) })
	})
}

func (b *bench) paced(rounds int, once func() (result, error)) ([]result, error) {
	var results []result
	for range rounds {
		r, err := once()
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

// stream emits lines at a pace to a program that is at work already, and takes
// what it uses from then on.
func (b *bench) stream(ctx context.Context, p *process, l load, emit func(lines []byte) error, arrival func(want int) counted) (r result, err error) {
	defer func() { err = errors.Join(err, p.stop()) }()
	sent := 0
	var lines []byte
	more := func(n int) error {
		lines = lines[:0]
		for range n {
			lines = append(appendLine(lines, sent, l.size), '\n')
			sent++
		}
		return emit(lines)
	}
	// The first line comes when all is up.
	if err := more(1); err != nil {
		return r, err
	}
	if err := arrival(1).await(ctx, p); err != nil {
		return r, err
	}
	before, err := cpuOf(p.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	began := time.Now()
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for range max(1, b.scaled(growthTicks)) {
		select {
		case <-ticks.C:
		case <-p.exited:
			return r, fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		case <-ctx.Done():
			return r, ctx.Err()
		}
		if err := more(l.perTick); err != nil {
			return r, err
		}
	}
	if err := arrival(sent).await(ctx, p); err != nil {
		return r, err
	}
	r = result{items: sent - 1, elapsed: time.Since(began)}
	r.usage, err = p.usage()
	r.cpu -= before
	return r, err
}
