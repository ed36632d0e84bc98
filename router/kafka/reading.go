package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/logferry/logferry/handlers/logs"
)

// reading is one call of Read.
type reading struct {
	reader  *Reader
	client  *kgo.Client
	cond    conditions
	visit   func(*logs.Poll) error
	left    map[topicPartition]*spanLeft
	skipped int64
}

// spanLeft is what is left to read of a span: from next until before end.
type spanLeft struct {
	next, end int64
	stuck     int // polls in a row that said that next cannot be read
}

func (r *reading) run(ctx context.Context) error {
	from := map[string]map[int32]kgo.Offset{}
	for tp, s := range r.left {
		if from[tp.topic] == nil {
			from[tp.topic] = map[int32]kgo.Offset{}
		}
		from[tp.topic][tp.number] = kgo.NewOffset().At(s.next)
	}
	cl, err := NewClient(r.reader.cfg,
		kgo.WithHooks(watch{slog.New(slog.DiscardHandler), &r.cond}),
		kgo.ConsumePartitions(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// They are the end of what is left when the records before are aborted.
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		kgo.FetchMaxWait(quietPoll/2),
		// A session spares a long-lived consumer words; ours ends soon, and would
		// have to take leave of each broker.
		kgo.DisableFetchSessions(),
		kgo.MaxDecompressBatchBytes(r.reader.maxBatch),
		kgo.RetryTimeout(r.reader.timeout/3),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	r.client = cl
	for moved := time.Now(); len(r.left) > 0; {
		progress, err := r.poll(ctx)
		if err == nil && !progress && ctx.Err() == nil {
			progress, err = r.lookForEnds(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case progress:
			moved = time.Now()
		case time.Since(moved) > r.reader.timeout:
			return r.stalled()
		}
	}
	return nil
}

func (r *reading) stalled() error {
	for tp, s := range r.left {
		err := r.cond.explain(fmt.Errorf("nothing came for %v", r.reader.timeout))
		return fmt.Errorf("read %q partition %d at offset %d of %d: %w", tp.topic, tp.number, s.next, s.end, err)
	}
	return nil
}

// poll fetches once and visits what came.
func (r *reading) poll(ctx context.Context) (progress bool, err error) {
	brief, cancel := context.WithTimeout(ctx, quietPoll)
	defer cancel()
	fetches := r.client.PollRecords(brief, readPollRecords)
	fetches.EachPartition(func(t kgo.FetchTopicPartition) {
		s := r.left[topicPartition{t.Topic, t.Partition}]
		if err != nil || s == nil {
			return
		}
		before := s.next
		if t.Err != nil {
			err = r.trouble(t, s)
		}
		if err == nil {
			err = r.take(t, s)
		}
		progress = progress || s.next > before
	})
	return progress, err
}

func (r *reading) take(t kgo.FetchTopicPartition, s *spanLeft) error {
	recs := make([]*kgo.Record, 0, len(t.Records))
	for _, rec := range t.Records {
		if rec.Offset >= s.next && rec.Offset < s.end && !rec.Attrs.IsControl() {
			recs = append(recs, rec)
		}
	}
	if n := len(t.Records); n > 0 {
		s.stuck = 0
		s.next = max(s.next, t.Records[n-1].Offset+1)
	}
	r.finish(topicPartition{t.Topic, t.Partition}, s)
	if len(recs) == 0 {
		return nil
	}
	return r.visit(pollOf(recs))
}

// finish stops fetching a partition that was read to its end.
func (r *reading) finish(tp topicPartition, s *spanLeft) {
	if s.next >= s.end {
		delete(r.left, tp)
		r.client.PauseFetchPartitions(map[string][]int32{tp.topic: {tp.number}})
	}
}

// trouble deals with what a fetch says instead of records. What nobody can
// read is passed over; the client goes on by itself with what may pass.
func (r *reading) trouble(t kgo.FetchTopicPartition, s *spanLeft) error {
	var (
		tooLarge *kgo.ErrDecompressTooLarge
		loss     *kgo.ErrDataLoss
		code     *kerr.Error
	)
	switch err := t.Err; {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &loss):
	case errors.As(err, &tooLarge):
		r.skip(t, s, kgo.EpochOffset{Epoch: tooLarge.Epoch, Offset: tooLarge.NextOffset})
	case errors.As(err, &code):
		if !code.Retriable {
			return fmt.Errorf("read %q partition %d: %w", t.Topic, t.Partition, err)
		}
	case len(t.Records) == 0:
		// Of a damaged batch neither length nor end can be trusted.
		if s.stuck++; s.stuck > readTries {
			r.skip(t, s, kgo.EpochOffset{Epoch: -1, Offset: s.next + 1})
		}
	}
	return nil
}

func (r *reading) skip(t kgo.FetchTopicPartition, s *spanLeft, to kgo.EpochOffset) {
	if s.stuck <= readTries+1 {
		r.reader.log.Warn("records cannot be read and are passed over",
			"topic", t.Topic, "partition", t.Partition, "offset", s.next, "error", t.Err)
	}
	r.skipped += max(min(to.Offset, s.end)-s.next, 0)
	s.next = max(s.next, to.Offset)
	r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{t.Topic: {t.Partition: to}})
}

// lookForEnds asks what comes next in each partition that is not read to its
// end: maybe nothing. The records up to an offset that was a topic's end can be
// gone, compacted or deleted, and the client does not tell of a fetch that
// brought none.
func (r *reading) lookForEnds(ctx context.Context) (progress bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.reader.timeout/3)
	defer cancel()
	var names []string
	for tp := range r.left {
		names = append(names, tp.topic)
	}
	adm := kadm.NewClient(r.client)
	topics, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return false, nil // the next poll may bring more
	}
	for tp, s := range r.left {
		before := s.next
		d := topics[tp.topic]
		leader := d.Partitions[tp.number]
		if d.Err != nil || leader.Err != nil {
			continue
		}
		err := r.lookForEnd(ctx, tp, d.ID, leader.Leader, s)
		if errors.Is(err, kerr.OffsetOutOfRange) {
			if starts, err := adm.ListStartOffsets(ctx, tp.topic); err == nil {
				if start, ok := starts.Lookup(tp.topic, tp.number); ok && start.Err == nil {
					s.next = max(s.next, start.Offset)
				}
			}
		}
		r.finish(tp, s)
		progress = progress || s.next > before
	}
	return progress, nil
}

