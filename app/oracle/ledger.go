package oracle

import (
	"errors"
	"fmt"
	"sync"
)

// Ledger knows the lines of one run. Its methods may be called from any
// goroutine.
type Ledger struct {
	// Text makes the lines; it is not changed.
	Text

	mu   sync.Mutex
	owed []bool // by id, as many as were issued
}

// NewLedger returns a ledger that has issued nothing.
func NewLedger(t Text) *Ledger { return &Ledger{Text: t} }

// Claim issues n ids from first on. It is called before their lines are
// written anywhere: from then on they may arrive, but need not.
func (l *Ledger) Claim(n int) (first int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first = len(l.owed)
	l.owed = append(l.owed, make([]bool, n)...)
	return first
}

// Owe says that the lines of n ids from first on must arrive: they are complete
// in a file that stays.
func (l *Ledger) Owe(first, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := first; id < first+n; id++ {
		l.owed[id] = true
	}
}

// Owed returns how many lines must arrive.
func (l *Ledger) Owed() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, owed := range l.owed {
		if owed {
			n++
		}
	}
	return n
}

// Tally counts what arrived at one place: a topic or an index. One goroutine
// calls its methods.
type Tally struct {
	ledger *Ledger
	seen   map[int]int // by id
	wrong  Verdict     // what is none of the ledger's
}

// Tally returns a count of nothing.
func (l *Ledger) Tally() *Tally { return &Tally{ledger: l, seen: map[int]int{}} }

// See counts one record or document.
func (t *Tally) See(line []byte) {
	id, err := t.ledger.Read(line)
	switch {
	case err == nil:
		t.seen[id]++
	case errors.Is(err, ErrForeign):
		t.wrong.Spurious++
		t.wrong.example(err.Error())
	default:
		t.wrong.Corrupted++
		t.wrong.example(err.Error())
	}
}

// Verdict compares what arrived with what was issued by now.
func (t *Tally) Verdict() Verdict {
	v := t.wrong
	v.Examples = append([]string(nil), v.Examples...)
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	v.Issued = len(t.ledger.owed)
	for id, owed := range t.ledger.owed {
		if !owed {
			continue
		}
		v.Owed++
		if t.seen[id] == 0 {
			v.Missing++
			v.example(fmt.Sprintf("line %d is missing", id))
		}
	}
	for id, n := range t.seen {
		if id >= v.Issued {
			v.Spurious += n
			v.example(fmt.Sprintf("line %d was never issued", id))
			continue
		}
		v.Arrived++
		if n > 1 {
			v.Repeated += n - 1
			v.example(fmt.Sprintf("line %d is there %d times", id, n))
		}
	}
	return v
}
