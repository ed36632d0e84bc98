package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/logferry/logferry/bench/report"
)

var (
	plainship = subject{name: report.Limit, title: "plain read-and-produce loop (the limit)", program: "plainship", args: plainArgs}
	fullship  = subject{name: "headers", title: "the same loop with the agent's four headers", program: "plainship", args: fullArgs}
	agent     = subject{name: "logferry", title: "logferry agent", program: "logferry", args: agentArgs, follows: true}
	imfile    = subject{name: "rsyslog", title: "rsyslog imfile → omkafka", program: "rsyslogd", args: imfileArgs, follows: true}

	shippers = []subject{plainship, fullship, agent, imfile}
)

func plainArgs(b *bench, t task) ([]string, error) {
	return []string{"-broker", t.broker, "-topic", t.topic, "-compression", b.compression, t.files}, nil
}

func fullArgs(b *bench, t task) ([]string, error) {
	args, err := plainArgs(b, t)
	return append([]string{"-headers"}, args...), err
}

func agentArgs(b *bench, t task) ([]string, error) {
	config := fmt.Sprintf(`node: bench
data_dir: %s
admin: {listen: "127.0.0.1:0"}
kafka: {brokers: [%q], compression: %s}
agent:
  inputs:
    - {name: bench, paths: [%q], topic: %q}
`, filepath.Join(t.dir, "data"), t.broker, b.compression, t.files, t.topic)
	path := filepath.Join(t.dir, "agent.yml")
	return []string{"agent", "--config", path}, os.WriteFile(path, []byte(config), 0o600)
}

// imfileArgs takes no queue between reader and sender: of seven queues tried,
// none cost rsyslog less or made it faster.
func imfileArgs(b *bench, t task) ([]string, error) {
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
`, t.dir, t.files, t.broker, t.topic, b.compression)
	return rsyslogArgs(t, config)
}

func rsyslogArgs(t task, config string) ([]string, error) {
	path := filepath.Join(t.dir, "rsyslog.conf")
	return []string{"-n", "-i", "NONE", "-f", path}, os.WriteFile(path, []byte(config), 0o600)
}

// ship measures all shippers.
func (b *bench) ship(ctx context.Context) (*report.Part, error) {
	return b.shipEach(ctx, b.present(shippers))
}

// shipEach measures shippers in turn, round after round.
func (b *bench) shipEach(ctx context.Context, all []subject) (*report.Part, error) {
	file := filepath.Join(b.tmp, "bench.log")
	if err := writeLines(file, b.lines, b.size); err != nil {
		return nil, err
	}
	programs, err := b.eachRound(all, func(s subject) (result, error) {
		// A broker for each run, so that none pays for what the one before left behind.
		k, err := b.broker(ctx)
		if err != nil {
			return result{}, err
		}
		r, err := b.shipOnce(ctx, k, s, file, b.lines)
		return r, errors.Join(err, k.close(), b.clear("broker-*"))
	})
	what := fmt.Sprintf("%s; compression %s, %d partition(s), %d rounds in turn", b.sizes(b.lines), b.compression, b.partitions, b.rounds)
	return &report.Part{Run: report.Run{What: what}, Programs: programs}, errors.Join(err, os.Remove(file))
}

// sizes says how much was sent.
func (b *bench) sizes(count int) string {
	return fmt.Sprintf("%s lines of %d bytes", report.Whole(count), b.size)
}

// shipOnce ships the file to a new topic.
func (b *bench) shipOnce(ctx context.Context, k *broker, s subject, file string, lines int) (result, error) {
	if err := k.createTopics(ctx, b.partitions, topic); err != nil {
		return result{}, err
	}
	p, err := b.launchSubject(s, task{files: file, topic: topic, broker: k.addr})
	if err != nil {
		return result{}, err
	}
	return finish(ctx, k.arrival(ctx, lines, topic), p)
}

// arrival waits for records.
func (k *broker) arrival(ctx context.Context, want int, topics ...string) counted {
	return counted{want: want, every: 10 * time.Millisecond, count: func() (int, error) { return k.records(ctx, topics...) }}
}
