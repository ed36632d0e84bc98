package app

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// Report is what a process says about itself to the fleet, as JSON under
// <prefix>/status/<role>/<node>.
type Report struct {
	Role    string            `json:"role"`
	Node    string            `json:"node"`
	Labels  map[string]string `json:"labels,omitempty"`
	Version string            `json:"version"`
	PID     int               `json:"pid"`
	Started time.Time         `json:"started"`
	// Said and Stopped are in last words alone: when they were said, and when
	// the process that was told to stop had settled.
	Said    time.Time `json:"said,omitzero"`
	Stopped time.Time `json:"stopped,omitzero"`
	// Waiting says what it waits for, when it is not ready.
	Waiting string `json:"waiting,omitempty"`
	// Keys in etcd that it reads, and which forms of them are in force.
	Keys   []string   `json:"keys"`
	Config LiveStatus `json:"config"`
	// Files are followed by an agent.
	Files int `json:"files,omitempty"`
	// Figures over all inputs or routes.
	Figures
	// LagSeconds is the age of the oldest line that is behind, as far as it is
	// known: it was written after this process began to look.
	LagSeconds *float64 `json:"lag_seconds,omitempty"`
	// Health is what a canary is judged by.
	Health Health `json:"health"`
	// Parts are the inputs or routes by name. Where they do not all fit, those
	// in trouble and far behind come first, and MoreParts are not shown.
	Parts     []PartReport `json:"parts,omitempty"`
	MoreParts int          `json:"more_parts,omitempty"`
}

// PartReport is about one input or route.
type PartReport struct {
	Name string `json:"name"`
	Figures
}

// Figures are of one input or route, or of all. Counts are since the start.
type Figures struct {
	Lines          uint64  `json:"lines"`
	LinesPerSecond float64 `json:"lines_per_second"`
	// Lag is in bytes for an agent, in records for a transfer.
	Lag      int64  `json:"lag"`
	Failures uint64 `json:"failures"`
	Retries  uint64 `json:"retries"`
	// Waiting are the messages that wait for a retry now.
	Waiting  int64  `json:"waiting_messages"`
	Poisoned uint64 `json:"poisoned"`
	Dropped  uint64 `json:"dropped"`
	// Breaker is closed, half-open or open; of all, the worst.
	Breaker string `json:"breaker"`
	// Held says why the sink refuses everybody.
	Held          string    `json:"held,omitempty"`
	LastError     string    `json:"last_error,omitempty"`
	LastErrorTime time.Time `json:"last_error_time,omitzero"`

	done uint64 // in the unit of Lag
}

// Answer is what a process has made of a form of a document.
type Answer int

// The answers.
const (
	NoAnswer Answer = iota
	Applied
	Rejected
)

// Answered says what the process has made of the form of the document at key
// that etcd holds since revision.
func (r *Report) Answered(key string, revision int64) Answer {
	if r.Config.Seen < revision {
		return NoAnswer
	}
	for _, d := range r.Config.Documents {
		if d.Key == key && d.Revision != d.Wanted {
			return Rejected
		}
	}
	return Applied
}

// reporting makes the reports of one process; etcd.Reporter's goroutine alone
// calls it.
type reporting struct {
	role    string
	config  *config.Config
	live    *live
	ready   func() error
	parts   func() (files int, parts []PartReport, also []seen)
	started time.Time
	rates   map[string]rate
	lag     lagClock
	health  healthClock
	done    *rates // of the last minutes
}

// seen is an error that belongs to no part.
type seen struct {
	text string
	at   time.Time
}

func newReporter(r *reporting) *etcd.Reporter {
	if r.config.Etcd == nil {
		return nil
	}
	r.started, r.rates = time.Now(), map[string]rate{}
	reporter := etcd.NewReporter(r.live.link, r.role, r.config.Node, r.bytes, r.live.changed, r.live.log)
	if r.done != nil {
		reporter.AlsoRates(r.done.bytes)
	}
	return reporter
}

// bytes is a report of at most etcd.MaxReport bytes.
func (r *reporting) bytes(words etcd.Words) []byte {
	now := time.Now()
	report := r.report(now)
	switch words {
	case etcd.Stopped:
		report.Stopped, report.Waiting = now.UTC().Truncate(time.Second), ""
		fallthrough
	case etcd.Last:
		report.Said = now.UTC().Truncate(time.Second)
	}
	return report.marshal()
}

func (r *reporting) report(now time.Time) *Report {
	files, parts, also := r.parts()
	report := &Report{
		Role: r.role, Node: r.config.Node, Labels: r.config.Labels, Version: Version,
		PID: os.Getpid(), Started: r.started.UTC().Truncate(time.Second),
		Keys: r.live.keys().All(), Config: r.live.status(), Files: files,
	}
	if err := r.ready(); err != nil {
		report.Waiting = err.Error()
	}
	slices.SortFunc(parts, func(a, b PartReport) int { return cmp.Compare(a.Name, b.Name) })
	rates := make(map[string]rate, len(parts))
	report.Breaker = "closed"
	for i := range parts {
		p := &parts[i]
		p.LastError = cut(p.LastError, maxErrorText)
		p.Held = cut(p.Held, maxErrorText)
		rates[p.Name] = r.rates[p.Name].next(now, p.Lines)
		p.LinesPerSecond = rates[p.Name].value
		report.add(p.Figures)
	}
	report.LinesPerSecond = digits(report.LinesPerSecond)
	r.rates = rates
	for _, e := range also {
		report.mention(cut(e.text, maxErrorText), e.at)
	}
	report.Parts = parts
	report.Health = r.health.next(now, parts, report.Config.RunsCanary())
	report.LagSeconds = r.lag.seconds(now, report.done, report.Lag)
	return report
}

