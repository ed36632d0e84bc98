package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/logferry/logferry/bench/report"
)

var (
	plainindex  = subject{name: report.Limit, title: "plain consume-and-post loop (the limit)", program: "plainindex", args: plainIndexArgs}
	transfer    = subject{name: "logferry", title: "logferry transfer", program: "logferry", args: transferArgs}
	imkafka     = subject{name: "rsyslog", title: "rsyslog imkafka → omelasticsearch, values as they are, without ids", program: "rsyslogd", args: imkafkaArgs}
	imkafkaSame = subject{name: "rsyslog, same work", title: "the same with JSON checked, an id and a field, as the transfer does", program: "rsyslogd", args: imkafkaSameArgs}

	indexers = []subject{plainindex, transfer, imkafka, imkafkaSame}
)

func plainIndexArgs(_ *bench, t task) ([]string, error) {
	return []string{"-broker", t.broker, "-topic", t.topics[0], "-index", t.index, "-elasticsearch", t.sink}, nil
}

// transferArgs takes a group for each run: it starts at the oldest record.
func transferArgs(_ *bench, t task) ([]string, error) {
	config := fmt.Sprintf(`node: bench
data_dir: %s
admin: {listen: "127.0.0.1:0"}
kafka: {brokers: [%q]}
elasticsearch: {addresses: [%q], compression: none}
transfer:
  routes:
    - {name: bench, topics: %s, group: %s, index: %s, batch: {%s}}
`, filepath.Join(t.dir, "data"), t.broker, t.sink, list(t.topics), filepath.Base(t.dir), t.index, t.batch)
	path := filepath.Join(t.dir, "transfer.yml")
	return []string{"transfer", "--config", path}, os.WriteFile(path, []byte(config), 0o600)
}

// imkafkaArgs passes values on as they are, without ids.
func imkafkaArgs(_ *bench, t task) ([]string, error) {
	return imkafkaConfig(t, "", `template(name="document" type="string" string="%msg%")`, "")
}

// imkafkaSameArgs does what the transfer does: JSON is checked, documents get
// an id and a field, and are created once. Offsets are not to be had: the id is
// a field of the document.
func imkafkaSameArgs(_ *bench, t task) ([]string, error) {
	templates := `module(load="mmjsonparse")
template(name="id" type="string" string="` + t.topics[0] + `-%$!n%")
template(name="document" type="string" string="{\"logferry.topic\":\"` + t.topics[0] + `\",%msg:2:$%")`
	return imkafkaConfig(t, `action(type="mmjsonparse" cookie="")`, templates, `writeoperation="create" bulkid="id" dynbulkid="on"`)
}

// imkafkaConfig takes the queue that made rsyslog cheapest and fastest of those
// that were tried.
func imkafkaConfig(t task, before, templates, options string) ([]string, error) {
	sink, err := url.Parse(t.sink)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`global(workDirectory=%q maxMessageSize="64k")
module(load="imkafka")
module(load="omelasticsearch")
%s
input(type="imkafka" broker=%q topic=%q consumergroup=%q ruleset="index" parseHostname="off"
  confParam=["auto.offset.reset=earliest"])
ruleset(name="index" queue.type="LinkedList" queue.size="200000" queue.dequeueBatchSize="5000"
    queue.workerThreads="2" queue.workerThreadMinimumMessages="5000") {
  %s
  action(type="omelasticsearch" server=%q serverport=%q searchIndex=%q searchType="" template="document"
    bulkmode="on" maxbytes="5m" %s action.resumeRetryCount="-1")
}
`, t.dir, templates, t.broker, t.topics[0], filepath.Base(t.dir), before, sink.Hostname(), sink.Port(), t.index, options)
	return rsyslogArgs(t, config)
}

// index measures all indexers.
func (b *bench) index(ctx context.Context) (*report.Part, error) {
	return b.indexEach(ctx, b.present(indexers))
}

// indexEach fills one topic, with the agent's headers where the agent is there,
// and measures the indexers in turn, each with a sink of its own.
func (b *bench) indexEach(ctx context.Context, all []subject) (part *report.Part, err error) {
	k, err := b.broker(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close(), b.clear("broker-*")) }()
	if err := b.fill(ctx, k, b.docs); err != nil {
		return nil, err
	}
	programs, err := b.eachRound(all, func(s subject) (result, error) {
		return b.indexOnce(ctx, s, task{broker: k.addr, topics: []string{topic}}, b.docs)
	})
	what := fmt.Sprintf("%s, %d partition(s), bodies without gzip, %d rounds in turn", b.sizes(b.docs), b.partitions, b.rounds)
	return &report.Part{Run: report.Run{What: what}, Programs: programs}, err
}

// fill ships lines to a broker's topic.
func (b *bench) fill(ctx context.Context, k *broker, lines int) error {
	file := filepath.Join(b.tmp, "fill.log")
	if err := writeLines(file, lines, b.size); err != nil {
		return err
	}
	shipper := plainship
	if b.bins[agent.program] != "" {
		shipper = agent
	}
	if _, err := b.shipOnce(ctx, k, shipper, file, lines); err != nil {
		return fmt.Errorf("fill the topic: %w", err)
	}
	return os.Remove(file)
}

// indexOnce indexes all records of t's topics to a new sink.
func (b *bench) indexOnce(ctx context.Context, s subject, t task, docs int, sinkArgs ...string) (r result, err error) {
	sink, url, err := b.serve(ctx, "nullbulk", sinkArgs...)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, sink.stop()) }()
	t.sink, t.index = url, topic
	p, err := b.launchSubject(s, t)
	if err != nil {
		return result{}, err
	}
	return finish(ctx, stored(ctx, url, docs), p)
}

// stored waits for documents that a nullbulk took.
func stored(ctx context.Context, url string, want int) counted {
	return counted{want: want, every: 10 * time.Millisecond, count: func() (int, error) {
		body, err := get(ctx, url+"/count")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(string(body))
	}}
}

// get reads what a URL answers; another status than 200 is an error.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s: %.200s", url, response.Status, body)
	}
	return body, err
}

// list writes a list in YAML.
func list(names []string) string {
	text, _ := json.Marshal(names)
	return string(text)
}
