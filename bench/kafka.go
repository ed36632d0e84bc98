package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// broker is the broker's process, and a client to look into it.
type broker struct {
	*process
	addr   string
	client *kgo.Client
	admin  *kadm.Client
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
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerLinger(0))
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return &broker{process: p, addr: addr, client: client, admin: kadm.NewClient(client)}, nil
}

func (k *broker) close() error {
	k.client.Close()
	return k.stop()
}

func (k *broker) createTopic(ctx context.Context, topic string, partitions int) error {
	answer, err := k.admin.CreateTopic(ctx, int32(partitions), 1, nil, topic)
	if err == nil {
		err = answer.Err
	}
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return nil
}

// records is the number of records that the topic holds.
func (k *broker) records(ctx context.Context, topic string) (int, error) {
	offsets, err := k.admin.ListEndOffsets(ctx, topic)
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
