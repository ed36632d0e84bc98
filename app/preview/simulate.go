package preview

import (
	"math"
	"slices"
	"time"

	"github.com/logferry/logferry/config"
)

// Values are the settings of an input or a route; an input has no breaker,
// poison and batch.
type Values struct {
	Throttle config.Throttle
	Retry    config.Retry
	Breaker  config.Breaker
	Poison   config.Poison
	Batch    config.Batch
}

// ValuesOf returns those of a *config.Input or *config.Route.
func ValuesOf(entry any) Values {
	switch e := entry.(type) {
	case *config.Input:
		return Values{Throttle: e.Throttle, Retry: e.Retry}
	case *config.Route:
		return Values{e.Throttle, e.Retry, e.Breaker, e.Poison, e.Batch}
	}
	panic("preview of neither an input nor a route")
}

// Flow is what the lines of a time did.
type Flow struct {
	// Lines passed, Busiest is the most a second of any step.
	Lines   float64 `json:"lines"`
	Busiest float64 `json:"busiest_lines_per_second"`
	// Backlog is the most lines that waited, BacklogAtEnd those at the end.
	Backlog      float64 `json:"backlog"`
	BacklogAtEnd float64 `json:"backlog_at_end"`
	// Delay is the longest that a line waited, those at the end included: as
	// long as they would wait if nothing came behind them.
	Delay time.Duration `json:"delay_ns"`
}

// fine is how many slices of a step are replayed: a second each.
const fine = 10

// chunk is lines that came at one time.
type chunk struct {
	at           time.Duration
	lines, bytes float64
}

// offered are the lines that came by the end of each step, and those that were
// there at the end of the first: what passed, and what waited. Both are looked
// at one after the other, so that the sum may seem to fall; it is then what it
// was later.
func (s *Series) offered(perLine float64, backlogInBytes bool) []float64 {
	all := make([]float64, len(s.Lines))
	passed := 0.0
	for i := range s.Lines {
		if i > 0 {
			passed += float64(s.Lines[i])
		}
		all[i] = passed + s.backlogLines(i, perLine, backlogInBytes)
	}
	for i := len(all) - 2; i >= 0; i-- {
		all[i] = min(all[i], all[i+1])
	}
	return all
}

// perLine is a line's bytes on average, 1 when there were none.
func (s *Series) perLine() float64 {
	if n := sum(s.Lines); n > 0 && sum(s.Bytes) > 0 {
		return float64(sum(s.Bytes)) / float64(n)
	}
	return 1
}

// sizeIn is a line's bytes in a step.
func (s *Series) sizeIn(i int, otherwise float64) float64 {
	if s.Lines[i] == 0 || s.Bytes[i] == 0 {
		return otherwise
	}
	return float64(s.Bytes[i]) / float64(s.Lines[i])
}

// backlogLines is the backlog in lines at a step's end.
func (s *Series) backlogLines(i int, perLine float64, inBytes bool) float64 {
	if inBytes {
		return float64(s.Backlog[i]) / perLine
	}
	return float64(s.Backlog[i])
}

// pace is lines and bytes a second.
type pace struct{ lines, bytes float64 }

// forEver stands for a delay without end.
const forEver = 10_000 * time.Hour

