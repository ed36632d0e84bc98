package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	sweepEvery = 30 * time.Second

	// What stays of a partition after everybody has read it, for `replay` and
	// `audit`. A start after a kill reads it once, about a second per GiB.
	keepRead = 512 << 20
)

// sweeper gives back the disk of records that were read. A partition shrinks to
// about keepRead bytes, but never past the lowest offset that a consumer group
// has committed for it: what nobody has read, or what the transfer is still
// behind on, stays however big it grows. Compacted topics are left alone.
type sweeper struct {
	addr   string
	logger *slog.Logger
}

func (s *sweeper) run(ctx context.Context) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.ClientID("logferry-sweeper"))
	if err != nil {
		s.logger.Error("make the client that gives back disk", "error", err)
		return
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.sweep(ctx, admin, keepRead); err != nil && ctx.Err() == nil {
				s.logger.Warn("give back the disk of read records", "error", err)
			}
		}
	}
}

func (s *sweeper) sweep(ctx context.Context, admin *kadm.Client, keep int64) error {
	big, err := bigPartitions(ctx, admin, keep)
	if err != nil || len(big) == 0 {
		return err
	}
	read, err := lowestCommitted(ctx, admin)
	if err != nil {
		return err
	}
	starts, err := admin.ListStartOffsets(ctx, big.topics()...)
	if err != nil {
		return fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, big.topics()...)
	if err != nil {
		return fmt.Errorf("list end offsets: %w", err)
	}
	cut := make(kadm.Offsets)
	for p, size := range big {
		start, ok1 := starts.Lookup(p.topic, p.partition)
		end, ok2 := ends.Lookup(p.topic, p.partition)
		at, ok3 := read[p]
		if !ok1 || !ok2 || !ok3 || start.Err != nil || end.Err != nil {
			continue
		}
		// Records of one topic are alike enough to turn bytes into offsets.
		excess := float64(size-keep) / float64(size)
		to := min(at, start.Offset+int64(float64(end.Offset-start.Offset)*excess))
		if to > start.Offset {
			cut.AddOffset(p.topic, p.partition, to, -1)
		}
	}
	if len(cut) == 0 {
		return nil
	}
	done, err := admin.DeleteRecords(ctx, cut)
	if err != nil {
		return fmt.Errorf("delete records: %w", err)
	}
	return done.Error()
}

type topicPartition struct {
	topic     string
	partition int32
}

type partitionSizes map[topicPartition]int64

func (s partitionSizes) topics() []string {
	var topics []string
	for p := range s {
		topics = append(topics, p.topic)
	}
	return topics
}

// bigPartitions gives those of topics that are not compacted and hold more than
// keep bytes.
func bigPartitions(ctx context.Context, admin *kadm.Client, keep int64) (partitionSizes, error) {
	dirs, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("describe log dirs: %w", err)
	}
	big := make(partitionSizes)
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if p.Size > keep {
				big[topicPartition{p.Topic, p.Partition}] = p.Size
			}
		})
	})
	if len(big) == 0 {
		return nil, nil
	}
	configs, err := admin.DescribeTopicConfigs(ctx, big.topics()...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	for p := range big {
		rc, err := configs.On(p.topic, nil)
		if err != nil {
			delete(big, p)
			continue
		}
		for _, c := range rc.Configs {
			if c.Key == "cleanup.policy" && strings.Contains(c.MaybeValue(), "compact") {
				delete(big, p)
			}
		}
	}
	return big, nil
}

// lowestCommitted gives, for each partition that any group has committed an
// offset for, the lowest.
func lowestCommitted(ctx context.Context, admin *kadm.Client) (map[topicPartition]int64, error) {
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	lowest := make(map[topicPartition]int64)
	for _, group := range groups.Groups() {
		offsets, err := admin.FetchOffsets(ctx, group)
		if err != nil {
			return nil, fmt.Errorf("fetch offsets of group %q: %w", group, err)
		}
		offsets.Each(func(o kadm.OffsetResponse) {
			p := topicPartition{o.Topic, o.Partition}
			if at, ok := lowest[p]; o.At >= 0 && (!ok || o.At < at) {
				lowest[p] = o.At
			}
		})
	}
	return lowest, nil
}
