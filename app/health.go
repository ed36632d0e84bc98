package app

import (
	"math"
	"time"

	"github.com/logferry/logferry/config/etcd"
)

// Health are counts of one process, over all its inputs or routes, and also
// those that it has no more: they never go down while it lives.
type Health struct {
	etcd.Counts
	// Recent are the counts of the last Minutes: under a canary, of its time
	// alone, and otherwise without that time.
	Minutes int         `json:"minutes"`
	Recent  etcd.Counts `json:"recent"`
}

const (
	// healthFor is the time that Recent looks back on.
	healthFor  = 5 * time.Minute
	healthEach = 15 * time.Second
	// afterCanary is how long the consequences of a canary are taken for its own.
	afterCanary = 15 * time.Second
)

// healthClock sums up and remembers.
type healthClock struct {
	parts map[string]etcd.Counts // at the last look
	total etcd.Counts
	past  []pastCounts
	// before is past as it was when a canary began, and until when what happens
	// is the canary's; zero: there is none.
	before []pastCounts
	began  pastCounts
	until  time.Time
}

type pastCounts struct {
	at    time.Time
	total etcd.Counts
}

// next looks at the parts of now.
func (h *healthClock) next(now time.Time, parts []PartReport, canary bool) Health {
	seen := make(map[string]etcd.Counts, len(parts))
	for _, p := range parts {
		c := etcd.Counts{Lines: p.Lines, Errors: p.Failures + p.Retries, Refused: p.Poisoned + p.Dropped}
		seen[p.Name] = c
		before := h.parts[p.Name]
		h.total.Lines += since(before.Lines, c.Lines)
		h.total.Errors += since(before.Errors, c.Errors)
		h.total.Refused += since(before.Refused, c.Refused)
	}
	h.parts = seen
	h.setApart(now, canary)
	if n := len(h.past); n == 0 || now.Sub(h.past[n-1].at) >= healthEach {
		h.past = append(h.past, pastCounts{now, h.total})
	}
	// The oldest that is kept is as old as healthFor, or a little less.
	for now.Sub(h.past[0].at) > healthFor {
		h.past = h.past[1:]
	}
	first := h.past[0]
	return Health{
		Counts: h.total,
		// Minutes alone, so that time is no news of a process that is idle.
		Minutes: int(math.Round(now.Sub(first.at).Minutes())),
		Recent:  h.total.Minus(first.total),
	}
}

// setApart keeps the time under a canary out of what was before: else the next
// one, which may begin soon, would be allowed what the last one did.
func (h *healthClock) setApart(now time.Time, canary bool) {
	switch {
	case canary && h.until.IsZero():
		h.before, h.past, h.began = h.past, nil, pastCounts{now, h.total}
	case !canary && !h.until.IsZero() && now.After(h.until):
		lasted, counted := now.Sub(h.began.at), h.total.Minus(h.began.total)
		for i := range h.before {
			p := &h.before[i]
			p.at, p.total = p.at.Add(lasted), p.total.Plus(counted)
		}
		h.past, h.before, h.until = h.before, nil, time.Time{}
	}
	if canary {
		h.until = now.Add(afterCanary)
	}
}

// since is what was counted after before, also when it was counted anew.
func since(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// figures of counts within some minutes. Less than one counts as one: a few
// errors as a change comes into force are no rate.
func figures(c etcd.Counts, minutes float64, lag *float64) etcd.Figures {
	f := etcd.Figures{ErrorsPerMinute: digits(float64(c.Errors) / max(minutes, 1))}
	if c.Refused > 0 {
		f.RefusedShare = digits(float64(c.Refused) / float64(max(c.Lines, c.Refused)))
	}
	if lag != nil {
		f.LagSeconds = *lag
	}
	return f
}