// replay lets what came pass at the pace of each step, and what is left at the
// end at that of after.
func (s *Series) replay(inBytes bool, paceOf func(step int) pace, after pace) Flow {
	perLine := s.perLine()
	in := s.offered(perLine, inBytes)
	const slice = Step / fine
	var (
		f     Flow
		queue []chunk
		waits float64
		now   time.Duration
	)
	push := func(c chunk) {
		if c.lines > 0 {
			queue = append(queue, c)
			waits += c.lines
		}
	}
	push(chunk{0, in[0], in[0] * perLine})
	for i := 1; i < len(in); i++ {
		pace := paceOf(i)
		passed := 0.0
		for range fine {
			n := (in[i] - in[i-1]) / fine
			push(chunk{now, n, n * s.sizeIn(i, perLine)})
			now += slice
			left, leftBytes := pace.lines*slice.Seconds(), pace.bytes*slice.Seconds()
			for len(queue) > 0 && left > 1e-9 && leftBytes > 1e-9 {
				c := &queue[0]
				share := min(1, left/c.lines, leftBytes/max(c.bytes, 1e-9))
				n := share * c.lines
				left, leftBytes = left-n, leftBytes-share*c.bytes
				passed, waits = passed+n, waits-n
				f.Delay = max(f.Delay, now-slice-c.at)
				if share == 1 || c.lines-n < 1e-9 {
					queue = queue[1:]
					continue
				}
				c.lines, c.bytes = c.lines-n, c.bytes*(1-share)
			}
			f.Backlog = max(f.Backlog, waits)
		}
		f.Lines += passed
		f.Busiest = max(f.Busiest, passed/Step.Seconds())
	}
	f.BacklogAtEnd = max(waits, 0)
	var drain float64
	for _, c := range queue {
		drain += max(c.lines/after.lines, c.bytes/after.bytes)
		f.Delay = max(f.Delay, now-c.at+time.Duration(min(drain, forEver.Seconds())*float64(time.Second)))
	}
	f.Delay = f.Delay.Truncate(slice)
	return f
}

// Recorded is the flow as it was; what is left at its end goes on at its mean.
func (s *Series) Recorded(input bool) Flow {
	mean := float64(sum(s.Lines)) / (float64(len(s.Lines)) * Step.Seconds())
	return s.replay(input, func(i int) pace {
		return pace{float64(s.Lines[i]) / Step.Seconds(), math.Inf(1)}
	}, pace{mean, math.Inf(1)})
}

// Throttled is the flow as t would have made it of the same lines, above a sink
// that takes whatever passes.
func (s *Series) Throttled(input bool, t config.Throttle) Flow {
	p := pace{math.Inf(1), math.Inf(1)}
	if t.LinesPerSecond > 0 {
		p.lines = t.LinesPerSecond
	}
	if t.BytesPerSecond > 0 {
		p.bytes = float64(t.BytesPerSecond)
	}
	return s.replay(input, func(int) pace { return p }, p)
}

// Requests are those of a route to Elasticsearch.
type Requests struct {
	// PerSecond on average, of Docs each, and UnderWay at once by how long they
	// took. The last is 0 when that is not known.
	PerSecond float64 `json:"per_second"`
	Docs      float64 `json:"docs"`
	UnderWay  float64 `json:"under_way"`
}

// RecordedRequests are the requests as they were.
func (s *Series) RecordedRequests() Requests {
	n, seconds := float64(sum(s.Requests)), float64(len(s.Requests))*Step.Seconds()
	r := Requests{PerSecond: n / seconds}
	if n > 0 {
		r.Docs = float64(sum(s.Lines)) / n
	}
	r.UnderWay = r.PerSecond * s.latency()
	return r
}

// latency is a request's time in seconds, on average.
func (s *Series) latency() float64 {
	var total, n float64
	for i, v := range s.Latency {
		total += float64(v) * float64(s.Requests[i]) / 1000
		n += float64(s.Requests[i])
	}
	if n == 0 {
		return 0
	}
	return total / n
}

// docOverhead is about what a document's body has beyond the record's value.
const docOverhead = 300

// Batched are the requests that b would have made of the lines that passed, had
// they come evenly within each step: full ones, or one each time that the first
// of its lines has waited for long enough.
func (s *Series) Batched(b config.Batch) Requests {
	full := min(float64(b.MaxDocs), max(1, math.Floor(float64(b.MaxBytes)/(s.perLine()+docOverhead))))
	var requests float64
	for _, n := range s.Lines {
		rate := float64(n) / Step.Seconds()
		if rate == 0 {
			continue
		}
		docs := min(full, 1+rate*b.MaxWait.D().Seconds())
		requests += float64(n) / docs
	}
	r := Requests{PerSecond: requests / (float64(len(s.Lines)) * Step.Seconds())}
	if requests > 0 {
		r.Docs = float64(sum(s.Lines)) / requests
	}
	r.UnderWay = r.PerSecond * s.latency()
	return r
}

