package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

const (
	// quietPoll is how long a poll may bring nothing before it is asked whether
	// there is anything left to read.
	quietPoll = 250 * time.Millisecond
	// readTimeout is how long the brokers may bring nothing at all.
	readTimeout = 30 * time.Second
	// readPollRecords bounds the records of one poll: the memory of our side.
	readPollRecords = 5000
)

// Reader reads ranges of topics without a consumer group: nothing of what it
// reads is committed anywhere. Its methods may be called from any goroutine.
type Reader struct {
	cfg config.Kafka
	log *slog.Logger
	// timeout and maxBatch are readTimeout and maxDecompressed but in tests.
	timeout  time.Duration
	maxBatch int
}

// NewReader returns a reader; it connects when it is used.
func NewReader(cfg config.Kafka, log *slog.Logger) *Reader {
	return &Reader{cfg: cfg, log: orDiscard(log), timeout: readTimeout, maxBatch: maxDecompressed}
}

// Spans returns what the topics hold now, as far as it is committed, in the
// order of topic and partition. A topic that is not there holds nothing.
func (r *Reader) Spans(ctx context.Context, topics ...string) ([]logs.Span, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	return r.list(ctx, func(adm *kadm.Client) ([]logs.Span, error) {
		starts, err := adm.ListStartOffsets(ctx, topics...)
		if err != nil {
			return nil, err
		}
		ends, err := adm.ListCommittedOffsets(ctx, topics...)
		if err != nil {
			return nil, err
		}
		return spansOf(starts, ends)
	})
}

// Between returns what the topics, names or regular expressions between
// slashes, hold of records from one time until before another. The order of a
// partition's records is that of their offsets, so what lies between the first
// record at or after from and the first at or after to is it. The topics of
// exclude, and Kafka's own, are not matched by an expression.
func (r *Reader) Between(ctx context.Context, topics, exclude []string, from, to time.Time) ([]logs.Span, error) {
	return r.list(ctx, func(adm *kadm.Client) ([]logs.Span, error) {
		names, err := match(ctx, adm, topics, exclude)
		if err != nil || len(names) == 0 {
			return nil, err
		}
		starts, err := adm.ListOffsetsAfterMilli(ctx, from.UnixMilli(), names...)
		if err != nil {
			return nil, err
		}
		ends, err := adm.ListOffsetsAfterMilli(ctx, to.UnixMilli(), names...)
		if err != nil {
			return nil, err
		}
		committed, err := adm.ListCommittedOffsets(ctx, names...)
		if err != nil {
			return nil, err
		}
		ends.Each(func(end kadm.ListedOffset) {
			if c, ok := committed.Lookup(end.Topic, end.Partition); ok && c.Offset < end.Offset {
				end.Offset = c.Offset
				ends[end.Topic][end.Partition] = end
			}
		})
		return spansOf(starts, ends)
	})
}

func (r *Reader) list(ctx context.Context, ask func(*kadm.Client) ([]logs.Span, error)) ([]logs.Span, error) {
	var cond conditions
	cl, err := NewClient(r.cfg, kgo.RetryTimeout(r.timeout/3), kgo.WithHooks(watch{slog.New(slog.DiscardHandler), &cond}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	spans, err := ask(kadm.NewClient(cl))
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("list offsets at %s: %w", strings.Join(r.cfg.Brokers, ", "), cond.explain(err))
	}
	return spans, err
}

// spansOf pairs the offsets of each partition.
func spansOf(starts, ends kadm.ListedOffsets) ([]logs.Span, error) {
	var (
		spans []logs.Span
		first error
	)
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := starts.Lookup(end.Topic, end.Partition)
		err := end.Err
		if err == nil {
			err = start.Err
		}
		switch {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
		case err != nil && first == nil:
			first = fmt.Errorf("topic %q: %w", end.Topic, err)
		case ok && start.Offset < end.Offset:
			spans = append(spans, logs.Span{Topic: end.Topic, Partition: end.Partition, From: start.Offset, To: end.Offset})
		}
	})
	slices.SortFunc(spans, func(a, b logs.Span) int {
		if a.Topic != b.Topic {
			return strings.Compare(a.Topic, b.Topic)
		}
		return int(a.Partition) - int(b.Partition)
	})
	return spans, first
}

// match returns the names of the topics that are there.
func match(ctx context.Context, adm *kadm.Client, topics, exclude []string) ([]string, error) {
	there, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range there.Names() {
		hit := slices.ContainsFunc(topics, func(t string) bool {
			expr, isExpr := pattern(t)
			if !isExpr {
				return t == name
			}
			re, err := regexp.Compile(expr)
			return err == nil && re.MatchString(name) && !strings.HasPrefix(name, "__") && !slices.Contains(exclude, name)
		})
		if hit {
			names = append(names, name)
		}
	}
	return names, nil
}

// Read calls visit with the records of the spans, in the order of each
// partition, as polls of one partition each, from this one goroutine. It
// returns when all that the spans hold was visited: what was compacted away,
// aborted or deleted by now is passed over. Records that nobody can read are
// passed over too and counted in skipped. A poll is visit's to keep. Read
// returns visit's error, ctx's, or what keeps it from reading.
func (r *Reader) Read(ctx context.Context, spans []logs.Span, visit func(*logs.Poll) error) (skipped int64, err error) {
	rd := &reading{reader: r, visit: visit, left: map[topicPartition]*spanLeft{}}
	for _, s := range spans {
		if s.From < s.To {
			rd.left[topicPartition{s.Topic, s.Partition}] = &spanLeft{next: s.From, end: s.To}
		}
	}
	if len(rd.left) == 0 {
		return 0, ctx.Err()
	}
	err = rd.run(ctx)
	return rd.skipped, err
}
