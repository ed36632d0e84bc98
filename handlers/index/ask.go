package index

import (
	"sync"

	"github.com/logferry/logferry/handlers/logs"
)

// ask is one poll that waits for its verdicts.
type ask struct {
	poll *logs.Poll
	// pending are the records to send; nil means all of the poll.
	pending []int32
	count   int        // of records to send
	bytes   int        // of them, about
	each    int        // expected bytes of one in a body, set by Run
	answer  chan error // capacity 1: nil when failures tell all

	// reading is held by workers while they read the poll's records, and
	// taken for good by a caller that leaves, after which left is true.
	reading sync.RWMutex
	left    bool

	// owned by Run until the answer is sent
	next     int // first of the records to send that no request has
	waiting  int // records without a verdict
	failures []logs.Failure
}

func newAsk(poll *logs.Poll) *ask {
	n := poll.Pending()
	a := &ask{poll: poll, count: n, waiting: n, answer: make(chan error, 1)}
	a.bytes = int(poll.Size() * int64(n) / int64(poll.Len()))
	if n < poll.Len() {
		a.pending = make([]int32, 0, n)
		for i := range poll.Len() {
			if !poll.Settled(i) {
				a.pending = append(a.pending, int32(i))
			}
		}
	}
	return a
}

// record returns the place in the poll of the i-th record to send.
func (a *ask) record(i int) int {
	if a.pending == nil {
		return i
	}
	return int(a.pending[i])
}

// settle marks the poll's stored records and lists the others.
func (a *ask) settle() error {
	if len(a.failures) == 0 {
		a.poll.SettleAll(a.poll.Len())
		return nil
	}
	if first := a.failures[0].Err; len(a.failures) == a.count && logs.KindOf(first) != logs.Permanent {
		same := true
		for _, f := range a.failures {
			same = same && sameError(f.Err, first)
		}
		if same {
			return logs.NewBatchError(first)
		}
	}
	var failed logs.Settlement
	batch := logs.NewBatchError(nil)
	for _, f := range a.failures {
		failed.Settle(f.Index)
		batch.Failed(f.Index, f.Err)
	}
	for i := range a.poll.Len() {
		if !failed.Settled(i) {
			a.poll.Settle(i)
		}
	}
	return batch
}

// sameError says whether a is b itself: one error that was given to many
// documents, not one that another wraps.
func sameError(a, b error) bool {
	return a == b //nolint:errorlint // identity is what is asked
}
