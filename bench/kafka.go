package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// broker is the broker's process, and a client to look into it.
type broker struct {
	*process // nil when it is none of ours
	addr     string
	client   *kgo.Client
	admin    *kadm.Client
}

// broker starts one with a folder of its own.
func (b *bench) broker(ctx context.Context) (*broker, error) {
	dir, err := os.MkdirTemp(b.tmp, "broker-")
	if err != nil {
		return nil, err
	}
	p, addr, err := b.serve(ctx, "broker", "-dir", dir)
	if err != nil {
		return nil, err
	}
	k, err := dial(addr)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	k.process = p
	return k, nil
}

// dial looks into a broker that is there already.
func dial(addr string) (*broker, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	return &broker{addr: addr, client: client, admin: kadm.NewClient(client)}, nil
}

func (k *broker) close() error {
	k.client.Close()
	if k.process == nil {
		return nil
	}
	return k.stop()
}

// createTopics makes topics with so many partitions each.
func (k *broker) createTopics(ctx context.Context, partitions int, topics ...string) error {
	answers, err := k.admin.CreateTopics(ctx, int32(partitions), 1, nil, topics...)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	return nil
}

// records is the number of records that the topics hold.
func (k *broker) records(ctx context.Context, topics ...string) (int, error) {
	offsets, err := k.admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return 0, err
	}
	sum := 0
	offsets.Each(func(o kadm.ListedOffset) { sum += int(o.Offset) })
	return sum, nil
}

// produceLines returns a function that produces a record for each line.
func (k *broker) produceLines(ctx context.Context) func(lines []byte) error {
	return func(lines []byte) error {
		for line := range bytes.Lines(bytes.Clone(lines)) {
			k.client.Produce(ctx, &kgo.Record{Topic: topic, Value: bytes.TrimSuffix(line, []byte{'\n'})}, nil)
		}
		return nil
	}
}

func (k *broker) drop(ctx context.Context, topic string) error {
	_, err := k.admin.DeleteTopic(ctx, topic)
	return err
}
