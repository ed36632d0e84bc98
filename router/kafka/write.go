package kafka

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

// anyPartition leaves the choice of a record's partition to its key.
const anyPartition = -1

// Write publishes records as they are, value, key and headers, to their topics:
// to their Partition, or, when that is -1, to the one that their key says. A nil
// value is a tombstone. It returns when all are acknowledged by all in-sync
// replicas, or a *logs.BatchError that names those which were not, with errors
// as from [Publisher.Publish]. The records' bytes are the caller's again then.
func (p *Publisher) Write(ctx context.Context, recs []logs.Record) error {
	learned := map[string]bool{}
	for i := range recs {
		topic := recs[i].Topic
		if learned[topic] {
			continue
		}
		if err := p.enter(ctx, topic); err != nil {
			return logs.NewBatchError(err)
		}
		p.sends.RUnlock()
		learned[topic] = true
	}
	p.sends.RLock()
	defer p.sends.RUnlock()
	if p.closed.Load() {
		return logs.NewBatchError(errClosed)
	}
	errs := make([]error, len(recs))
	var wait sync.WaitGroup
	produce := func(cl *kgo.Client, i int) {
		wait.Add(1)
		cl.Produce(ctx, clientRecord(&recs[i]), func(_ *kgo.Record, err error) {
			errs[i] = err
			wait.Done()
		})
	}
	var alone []int
	for i := range recs {
		if sizeOf(&recs[i]) > int(p.limits.of(recs[i].Topic)) {
			alone = append(alone, i)
		} else {
			produce(p.client, i)
		}
	}
	wait.Wait()
	for i, err := range errs {
		if refuses(err) { // it may be another's fault: one batch is refused as a whole
			alone = append(alone, i)
		}
	}
	for _, i := range alone {
		big, err := p.bigClient()
		if err != nil {
			errs[i] = err
			continue
		}
		produce(big, i)
		wait.Wait()
	}
	return p.written(ctx, recs, errs)
}

func (p *Publisher) written(ctx context.Context, recs []logs.Record, errs []error) error {
	bad := logs.NewBatchError(nil)
	for i, err := range errs {
		if err != nil {
			p.failed.Add(1)
			bad.Failed(i, p.verdict(ctx, recs[i].Topic, err))
			continue
		}
		p.records.Add(1)
		p.bytes.Add(int64(len(recs[i].Value)))
	}
	if len(bad.Failures()) == 0 {
		return nil
	}
	return bad
}

func clientRecord(r *logs.Record) *kgo.Record {
	to := &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Timestamp: r.Time, Partition: r.Partition}
	if r.Partition == anyPartition {
		to.Partition = rand.Int32()
		if r.Key != nil {
			to.Partition = keyHash(r.Key)
		}
	}
	if r.Original != nil {
		for _, h := range r.Original.Headers() {
			to.Headers = append(to.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
	}
	return to
}

func sizeOf(r *logs.Record) int {
	size := len(r.Key) + len(r.Value) + recordOverhead
	if r.Original != nil {
		for _, h := range r.Original.Headers() {
			size += len(h.Key) + len(h.Value) + 8
		}
	}
	return size
}
