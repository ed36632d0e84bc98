package kafka

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// SubscriberStats are counts since the subscriber was made, and gauges.
type SubscriberStats struct {
	Records       int64 // settled by an ack
	Bytes         int64 // keys and values of those records
	Messages      int64 // acked
	Redelivered   int64 // nacked and delivered again
	InFlight      int64 // messages handed out and not settled
	InFlightBytes int64 // memory of records fetched and not settled
	Commits       int64
	CommitErrors  int64
	Rebalances    int64
	Expired       int64 // records that retention deleted before they were read
	Skipped       int64 // records of batches that nobody can read
	LastError     string
	// LagSeconds is the highest of the partitions'.
	LagSeconds float64
	// Partitions are those assigned now, by topic and number.
	Partitions []PartitionStats
}

// PartitionStats is how far one partition has been read.
type PartitionStats struct {
	Topic     string
	Partition int32
	Committed int64 // the next offset to read after a restart, -1 when unknown
	End       int64 // the offset after the last record, as the last fetch saw it, -1 when unknown
	Lag       int64 // records between them, 0 when unknown
	// LagSeconds is the age of the oldest record that was fetched and is not
	// settled, by its timestamp; 0 when there is none. It grows while a
	// record waits, and is large while old records are read.
	LagSeconds float64
}

type counters struct {
	records, bytes, messages, redelivered, inFlight  atomic.Int64
	commits, commitErrors, rebalances, gaps, skipped atomic.Int64
}

func (c *consumer) addTo(s *SubscriberStats) {
	n := &c.counts
	s.Records += n.records.Load()
	s.Bytes += n.bytes.Load()
	s.Messages += n.messages.Load()
	s.Redelivered += n.redelivered.Load()
	s.InFlight += n.inFlight.Load()
	s.InFlightBytes += c.budget.inUse()
	s.Commits += n.commits.Load()
	s.CommitErrors += n.commitErrors.Load()
	s.Rebalances += n.rebalances.Load()
	s.Expired += n.gaps.Load()
	s.Skipped += n.skipped.Load()
	if e := c.cond.lastText(); e != "" {
		s.LastError = e
	}
	now := time.Now()
	for _, p := range c.assigned() {
		ps := PartitionStats{Topic: p.topic, Partition: p.number, Committed: p.committed.Load(), End: p.end.Load(), LagSeconds: p.lag(now)}
		s.LagSeconds = max(s.LagSeconds, ps.LagSeconds)
		if ps.Committed >= 0 && ps.End > ps.Committed {
			ps.Lag = ps.End - ps.Committed
		}
		s.Partitions = append(s.Partitions, ps)
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStats) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}
