package kafka

import "sync/atomic"

// Cut bounds the messages of a subscriber below what its options allow, so that
// a throttle behind it need not wait for large ones. It may change while the
// subscriber runs: messages that are not made yet are made by it. The zero value
// bounds nothing. It is safe for concurrent use.
type Cut struct {
	records, bytes atomic.Int64 // 0: no bound
}

// Set bounds a message to records, and to bytes of keys and values, one record
// at the least; 0 is no bound.
func (c *Cut) Set(records, bytes int64) {
	c.records.Store(records)
	c.bytes.Store(bytes)
}

// of lowers bounds to those of c, which may be nil.
func (c *Cut) of(records, bytes int) (int, int) {
	if c == nil {
		return records, bytes
	}
	if n := c.records.Load(); n > 0 {
		records = int(min(int64(records), n))
	}
	if n := c.bytes.Load(); n > 0 {
		bytes = int(min(int64(bytes), n))
	}
	return records, bytes
}
