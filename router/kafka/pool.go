package kafka

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

// maxPooled bounds the records of one piece of memory that is kept for later:
// 64 Ki of the client's are 11 MiB. A batch of more is rare, and its memory is
// left to the collector.
const maxPooled = 64 << 10

// recordPool gives the client the memory for a batch's records again once all
// of them are settled: half of what a fetch allocates, and most of what the
// collector has to look through.
type recordPool struct{ pool sync.Pool }

var _ kgo.PoolRecords = (*recordPool)(nil)

// GetRecords returns a slice with room for n records, or one without any.
func (p *recordPool) GetRecords(n int) []kgo.Record {
	if s, ok := p.pool.Get().(*[]kgo.Record); ok && cap(*s) >= n {
		return *s
	}
	return nil
}

// PutRecords takes back what nobody reads any more.
func (p *recordPool) PutRecords(s []kgo.Record) {
	if cap(s) <= maxPooled {
		p.pool.Put(&s)
	}
}

// polled is a poll and the memory that it was made in.
type polled struct {
	logs.Poll
	originals []original
}

var polls sync.Pool // of *polled

// getPolled returns an empty poll with room for n records.
func getPolled(n int) *polled {
	p, ok := polls.Get().(*polled)
	if !ok {
		p = new(polled)
	}
	if cap(p.Records) < n {
		p.Records, p.originals = make([]logs.Record, n), make([]original, n)
	}
	p.Records, p.originals = p.Records[:n], p.originals[:n]
	return p
}

// recycle gives the poll's memory, and that of the client's records, back. It is
// for a poll whose message was acked: nobody reads it any more, see
// [logs.Record].
func (p *polled) recycle() {
	for i := range p.originals {
		p.originals[i].rec.Recycle()
	}
	clear(p.originals)
	clear(p.Records)
	p.Reset()
	p.Bytes = 0
	polls.Put(p)
}