// add sums up.
func (f *Figures) add(g Figures) {
	f.Lines += g.Lines
	f.LinesPerSecond += g.LinesPerSecond
	f.Lag += g.Lag
	f.Failures += g.Failures
	f.Retries += g.Retries
	f.Waiting += g.Waiting
	f.Poisoned += g.Poisoned
	f.Dropped += g.Dropped
	f.done += g.done
	if g.Breaker > f.Breaker { // closed, half-open, open: as it happens, from good to bad
		f.Breaker = g.Breaker
	}
	if f.Held == "" {
		f.Held = g.Held
	}
	f.mention(g.LastError, g.LastErrorTime)
}

// mention keeps the later error.
func (f *Figures) mention(text string, at time.Time) {
	if text != "" && (f.LastError == "" || at.After(f.LastErrorTime)) {
		f.LastError, f.LastErrorTime = text, at.UTC().Truncate(time.Second)
	}
}

const (
	maxErrorText  = 500
	maxConfigText = 4000
)

// cut makes at most n bytes of a text that may hold anything. What does not
// print would be six bytes in JSON.
func cut(s string, n int) string {
	more := len(s) > n
	if more {
		s = s[:n-3]
	}
	s = strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if more {
		s += "..."
	}
	return s
}

// marshal leaves out parts until the report fits.
func (r *Report) marshal() []byte {
	r.Config.Error = cut(r.Config.Error, maxConfigText)
	for {
		data := encode(r)
		if len(data) <= etcd.MaxReport {
			return data
		}
		if len(r.Parts) == 0 {
			r.Config.Error, r.LastError, r.Held = "", "", ""
			r.Labels, r.Keys, r.Config.Documents = nil, nil, nil
			continue
		}
		if r.MoreParts == 0 {
			slices.SortStableFunc(r.Parts, func(a, b PartReport) int {
				return cmp.Or(cmp.Compare(b.trouble(), a.trouble()), cmp.Compare(b.Lag, a.Lag))
			})
		}
		keep := len(r.Parts) * etcd.MaxReport / len(data)
		keep = min(keep, len(r.Parts)-1)
		r.MoreParts += len(r.Parts) - keep
		r.Parts = r.Parts[:keep]
	}
}

func encode(r *Report) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

func (f *Figures) trouble() int {
	switch {
	case f.Held != "" || f.Breaker != "closed" && f.Breaker != "":
		return 2
	case f.LastError != "":
		return 1
	}
	return 0
}

// rate of a count over at least minRateTime.
type rate struct {
	at    time.Time
	count uint64
	value float64
}

const minRateTime = 2 * time.Second

func (r rate) next(now time.Time, count uint64) rate {
	elapsed := now.Sub(r.at)
	if r.at.IsZero() || count < r.count {
		return rate{now, count, 0}
	}
	if elapsed < minRateTime {
		return r
	}
	return rate{now, count, digits(float64(count-r.count) / elapsed.Seconds())}
}

// digits keeps three, so that a steady rate is no news.
func digits(f float64) float64 {
	if f <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(f))-2)
	return math.Round(math.Round(f/unit)*unit*1000) / 1000
}

// lagClock tells how old the oldest of what is behind is: it remembers when
// there was how much, and looks up when there was first more than is done.
type lagClock struct {
	ends []lagEnd // of increasing time and end
	done uint64
}

type lagEnd struct {
	at  time.Time
	end uint64
}

const (
	lagEach    = 5 * time.Second
	maxLagEnds = 720 // an hour
)

// seconds returns nil when it is not known. done and what is behind it are of
// one unit, and done grows.
func (c *lagClock) seconds(now time.Time, done uint64, behind int64) *float64 {
	end := done + uint64(max(behind, 0))
	if done < c.done {
		c.ends = nil // a part is gone with what it had done
	}
	c.done = done
	n := len(c.ends)
	if n == 0 || end > c.ends[n-1].end && now.Sub(c.ends[n-1].at) >= lagEach {
		c.ends = append(c.ends, lagEnd{now, end})
	}
	if n >= maxLagEnds {
		c.ends = slices.Delete(c.ends, 1, 2)
	}
	zero := 0.0
	if behind <= 0 {
		c.ends = c.ends[len(c.ends)-1:]
		return &zero
	}
	i := slices.IndexFunc(c.ends, func(e lagEnd) bool { return e.end > done })
	switch {
	case i < 0:
		return &zero // it came after the last look
	case i == 0:
		return nil // it was there at the first look
	}
	age := math.Round(now.Sub(c.ends[i].at).Seconds())
	c.ends = slices.Delete(c.ends, 0, i-1)
	return &age
}