// Outages are times in which attempts failed and no line passed.
type Outages struct {
	Count int `json:"count"`
	// Longest is how long one was.
	Longest time.Duration `json:"longest_ns"`
	// Opened are those in which enough attempts failed to open the breaker.
	Opened int `json:"opened"`
	// Attempts is how often a line that waited through all of them was tried,
	// and Idle the longest that it waited after the sink was back, if the success
	// of no other woke it.
	Attempts int           `json:"attempts"`
	Idle     time.Duration `json:"idle_ns"`
	// GivenUp are those that a line with an error that nobody knows would have
	// been given up in.
	GivenUp int `json:"given_up"`
}

// Outages tells what v would have done in them, without jitter.
func (s *Series) Outages(v Values) Outages {
	var o Outages
	for i := 0; i < len(s.Failed); {
		from, failed := i, uint64(0)
		for i < len(s.Failed) && s.Failed[i] > 0 && s.Lines[i] == 0 {
			failed += s.Failed[i]
			i++
		}
		if i == from {
			i++
			continue
		}
		o.add(time.Duration(i-from)*Step, failed, v)
	}
	return o
}

func (o *Outages) add(lasts time.Duration, failed uint64, v Values) {
	o.Count++
	o.Longest = max(o.Longest, lasts)
	back := lasts // when an attempt would pass
	open := v.Breaker.Failures > 0 && failed >= uint64(v.Breaker.Failures)
	if open {
		o.Opened++
		each := max(v.Breaker.OpenFor.D(), time.Millisecond)
		back = (lasts + each - 1) / each * each
	}
	if give := v.Retry.GiveUpAfter.D(); give > 0 && give <= lasts {
		o.GivenUp++
	}
	pause, at := v.Retry.MinBackoff.D(), time.Duration(0)
	for ; at < back; o.Attempts++ {
		at += max(pause, time.Millisecond)
		pause = min(time.Duration(float64(pause)*max(v.Retry.Multiplier, 1)), v.Retry.MaxBackoff.D())
	}
	o.Idle = max(o.Idle, at-lasts)
}

// Refusals are lines that were refused for their own sake.
type Refusals struct {
	// Poisoned and Dropped are answered, Waiting would have waited since most
	// were refused, or since on_reject is hold.
	Poisoned uint64 `json:"poisoned"`
	Dropped  uint64 `json:"dropped"`
	Waiting  uint64 `json:"waiting"`
	// Held is how long they would have.
	Held time.Duration `json:"held_ns"`
}

// guardMinimum is how many documents a share is taken of at least, as in the
// index stage.
const guardMinimum = 20

// Refusals tells what p would have done with those that there were.
func (s *Series) Refusals(p config.Poison) Refusals {
	var r Refusals
	window := max(int((p.Window.D()+Step-1)/Step), 1)
	for i, refused := range s.Refused {
		from := max(i+1-window, 0)
		bad, total := float64(sum(s.Refused[from:i+1])), float64(sum(s.Lines[from:i+1]))
		switch {
		case p.OnReject == "hold":
			r.Waiting += refused
			if r.Waiting > 0 {
				r.Held += Step
			}
		case total >= guardMinimum && bad > p.MaxRatio*total:
			r.Waiting += refused
			r.Held += Step
		case p.OnReject == "drop":
			r.Dropped += refused
		default:
			r.Poisoned += refused
		}
	}
	return r
}

// Sum adds up flows of several processes: their delay is the longest.
func Sum(flows []Flow) Flow {
	var f Flow
	for _, g := range flows {
		f.Lines += g.Lines
		f.Busiest += g.Busiest
		f.Backlog += g.Backlog
		f.BacklogAtEnd += g.BacklogAtEnd
		f.Delay = max(f.Delay, g.Delay)
	}
	return f
}

// Busiest is the most lines a second of any step.
func (s *Series) Busiest() float64 {
	if len(s.Lines) == 0 {
		return 0
	}
	return float64(slices.Max(s.Lines)) / Step.Seconds()
}
