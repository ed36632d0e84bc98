package index

import (
	"errors"
	"fmt"
	"time"

	"github.com/logferry/logferry/handlers/logs"
)

const (
	// guardBuckets is how finely the window moves on.
	guardBuckets = 12
	// guardMinimum is how many documents a share is taken of at least: one bad
	// line among the first few is no sign of a sick sink.
	guardMinimum = 20
)

// guard tells bad documents from a sink that refuses everything. It counts
// what became of the documents of the last window, and holds when more than a
// given share was refused for its own sake. While it holds, refused documents
// wait and are sent again by the retries of those who wait; each such attempt
// is counted too, so a sink that recovers, or other documents that are
// accepted, end the hold. The bulker's goroutine owns it.
type guard struct {
	maxRatio float64
	step     time.Duration

	buckets [guardBuckets]struct{ total, refused int64 }
	current int64 // number of the newest bucket since the zero time
	holding bool
}

func newGuard(maxRatio float64, window time.Duration) guard {
	return guard{maxRatio: maxRatio, step: max(window/guardBuckets, time.Millisecond)}
}

// note counts one answer and says whether its refused documents must wait.
func (g *guard) note(now time.Time, accepted, refused int64) (holding bool) {
	g.advance(now)
	b := &g.buckets[g.current%guardBuckets]
	b.total += accepted + refused
	b.refused += refused
	total, bad := g.sums()
	switch sick := float64(bad) > g.maxRatio*float64(total); {
	case sick && total >= guardMinimum:
		g.holding = true
	case !sick:
		g.holding = false
	}
	return g.holding
}

func (g *guard) advance(now time.Time) {
	n := now.UnixNano() / int64(g.step)
	if n <= g.current {
		return
	}
	for i := max(g.current+1, n-guardBuckets+1); i <= n; i++ {
		g.buckets[i%guardBuckets] = struct{ total, refused int64 }{}
	}
	g.current = n
}

func (g *guard) sums() (total, refused int64) {
	for _, b := range g.buckets {
		total += b.total
		refused += b.refused
	}
	return total, refused
}

// set changes the settings, and forgets what was counted when the window did.
func (g *guard) set(maxRatio float64, window time.Duration) {
	if step := max(window/guardBuckets, time.Millisecond); step != g.step {
		*g = newGuard(maxRatio, window)
	}
	g.maxRatio = maxRatio
}

// judge asks the guard whether refused documents go to the poison queue, and
// lets them wait instead while it holds.
func (b *Bulker) judge(v *verdicts) {
	if v.accepted+v.refused == 0 {
		return
	}
	before := b.guard.holding
	holding := b.guard.note(time.Now(), v.accepted, v.refused)
	if before != holding {
		if holding {
			b.logger.Warn("most documents are refused, so refused ones wait", "reason", reasonOf(v.failures))
		} else {
			b.logger.Info("documents are accepted again, so refused ones go to the poison queue")
		}
	}
	if !holding {
		b.stats.refused.Add(v.refused)
		return
	}
	total, bad := b.guard.sums()
	for i, f := range v.failures {
		var refusal *logs.Refusal
		if errors.As(f.err, &refusal) {
			v.failures[i].err = logs.AsUnavailable(fmt.Errorf("holding, %d of the last %d documents were refused: status %d: %s",
				bad, total, refusal.Status, refusal.Error()))
		}
	}
}

func reasonOf(failures []failure) string {
	for _, f := range failures {
		if logs.KindOf(f.err) == logs.Permanent {
			return f.err.Error()
		}
	}
	return ""
}
