package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

var indexers = []subject{
	{title: "plain consume-and-post loop (the limit)", program: "plainindex", args: plainIndexArgs},
	{title: "logferry transfer", program: "logferry", args: transferArgs},
}

func plainIndexArgs(_ *bench, t task) ([]string, error) {
	return []string{"-broker", t.broker, "-topic", topic, "-index", topic, "-elasticsearch", t.sink}, nil
}

// transferArgs takes a group for each round: it starts at the oldest record.
func transferArgs(_ *bench, t task) ([]string, error) { return transferTo(t, topic) }

func transferTo(t task, index string) ([]string, error) {
	config := fmt.Sprintf(`node: bench
data_dir: %s
admin: {listen: "127.0.0.1:0"}
kafka: {brokers: [%q]}
elasticsearch: {addresses: [%q], compression: none}
transfer:
  routes:
    - {name: bench, topics: [%s], group: %s, index: %s}
`, filepath.Join(t.dir, "data"), t.broker, t.sink, topic, filepath.Base(t.dir), index)
	path := filepath.Join(t.dir, "transfer.yml")
	return []string{"transfer", "--config", path}, os.WriteFile(path, []byte(config), 0o600)
}

// index fills one topic, with the agent's headers where the agent is there,
// and measures the indexers in turn, each with a sink of its own.
func (b *bench) index(ctx context.Context) (rows []*row, err error) {
	file, err := b.lineFile()
	if err != nil {
		return nil, err
	}
	k, err := b.broker(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	filler := shippers[0]
	if b.bins["logferry"] != "" {
		filler = shippers[1]
	}
	if _, err := b.shipOnce(ctx, k, filler, file); err != nil {
		return nil, fmt.Errorf("fill the topic: %w", err)
	}
	rows = b.rows(indexers)
	return rows, b.eachRound(rows, func(s subject) (result, error) { return b.indexOnce(ctx, k, s) })
}

func (b *bench) indexOnce(ctx context.Context, k *broker, s subject, sinkArgs ...string) (r result, err error) {
	sink, url, err := b.serve(ctx, "nullbulk", sinkArgs...)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, sink.stop()) }()
	p, err := b.launchSubject(s, task{broker: k.addr, sink: url})
	if err != nil {
		return result{}, err
	}
	return p.measure(ctx, b.lines, func() (int, error) { return documents(ctx, url) })
}

// documents asks the sink how many it took.
func documents(ctx context.Context, url string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/count", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(body))
}
