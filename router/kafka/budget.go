package kafka

import (
	"context"
	"sync"
)

// Budget bounds the memory of what was fetched and is not settled, over all
// subscribers that share it. Half of it is divided equally among them, the
// other half goes to whoever asks first: so a subscriber that stands still
// leaves the others their parts, and one that is alone has it all. All its
// methods are safe for concurrent use.
type Budget struct {
	total int64

	mu     sync.Mutex // guards the fields below and those of the shares
	shares map[*share]struct{}
}

// NewBudget returns a budget of total bytes.
func NewBudget(total int64) *Budget {
	return &Budget{total: max(total, 1), shares: make(map[*share]struct{})}
}

// Used returns the bytes in use.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sum int64
	for s := range b.shares {
		sum += s.used
	}
	return sum
}

// newBudget returns a budget that nobody shares.
func newBudget(total int64) *share { return NewBudget(total).join() }

// share is one subscription's part. Anybody adds and frees; one goroutine waits
// for room.
type share struct {
	budget *Budget
	used   int64
	gone   bool
	room   chan struct{} // a nudge
}

func (b *Budget) join() *share {
	s := &share{budget: b, room: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares[s] = struct{}{}
	return s
}

// leave gives the share back, with all that is in use of it.
func (s *share) leave() {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	delete(s.budget.shares, s)
	s.gone = true
	s.budget.nudge()
}

// nudge wakes all that wait, to look again. There are as many as routes.
func (b *Budget) nudge() {
	for s := range b.shares {
		select {
		case s.room <- struct{}{}:
		default:
		}
	}
}

func (s *share) add(n int64) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.used += n
}

func (s *share) free(n int64) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.used -= n
	if !s.gone {
		s.budget.nudge()
	}
}

func (s *share) inUse() int64 {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.used
}

// full says whether s may not fetch now: its part is used up, and so is what
// all have in common.
func (s *share) full() bool {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.gone {
		return false
	}
	part := b.total / 2 / int64(len(b.shares))
	if s.used < part {
		return false
	}
	common := b.total - part*int64(len(b.shares))
	for other := range b.shares {
		common -= max(other.used-part, 0)
	}
	return common <= 0
}

// wait returns nil when there is room, or ctx's error.
func (s *share) wait(ctx context.Context) error {
	for s.full() {
		select {
		case <-s.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