func (r *reading) lookForEnd(ctx context.Context, tp topicPartition, id kadm.TopicID, leader int32, s *spanLeft) error {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.IsolationLevel = 1, 1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = tp.number, s.next, 1 // one batch comes whole, whatever its size
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = tp.topic, id, []kmsg.FetchRequestTopicPartition{p}
	req.Topics = []kmsg.FetchRequestTopic{t}
	answer, err := r.client.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return err
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return err
	}
	got := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return err
	}
	switch next, empty := afterEmpty(got.RecordBatches); {
	case !empty:
		s.next = max(s.next, next)
	case got.LastStableOffset >= s.end:
		s.next = s.end
	}
	return nil
}

// afterEmpty returns the offset after the batches without records that b
// begins with: compaction leaves such. It says whether b holds nothing at all.
func afterEmpty(b []byte) (next int64, empty bool) {
	const head = 61
	if len(b) == 0 {
		return 0, true
	}
	for len(b) >= head && b[16] == 2 && binary.BigEndian.Uint32(b[57:]) == 0 {
		next = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])) + 1
		length := int64(binary.BigEndian.Uint32(b[8:])) + 12
		if length < head || length > int64(len(b)) {
			break
		}
		b = b[length:]
	}
	return next, false
}

// pollOf makes a poll of records of one partition, which it keeps.
func pollOf(recs []*kgo.Record) *logs.Poll {
	p := &logs.Poll{Topic: recs[0].Topic, Partition: recs[0].Partition, Records: make([]logs.Record, len(recs))}
	originals := make([]original, len(recs))
	for i, rec := range recs {
		originals[i].rec = rec
		p.Records[i] = logs.Record{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset,
			Key: rec.Key, Value: rec.Value, Time: rec.Timestamp, Original: &originals[i]}
		readMeta(rec.Headers, &p.Records[i].Meta)
		ownTime(&p.Records[i])
		p.Bytes += int64(len(rec.Key) + len(rec.Value))
	}
	return p
}
