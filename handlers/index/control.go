package index

import "time"

// The control law decides how much is under way at once. Its only variable is
// the window, in full requests, as TCP's congestion window is in bytes: with a
// window of 3.4 three full requests are under way, with one of 0.4 one request
// of 0.4 of batch.max_docs and batch.max_bytes. It ends at batch.in_flight
// above and at smallestWindow below.
//
//   - Growth (RFC 5681, 3.1): at first, and after a fall up to one request, each
//     answer adds its own size (slow start); beyond that, a window's worth of
//     answers adds growth (congestion avoidance). It grows only while more work
//     waits than the window lets go (RFC 7661): else an answer does not say
//     that more would fit.
//   - Fall (RFC 5681, equation 4): when the sink says that it is busy (429, 503
//     or 504 of the whole or of an item, or no answer in time), the window
//     becomes half of what was under way; once for all that was under way then,
//     as a request that began before the fall tells nothing new.
//   - Slowness (RFC 6298): when an answer to a full request takes longer than
//     the smoothed time and four of its mean deviations, and half as much again
//     as the smoothed time, the window falls to slowness of it, as in Vector's
//     adaptive request concurrency, whose signal is the same. Slowness alone
//     never takes the last request: a sink that became slower for good is the
//     new measure after a few answers.
//
// A size that the sink called too large (413) is remembered until the route's
// batch settings change.
const (
	firstWindow    = 2
	smallestWindow = 1.0 / 16
	growth         = 1.0 / 8
	slowness       = 0.85
	// Gains of the smoothed time and deviation, as in RFC 6298.
	meanGain, deviationGain = 1.0 / 8, 1.0 / 4
	// minSamples is how many answers make a measure.
	minSamples = 8
	// minLearned bounds what is learned from sizes that are refused.
	minLearned = 4 << 10
)

type control struct {
	window    float64
	threshold float64   // up to which the window grows fast
	fell      time.Time // when the window became smaller

	samples         int
	mean, deviation float64 // seconds of an answer to a full request

	largest int // bytes of a body that may not be exceeded, 0 when unknown
}

func newControl() control { return control{window: firstWindow, threshold: maxInFlight} }

// limits are the control's word on what to start.
type limits struct {
	requests int
	load     // of one request
}

// limits applies the window to the bounds of the settings.
func (c *control) limits(p *plan) limits {
	l := limits{requests: max(1, min(int(c.window), p.inFlight)), load: load{p.maxDocs, p.maxBytes}}
	if c.window < 1 {
		l.docs = max(1, int(float64(l.docs)*c.window))
		l.bytes = max(1, int(float64(l.bytes)*c.window))
	}
	if c.largest > 0 {
		l.bytes = min(l.bytes, c.largest)
	}
	return l
}

// outcome is what one request says about the sink.
type outcome struct {
	began    time.Time
	took     time.Duration // of its only post, 0 when there were several
	size     float64       // of a full request
	busy     bool          // it was asked to come later, or not answered in time
	taken    bool          // at least one document was taken
	tooLarge int           // bytes of the smallest body that was too large
}

// note moves the window. under is the size of all requests under way with this
// one; hungry says that a full request waits for the window.
func (c *control) note(o outcome, now time.Time, under float64, hungry bool, inFlight int) {
	if o.tooLarge > 0 {
		// Half of it is what is tried next, and what passed when nothing
		// smaller was refused.
		if half := max(o.tooLarge/2, minLearned); c.largest == 0 || half < c.largest {
			c.largest = half
		}
	}
	slow := c.slow(o)
	switch {
	case o.busy:
		if !o.began.Before(c.fell) {
			c.fall(max(min(c.window, under)/2, smallestWindow), now)
		}
	case slow:
		if !o.began.Before(c.fell) && c.window > 1 {
			c.fall(max(c.window*slowness, 1), now)
		}
	case o.taken && hungry:
		if c.window < c.threshold {
			c.window += o.size
		} else {
			c.window += growth * o.size / c.window
		}
	}
	c.window = min(c.window, float64(inFlight))
}

func (c *control) fall(window float64, now time.Time) {
	c.window, c.threshold, c.fell = window, max(window, 1), now
}

// slow says whether the answer took much longer than those before it, and lets
// it count among them.
func (c *control) slow(o outcome) bool {
	if o.took == 0 || o.size < 0.5 || o.busy {
		return false
	}
	t := o.took.Seconds() / o.size
	slow := c.samples >= minSamples && t > c.mean+4*c.deviation && t > 1.5*c.mean
	if c.samples == 0 {
		c.mean, c.deviation = t, t/2
	} else {
		c.deviation += deviationGain * (abs(t-c.mean) - c.deviation)
		c.mean += meanGain * (t - c.mean)
	}
	c.samples++
	return slow
}

func abs(f float64) float64 {
	if f < 0 {
		return -f
	}
	return f
}
