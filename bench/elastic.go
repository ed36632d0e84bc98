package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// loaders post the same documents to a real Elasticsearch. The bodies of the
// bare loop are those that the transfer made for a sink that recorded them.
var loaders = []subject{
	{title: "bare loop over ready-made bodies (the limit)", program: "bare", args: bareArgs},
	{title: "logferry transfer", program: "logferry", args: elasticArgs},
}

func bareArgs(b *bench, t task) ([]string, error) {
	return []string{"-bodies", b.bodies, "-from", topic, "-to", indexOf(t), "-elasticsearch", t.sink}, nil
}

func elasticArgs(_ *bench, t task) ([]string, error) { return transferTo(t, indexOf(t)) }

// indexOf gives each run an index of its own.
func indexOf(t task) string { return "bench-" + filepath.Base(t.dir) }

// elastic fills one topic, records what the transfer makes of it, and measures
// the loaders in turn against the Elasticsearch of -elasticsearch.
func (b *bench) elastic(ctx context.Context) (rows []*row, err error) {
	if b.url == "" || b.bins["logferry"] == "" {
		return nil, errors.New("-elasticsearch names a real one, and logferry has to be there")
	}
	file, err := b.lineFile()
	if err != nil {
		return nil, err
	}
	k, err := b.broker(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if _, err := b.shipOnce(ctx, k, shippers[1], file); err != nil {
		return nil, fmt.Errorf("fill the topic: %w", err)
	}
	if b.bodies, err = os.MkdirTemp(b.tmp, "bodies-"); err != nil {
		return nil, err
	}
	if _, err := b.indexOnce(ctx, k, indexers[1], "-record", b.bodies); err != nil {
		return nil, fmt.Errorf("record bodies: %w", err)
	}
	rows = b.rows(loaders)
	return rows, b.eachRound(rows, func(s subject) (result, error) { return b.loadOnce(ctx, k, s) })
}

func (b *bench) loadOnce(ctx context.Context, k *broker, s subject) (result, error) {
	t := task{broker: k.addr, sink: b.url}
	p, err := b.launchTask(s, &t)
	if err != nil {
		return result{}, err
	}
	var last int
	var asked time.Time
	r, err := p.measure(ctx, b.lines, func() (int, error) {
		if time.Since(asked) < 50*time.Millisecond {
			return last, nil // asking costs the server
		}
		asked = time.Now()
		last, err = indexed(ctx, b.url, indexOf(t))
		return last, err
	})
	return r, errors.Join(err, drop(ctx, b.url, indexOf(t)))
}

// indexed asks how many documents an index took.
func indexed(ctx context.Context, url, index string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/"+index+"/_stats/indexing?ignore_unavailable=true", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusNotFound {
		return 0, nil
	}
	var answer struct {
		All struct {
			Primaries struct {
				Indexing struct {
					Total int `json:"index_total"`
				} `json:"indexing"`
			} `json:"primaries"`
		} `json:"_all"`
	}
	err = json.NewDecoder(res.Body).Decode(&answer)
	return answer.All.Primaries.Indexing.Total, err
}

func drop(ctx context.Context, url, index string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, url+"/"+index, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}
