package app

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

const (
	// minRefused lines are needed for a share: one bad line of ten is no cause.
	minRefused = 5
	// maxRestarts of a process under a canary are taken for an upgrade or for
	// bad luck; one that ends each time has more.
	maxRestarts = 2
)

func newGuard(c *config.Config, link *etcd.Link, log *slog.Logger) *etcd.Guard {
	if link == nil {
		return nil
	}
	judge := NewCanaryJudge(c.Etcd)
	return etcd.NewGuard(link, "transfer "+c.Node, judge.Outcome, log)
}

// NewSubject is a process as it is before it is given a canary.
func NewSubject(name string, r *Report) etcd.Subject {
	return etcd.Subject{
		Name: name, Started: r.Started, Ready: r.Waiting == "", Counts: r.Health.Counts,
		Before: figures(r.Health.Recent, float64(r.Health.Minutes), r.LagSeconds),
	}
}

// CanaryHealth is how one process is under a canary.
type CanaryHealth struct {
	etcd.Subject
	// State is running, rejected, no answer or gone.
	State string `json:"state"`
	// Under are its figures since the canary began, at most of the last 5 minutes.
	Under etcd.Figures `json:"under"`
	// Failed says how it fails the rule; empty when it does not.
	Failed string `json:"failed,omitempty"`

	refused uint64
}

// The states of a process under a canary.
const (
	CanaryRunning  = "running"
	CanaryRejected = "rejected"
	CanaryNoAnswer = "no answer"
	CanaryGone     = "gone"
)

// CanaryJudge compares the processes of canaries with what they were before.
// It remembers how long something has been the case. One goroutine uses it.
type CanaryJudge struct {
	etcd     *config.Etcd
	canaries map[string]canaryTracks // by document
}

type canaryTracks struct {
	revision  int64
	processes map[string]*canaryTrack // by name
}

type canaryTrack struct {
	// missing and unready are since when; zero: not now.
	missing, unready time.Time
	started          time.Time
	restarts         int
}

// NewCanaryJudge returns a judge of the canaries in an etcd.
func NewCanaryJudge(e *config.Etcd) *CanaryJudge {
	return &CanaryJudge{etcd: e, canaries: map[string]canaryTracks{}}
}

// Outcome implements etcd.Judge.
func (j *CanaryJudge) Outcome(c etcd.Canary, subjects []etcd.Subject, members []etcd.Member, now time.Time) *etcd.Outcome {
	for _, h := range j.Look(c, subjects, members, now) {
		if h.Failed != "" {
			return &etcd.Outcome{How: etcd.TakenBack, Reason: h.Failed, Node: h.Name, Before: &h.Before, Under: &h.Under}
		}
	}
	return nil
}

// Look returns how each process is.
func (j *CanaryJudge) Look(c etcd.Canary, subjects []etcd.Subject, members []etcd.Member, now time.Time) []CanaryHealth {
	tracks := j.canaries[c.Document]
	if tracks.revision != c.Revision {
		tracks = canaryTracks{c.Revision, map[string]*canaryTrack{}}
		j.canaries[c.Document] = tracks
	}
	byName := map[string]etcd.Member{}
	for _, m := range members {
		byName[m.Name] = m
	}
	list := make([]CanaryHealth, 0, len(subjects))
	for _, s := range subjects {
		t := tracks.processes[s.Name]
		if t == nil {
			t = &canaryTrack{started: s.Started}
			tracks.processes[s.Name] = t
		}
		list = append(list, j.look(c, s, byName[s.Name], t, now))
	}
	return list
}

