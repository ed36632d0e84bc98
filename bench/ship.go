package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

var shippers = []subject{
	{title: "plain read-and-produce loop (the limit)", program: "plainship", args: plainArgs},
	{title: "logferry agent", program: "logferry", args: agentArgs, follows: true},
	{title: "rsyslog imfile → omkafka", program: "rsyslogd", args: rsyslogArgs, follows: true},
}

func plainArgs(b *bench, t task) ([]string, error) {
	return []string{"-broker", t.broker, "-topic", topic, "-compression", b.compression, t.file}, nil
}

func agentArgs(b *bench, t task) ([]string, error) {
	config := fmt.Sprintf(`node: bench
data_dir: %s
admin: {listen: "127.0.0.1:0"}
kafka: {brokers: [%q], compression: %s}
agent:
  inputs:
    - {name: bench, paths: [%q], topic: %s}
`, filepath.Join(t.dir, "data"), t.broker, b.compression, t.file, topic)
	path := filepath.Join(t.dir, "agent.yml")
	return []string{"agent", "--config", path}, os.WriteFile(path, []byte(config), 0o600)
}

// rsyslogArgs takes no queue between reader and sender: of seven queues tried,
// none cost rsyslog less or made it faster.
func rsyslogArgs(b *bench, t task) ([]string, error) {
	config := fmt.Sprintf(`global(workDirectory=%q maxMessageSize="64k")
module(load="imfile")
module(load="omkafka")
template(name="line" type="string" string="%%msg%%")
input(type="imfile" file=%q tag="bench" ruleset="ship")
ruleset(name="ship" queue.type="Direct") {
  action(type="omkafka" broker=%q topic=%q template="line"
    confParam=["compression.codec=%s", "queue.buffering.max.messages=1000000"]
    topicConfParam=["request.required.acks=-1"])
}
`, t.dir, t.file, t.broker, topic, b.compression)
	path := filepath.Join(t.dir, "rsyslog.conf")
	return []string{"-n", "-i", "NONE", "-f", path}, os.WriteFile(path, []byte(config), 0o600)
}

// ship measures the shippers in turn, round after round.
func (b *bench) ship(ctx context.Context) ([]*row, error) {
	file, err := b.lineFile()
	if err != nil {
		return nil, err
	}
	rows := b.rows(shippers)
	return rows, b.eachRound(rows, func(s subject) (result, error) {
		// A broker for each run, so that none pays for what the one before left behind.
		k, err := b.broker(ctx)
		if err != nil {
			return result{}, err
		}
		r, err := b.shipOnce(ctx, k, s, file)
		return r, errors.Join(err, k.close(), b.clear("broker-*"))
	})
}

// shipOnce ships the file to a new topic.
func (b *bench) shipOnce(ctx context.Context, k *broker, s subject, file string) (result, error) {
	if err := k.createTopic(ctx, topic, b.partitions); err != nil {
		return result{}, err
	}
	p, err := b.launchSubject(s, task{file: file, broker: k.addr})
	if err != nil {
		return result{}, err
	}
	return p.measure(ctx, b.lines, func() (int, error) { return k.records(ctx, topic) })
}

// clear removes folders of the run: a round's records are half a gigabyte.
func (b *bench) clear(pattern string) error {
	found, err := filepath.Glob(filepath.Join(b.tmp, pattern))
	for _, path := range found {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}
