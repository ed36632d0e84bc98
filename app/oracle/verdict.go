package oracle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Verdict is what became of the lines, as one place shows it.
type Verdict struct {
	Issued    int // lines that could have arrived
	Owed      int // those of them that must
	Arrived   int // different lines, each exactly as issued
	Missing   int // owed and not there
	Repeated  int // beyond the first of each line
	Spurious  int // never issued
	Corrupted int // not a line, or no longer the one that it was
	// Examples are the first few of what is wrong, or repeated.
	Examples []string
}

const maxExamples = 10

func (v *Verdict) example(text string) {
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, text)
	}
}

// AtLeastOnce returns an error unless each line that is owed arrived, and
// nothing that was not issued.
func (v Verdict) AtLeastOnce() error {
	if v.Missing == 0 && v.Spurious == 0 && v.Corrupted == 0 {
		return nil
	}
	return fmt.Errorf("%s", v)
}

// ExactlyOnce returns an error unless, moreover, nothing arrived twice.
func (v Verdict) ExactlyOnce() error {
	if v.Repeated == 0 {
		return v.AtLeastOnce()
	}
	return fmt.Errorf("%s", v)
}

// Exercised returns an error unless the run was worth something: more than a
// hundred lines were owed, and one at least came again, so that what is done
// again after a fault was done.
func (v Verdict) Exercised() error {
	switch {
	case v.Owed <= 100:
		return fmt.Errorf("only %d lines were owed", v.Owed)
	case v.Repeated == 0:
		return errors.New("no line came twice: the faults did not hit anything in flight")
	}
	return nil
}

// String is for people.
func (v Verdict) String() string {
	s := fmt.Sprintf("%d issued, %d owed, %d arrived; %d missing, %d repeated, %d spurious, %d corrupted",
		v.Issued, v.Owed, v.Arrived, v.Missing, v.Repeated, v.Spurious, v.Corrupted)
	if len(v.Examples) > 0 {
		s += "\n  " + strings.Join(v.Examples, "\n  ")
	}
	return s
}

// maxIdle is how many looks in a row may find no progress.
const maxIdle = 5

// Await looks every now and then how many are missing, until none is, or until
// five looks in a row have found no fewer than there were before. It returns
// what is missing then. A look that fails finds no progress, and its error is
// returned if it was the last one.
func Await(ctx context.Context, every time.Duration, missing func(context.Context) (int, error)) (int, error) {
	least, idle := int(^uint(0)>>1), 0
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		n, err := missing(ctx)
		switch {
		case err == nil && n <= 0:
			return n, nil
		case err == nil && n < least:
			least, idle = n, 0
		default:
			if idle++; idle >= maxIdle {
				return least, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return least, ctx.Err()
		}
	}
}