func (j *CanaryJudge) look(c etcd.Canary, s etcd.Subject, m etcd.Member, t *canaryTrack, now time.Time) CanaryHealth {
	rule := &c.Config.Rule
	h := CanaryHealth{Subject: s, State: CanaryGone}
	var r Report
	if m.Data == nil || json.Unmarshal(m.Data, &r) != nil {
		m.Alive = false
	}
	if m.Alive {
		h.State = r.CanaryState(j.etcd.Key(c.Document), c.Revision)
		h.measure(&r, c.Config.Begun, now)
	}
	missing := lasted(&t.missing, h.State == CanaryGone || h.State == CanaryNoAnswer, now)
	unready := lasted(&t.unready, m.Alive && s.Ready && r.Waiting != "", now)
	if m.Alive && !r.Started.Equal(t.started) {
		t.started = r.Started
		t.restarts++
	}
	switch {
	case h.State == CanaryRejected:
		h.Failed = "it rejected the canary: " + r.Config.Error
	case t.restarts > maxRestarts:
		h.Failed = fmt.Sprintf("it has started again %d times", t.restarts)
	case h.State == CanaryGone && missing > rule.Gone.D():
		h.Failed = fmt.Sprintf("nothing has been heard of it for %s", short(missing))
	case missing > rule.Gone.D():
		h.Failed = fmt.Sprintf("it has not taken the canary within %s; do its watch of etcd and its clock work?", short(missing))
	case h.refused >= minRefused && h.Under.RefusedShare > 2*s.Before.RefusedShare+rule.RefusedShare:
		h.Failed = fmt.Sprintf("%s of its lines were refused, %s before; the rule allows %s more than twice that",
			percent(h.Under.RefusedShare), percent(s.Before.RefusedShare), percent(rule.RefusedShare))
	case h.Under.ErrorsPerMinute > 2*s.Before.ErrorsPerMinute+rule.ErrorsPerMinute:
		h.Failed = fmt.Sprintf("%g errors a minute, %g before; the rule allows %g more than twice that",
			h.Under.ErrorsPerMinute, s.Before.ErrorsPerMinute, rule.ErrorsPerMinute)
	case unready > rule.NotReady.D():
		h.Failed = fmt.Sprintf("it has not been ready for %s: %s", short(unready), r.Waiting)
	case h.Under.LagSeconds > 2*s.Before.LagSeconds+rule.Lag.D().Seconds():
		h.Failed = fmt.Sprintf("its oldest line has waited for %s, %s before; the rule allows %s more than twice that",
			short(seconds(h.Under.LagSeconds)), short(seconds(s.Before.LagSeconds)), rule.Lag)
	}
	if h.Failed != "" && r.LastError != "" && h.State == CanaryRunning {
		h.Failed += "; its last error: " + r.LastError
	}
	h.Failed = cut(h.Failed, maxConfigText)
	return h
}

// measure takes the figures since the canary began, or of the last minutes
// when that is longer ago.
func (h *CanaryHealth) measure(r *Report, begun, now time.Time) {
	counts, minutes := r.Health.Counts, max(now.Sub(begun), 0).Minutes()
	switch {
	case minutes > healthFor.Minutes() && r.Health.Minutes > 0:
		counts, minutes = r.Health.Recent, float64(r.Health.Minutes)
	case r.Started.Equal(h.Started):
		counts = counts.Minus(h.Counts)
	}
	h.Under, h.refused = figures(counts, minutes, r.LagSeconds), counts.Refused
}

// CanaryState says what a live process has made of the canary of the document
// at a key.
func (r *Report) CanaryState(key string, revision int64) string {
	i := slices.IndexFunc(r.Config.Documents, func(d DocumentStatus) bool { return d.Key == key })
	if i < 0 || r.Config.Documents[i].Canary == nil {
		return CanaryNoAnswer
	}
	c := r.Config.Documents[i].Canary
	switch {
	case c.Revision == revision:
		return CanaryRunning
	case c.Wanted == revision:
		return CanaryRejected
	}
	return CanaryNoAnswer
}

// RunsCanary says whether the process runs a canary of the document at a key.
func (r *Report) RunsCanary(key string) bool {
	return slices.ContainsFunc(r.Config.Documents, func(d DocumentStatus) bool {
		return d.Key == key && d.Canary != nil && d.Canary.Revision != 0
	})
}

// lasted returns how long something is the case, and keeps since when.
func lasted(since *time.Time, is bool, now time.Time) time.Duration {
	switch {
	case !is:
		*since = time.Time{}
	case since.IsZero():
		*since = now
	default:
		return now.Sub(*since)
	}
	return 0
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

func short(d time.Duration) string { return config.Duration(d.Truncate(time.Second)).String() }

// percent writes a share for people.
func percent(share float64) string { return fmt.Sprintf("%.3g%%", share*100) }
