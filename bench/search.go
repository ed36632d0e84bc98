package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/logferry/logferry/bench/report"
)

// way is two programs: from a file to Kafka, and from there to a sink.
type way struct {
	title            string
	shipper, indexer subject
}

var ways = []way{
	{"logferry agent and transfer, taken by a null `_bulk`", agent, transfer},
	{"rsyslog twice, taken by a null `_bulk`", imfile, imkafka},
}

// searches measures how long a line takes to the sink, and to be found.
func (b *bench) searches(ctx context.Context) (*report.Part, error) {
	part := &report.Part{Run: report.Run{What: b.pace()}}
	for _, w := range ways {
		if b.bins[w.shipper.program] == "" {
			continue
		}
		row, err := b.searchOnce(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.title, err)
		}
		part.Delays = append(part.Delays, row)
	}
	if b.bins["logferry-up"] == "" {
		return part, nil
	}
	row, err := b.searchUp(ctx)
	if err != nil {
		return nil, fmt.Errorf("up: %w", err)
	}
	part.Delays = append(part.Delays, row)
	return part, nil
}

// searchOnce follows lines until a nullbulk took them, which notes when.
func (b *bench) searchOnce(ctx context.Context, w way) (row report.Delay, err error) {
	k, err := b.broker(ctx)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, k.close(), b.clear("broker-*")) }()
	if err := k.createTopics(ctx, b.partitions, topic); err != nil {
		return row, err
	}
	sink, url, err := b.serve(ctx, "nullbulk", "-stamp")
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, sink.stop()) }()
	file, err := os.Create(filepath.Join(b.tmp, "search.log"))
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	t := task{files: file.Name(), topic: topic, topics: []string{topic}, broker: k.addr, sink: url, index: topic}
	var all []*process
	for _, s := range []subject{w.indexer, w.shipper} {
		p, err := b.launchSubject(s, t)
		if err != nil {
			return row, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		all = append(all, p)
	}
	return b.follow(ctx, subject{name: w.shipper.name, title: w.title}, appendTo(file), func(ctx context.Context, got []time.Time) error {
		if err := stored(ctx, url, len(got)).await(ctx, sink); err != nil {
			return err
		}
		return stamps(ctx, url, got)
	}, all...)
}

// stamps reads what a nullbulk noted.
func stamps(ctx context.Context, url string, got []time.Time) error {
	text, err := get(ctx, url+"/stamps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var n int
		var at int64
		if _, err := fmt.Sscan(line, &n, &at); err != nil {
			return err
		}
		if err := note(got, n, time.Unix(0, at)); err != nil {
			return err
		}
	}
	return nil
}

// searchUp follows lines through `logferry up` until its search finds them.
func (b *bench) searchUp(ctx context.Context) (row report.Delay, err error) {
	file, err := os.Create(filepath.Join(b.tmp, "up.log"))
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	p, search, err := b.up(ctx, file.Name())
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	s := subject{name: "logferry up", title: "`logferry up`, found by its search"}
	return b.follow(ctx, s, appendTo(file), poll(20*time.Millisecond, func(ctx context.Context, from int) ([]int, error) {
		text, err := logsql(ctx, search, fmt.Sprintf("n:>=%d | fields n", from))
		if err != nil {
			return nil, err
		}
		var found []int
		for line := range bytes.Lines(text) {
			var doc struct{ N string }
			if err := json.Unmarshal(line, &doc); err != nil {
				return nil, err
			}
			n, err := strconv.Atoi(doc.N)
			if err != nil {
				return nil, err
			}
			found = append(found, n)
		}
		return found, nil
	}), p)
}

// poll asks again and again which lines from a number on are found, until all are.
func poll(pause time.Duration, find func(ctx context.Context, from int) ([]int, error)) func(context.Context, []time.Time) error {
	return func(ctx context.Context, got []time.Time) error {
		ticks := time.NewTicker(pause)
		defer ticks.Stop()
		for from := 0; from < len(got); {
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return fmt.Errorf("line %d was not found: %w", from, ctx.Err())
			}
			found, err := find(ctx, from)
			if err != nil {
				return err
			}
			now := time.Now()
			for _, n := range found {
				if n < len(got) && got[n].IsZero() { // a line after from may have been found before
					got[n] = now
				}
			}
			for from < len(got) && !got[from].IsZero() {
				from++
			}
		}
		return nil
	}
}

// up starts `logferry up` on a file and returns where it searches.
func (b *bench) up(ctx context.Context, file string) (p *process, search string, err error) {
	dir, err := os.MkdirTemp(b.tmp, "up-")
	if err != nil {
		return nil, "", err
	}
	args := []string{"up", "--dir", dir, "--output", "json", file}
	for _, port := range []string{"etcd", "kafka", "elasticsearch", "search", "console"} {
		args = append(args, "--"+port+"-port", "0")
	}
	p, line, err := b.serve(ctx, "logferry-up", args...)
	if err != nil {
		return nil, "", err
	}
	var addresses struct{ Search string }
	if err := json.Unmarshal([]byte(line), &addresses); err != nil {
		return nil, "", errors.Join(fmt.Errorf("read the addresses of up: %w", err), p.stop())
	}
	return p, addresses.Search, nil
}

// logsql asks the search of `logferry up`.
func logsql(ctx context.Context, search, query string) ([]byte, error) {
	return get(ctx, search+"/select/logsql/query?query="+url.QueryEscape(query))
}
