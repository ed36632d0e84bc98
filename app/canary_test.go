package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

func TestHealthCountsOnly(t *testing.T) {
	var h healthClock
	start := time.Now()
	at := func(seconds int, parts ...PartReport) Health {
		return h.next(start.Add(time.Duration(seconds)*time.Second), parts, false)
	}
	part := func(name string, lines, errors, refused uint64) PartReport {
		return PartReport{name, Figures{Lines: lines, Failures: errors / 2, Retries: errors - errors/2, Poisoned: refused / 2, Dropped: refused - refused/2}}
	}
	require.Equal(t, Health{Counts: etcd.Counts{Lines: 100, Errors: 4}}, at(0, part("a", 100, 4, 0)), "what was before is not recent")
	require.Equal(t, etcd.Counts{Lines: 150, Errors: 4, Refused: 3}, at(5, part("a", 110, 4, 1), part("b", 40, 0, 2)).Counts)
	// A part that goes takes nothing along; one that comes back counts anew.
	require.Equal(t, etcd.Counts{Lines: 150, Errors: 4, Refused: 3}, at(10, part("a", 110, 4, 1)).Counts)
	got := at(60, part("a", 20, 1, 0), part("b", 10, 0, 0))
	require.Equal(t, etcd.Counts{Lines: 180, Errors: 5, Refused: 3}, got.Counts)
	require.Equal(t, 1, got.Minutes)
	require.Equal(t, etcd.Counts{Lines: 80, Errors: 1, Refused: 3}, got.Recent)
	for i := range 1000 {
		got = at(65+5*i, part("a", 20+uint64(i), 1, 0), part("b", 10, 0, 0))
	}
	require.Equal(t, 5, got.Minutes)
	require.InDelta(t, 60, got.Recent.Lines, 3)
	require.Zero(t, got.Recent.Refused)
	require.LessOrEqual(t, len(h.past), 22, "memory is bounded")
	idle := at(6000, part("a", 1019, 1, 0), part("b", 10, 0, 0))
	for i := range 100 {
		if i > 61 {
			require.Equal(t, idle, at(6005+5*i, part("a", 1019, 1, 0), part("b", 10, 0, 0)), "time is no news")
			continue
		}
		idle = at(6005+5*i, part("a", 1019, 1, 0), part("b", 10, 0, 0))
	}
}

// What a canary did is not what was before the next one.
func TestHealthSetsCanariesApart(t *testing.T) {
	var h healthClock
	start := time.Now()
	at := func(seconds int, canary bool, lines, refused uint64) Health {
		return h.next(start.Add(time.Duration(seconds)*time.Second), []PartReport{{"a", Figures{Lines: lines, Poisoned: refused}}}, canary)
	}
	at(0, false, 0, 0)
	at(60, false, 600, 6)
	require.Equal(t, etcd.Counts{Lines: 600, Refused: 6}, at(120, false, 600, 6).Recent)
	require.Zero(t, at(130, true, 600, 6).Recent, "its own time alone")
	require.Equal(t, etcd.Counts{Lines: 100, Refused: 90}, at(140, true, 700, 96).Recent)
	got := at(150, false, 800, 190)
	require.Equal(t, etcd.Counts{Lines: 200, Refused: 184}, got.Recent, "what was under way belongs to it")
	require.Equal(t, etcd.Counts{Lines: 800, Refused: 190}, got.Counts)
	got = at(180, false, 900, 190)
	require.Equal(t, etcd.Counts{Lines: 600, Refused: 6}, got.Recent)
	require.Equal(t, 2, got.Minutes)
	require.Equal(t, etcd.Counts{Lines: 700, Refused: 7}, at(240, false, 1000, 191).Recent)
	// Another one, soon.
	require.Zero(t, at(245, true, 1000, 191).Recent)
	require.Equal(t, etcd.Counts{Lines: 5}, at(250, true, 1005, 191).Recent)
	require.Equal(t, etcd.Counts{Lines: 700, Refused: 7}, at(300, false, 1010, 191).Recent)
}

func TestFigures(t *testing.T) {
	lag := 7.0
	require.Equal(t, etcd.Figures{ErrorsPerMinute: 20, RefusedShare: 0.05, LagSeconds: 7}, figures(etcd.Counts{Lines: 100, Errors: 20, Refused: 5}, 0.1, &lag))
	require.Equal(t, etcd.Figures{ErrorsPerMinute: 10, RefusedShare: 1}, figures(etcd.Counts{Errors: 20, Refused: 5}, 2, nil))
	require.Equal(t, etcd.Figures{}, figures(etcd.Counts{}, 0, nil))
}

// trial is a canary of one process, which is looked at now and then.
type trial struct {
	t       *testing.T
	judge   *CanaryJudge
	canary  etcd.Canary
	subject etcd.Subject
	begun   time.Time
}

func newTrial(t *testing.T) *trial {
	begun := time.Now().Truncate(time.Second)
	return &trial{
		t: t, judge: NewCanaryJudge(&config.Etcd{Prefix: "/p"}), begun: begun,
		canary: etcd.Canary{Document: "agent", Revision: 9, Config: &config.Canary{Rule: config.DefaultRule(), Begun: begun}},
		subject: etcd.Subject{
			Name: "n", Started: begun.Add(-time.Hour), Ready: true, Counts: etcd.Counts{Lines: 1000, Errors: 50, Refused: 10},
			Before: etcd.Figures{ErrorsPerMinute: 5, RefusedShare: 0.02, LagSeconds: 10},
		},
	}
}

// well is the report of a process under the canary that is as it was.
func (tr *trial) well() *Report {
	lag := 10.0
	r := &Report{Started: tr.subject.Started, LagSeconds: &lag}
	r.Config.Documents = []DocumentStatus{{Key: "/p/agent", Canary: &CanaryStatus{Revision: 9, Wanted: 9}}}
	r.Health.Counts = tr.subject.Counts
	return r
}

// look returns why it fails, seconds after it began; nil is a process that is gone.
func (tr *trial) look(seconds int, r *Report) string {
	tr.t.Helper()
	m := etcd.Member{Role: "agent", Name: "n", Alive: r != nil}
	if r != nil {
		var err error
		m.Data, err = json.Marshal(r)
		require.NoError(tr.t, err)
	}
	now := tr.begun.Add(time.Duration(seconds) * time.Second)
	o := tr.judge.Outcome(tr.canary, []etcd.Subject{tr.subject}, []etcd.Member{m}, now)
	if o == nil {
		return ""
	}
	require.Equal(tr.t, "n", o.Node)
	require.Equal(tr.t, etcd.TakenBack, o.How)
	require.NotNil(tr.t, o.Under)
	return o.Reason
}

func (tr *trial) with(change func(*Report)) *Report {
	r := tr.well()
	change(r)
	return r
}

func TestTheRule(t *testing.T) {
	tr := newTrial(t)
	require.Empty(t, tr.look(1, tr.well()))
	require.Empty(t, tr.look(100, tr.well()))

	rejected := tr.with(func(r *Report) {
		r.Config.Documents[0].Canary.Revision, r.Config.Error = 0, "inputs: is wrong"
	})
	require.Equal(t, "it rejected the canary: inputs: is wrong", tr.look(2, rejected))

	// Before, 2 % were refused: up to 5 % are not much worse.
	refused := func(lines, refused uint64) *Report {
		return tr.with(func(r *Report) { r.Health.Lines, r.Health.Refused = 1000+lines, 10+refused })
	}
	require.Empty(t, tr.look(3, refused(4, 4)), "too few to tell")
	require.Empty(t, tr.look(3, refused(1000, 50)))
	require.Equal(t, "5.1% of its lines were refused, 2% before; the rule allows 1% more than twice that", tr.look(3, refused(1000, 51)))
	require.Contains(t, tr.look(3, refused(5, 5)), "100% of its lines were refused")

	// Before, there were 5 errors a minute: 20 are allowed.
	failing := func(n uint64) *Report {
		return tr.with(func(r *Report) {
			r.Health.Errors = 50 + n
			r.LastError = "no broker"
		})
	}
	require.Empty(t, tr.look(10, failing(20)))
	require.Equal(t, "21 errors a minute, 5 before; the rule allows 10 more than twice that; its last error: no broker", tr.look(10, failing(21)))
	require.Empty(t, tr.look(120, failing(40)))
	require.NotEmpty(t, tr.look(120, failing(41)))
	// After long, the last minutes count alone.
	late := func(n uint64) *Report {
		return tr.with(func(r *Report) {
			r.Health.Errors, r.Health.Minutes, r.Health.Recent.Errors = 1_000_000, 5, n
		})
	}
	require.Empty(t, tr.look(3600, late(100)))
	require.NotEmpty(t, tr.look(3600, late(101)))

	// Before, the oldest line was 10 s old: 80 s are allowed.
	behind := func(seconds float64) *Report { return tr.with(func(r *Report) { r.LagSeconds = &seconds }) }
	require.Empty(t, tr.look(10, behind(80)))
	require.Equal(t, "its oldest line has waited for 1m21s, 10s before; the rule allows 1m more than twice that", tr.look(10, behind(81)))
	require.Empty(t, tr.look(10, tr.with(func(r *Report) { r.LagSeconds = nil })), "not known")
}

func TestTheRuleLooksForHowLong(t *testing.T) {
	tr := newTrial(t)
	waiting := tr.with(func(r *Report) { r.Waiting = "input web waits: no leader" })
	require.Empty(t, tr.look(0, waiting))
	require.Empty(t, tr.look(10, waiting))
	require.Empty(t, tr.look(11, tr.well()), "it came back")
	require.Empty(t, tr.look(12, waiting))
	require.Equal(t, "it has not been ready for 11s: input web waits: no leader", tr.look(23, waiting))
	tr.subject.Ready = false
	require.Empty(t, tr.look(100, waiting), "it was not before, either")

	tr = newTrial(t)
	require.Empty(t, tr.look(0, nil))
	require.Empty(t, tr.look(30, nil))
	require.Equal(t, "nothing has been heard of it for 31s", tr.look(31, nil))
	require.Empty(t, tr.look(32, tr.well()))
	require.Empty(t, tr.look(62, nil), "it is gone anew")

	tr = newTrial(t)
	without := tr.with(func(r *Report) { r.Config.Documents = nil })
	require.Empty(t, tr.look(0, without))
	require.Contains(t, tr.look(31, without), "it has not taken the canary within 31s")
	require.Empty(t, tr.look(32, tr.well()))

	// A restart counts from nothing; one after the other is no accident.
	again := func(n int) *Report {
		return tr.with(func(r *Report) {
			r.Started = tr.begun.Add(time.Duration(n) * time.Second)
			r.Health.Counts = etcd.Counts{Lines: 3}
		})
	}
	require.Empty(t, tr.look(40, again(1)))
	require.Empty(t, tr.look(41, again(1)))
	require.Empty(t, tr.look(42, again(2)))
	require.Equal(t, "it has started again 3 times", tr.look(43, again(3)))

	// What was seen of one canary counts for no other, and what of a node's
	// document no one can read is as if it were gone.
	tr.canary.Revision = 20
	require.Empty(t, tr.look(50, nil))
	other := tr.canary
	other.Document = "transfer"
	require.Nil(t, tr.judge.Outcome(other, []etcd.Subject{tr.subject}, []etcd.Member{{Name: "n", Alive: true, Data: []byte("{")}}, tr.begun))
	require.NotEmpty(t, tr.look(81, nil), "another canary does not make it forget")
}

// following is a live config that is told what etcd holds.
type following struct {
	t     *testing.T
	l     *live
	topic []string // of the inputs in force, each time that they were applied
	fail  error
}

func newFollowing(t *testing.T, dir string) *following {
	f := &following{t: t}
	base, err := config.Parse("test", []byte("node: n\ndata_dir: "+dir+"\netcd: {}\nagent: {allowed_topics: ['*_log']}"))
	require.NoError(t, err)
	f.l, err = newLive(base, liveOptions{"agent", "", base.AgentKeys, func(_ context.Context, c *config.Config) error {
		for _, in := range c.Agent.Inputs {
			f.topic = append(f.topic, in.Topic)
		}
		return f.fail
	}, slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	f.l.loadGood()
	return f
}

func topic(name string) string { return "inputs: [{name: a, paths: [a], topic: " + name + "}]" }

func (f *following) put(key, data string, revision int64) *config.Document {
	return &config.Document{Key: "/logferry/v1/" + key, Data: []byte(data), Revision: revision}
}

func (f *following) canary(node, data string, revision int64, lasts time.Duration) *config.Document {
	now := time.Now()
	c, err := config.NewCanary(config.Canary{Document: "agent", Select: config.Selector{Nodes: []string{node}}, Begun: now.Add(-time.Minute), Until: now.Add(lasts)}, []byte(data))
	require.NoError(f.t, err)
	value, err := json.Marshal(c)
	require.NoError(f.t, err)
	return f.put("canary/agent", string(value), revision)
}

func TestLiveRunsACanary(t *testing.T) {
	f := newFollowing(t, t.TempDir())
	ctx := t.Context()
	docs := config.Docs{Agent: f.put("agent", topic("old_log"), 5)}
	f.l.decide(ctx, docs, 5)
	before := f.l.status()

	// Others' canaries leave no trace.
	with := docs
	with.Canaries = []*config.Document{f.canary("other", topic("new_log"), 7, time.Hour)}
	f.l.decide(ctx, with, 7)
	f.l.decide(ctx, docs, 8)
	require.Equal(t, before, f.l.status())
	require.Equal(t, []string{"old_log"}, f.topic)

	with.Canaries = []*config.Document{f.canary("n", topic("new_log"), 9, time.Hour)}
	f.l.decide(ctx, with, 9)
	s := f.l.status()
	require.True(t, s.RunsCanary())
	require.Equal(t, int64(9), s.Revision)
	require.Equal(t, int64(9), s.Wanted)
	require.Equal(t, int64(5), s.Documents[0].Revision)
	require.Equal(t, int64(5), s.Documents[0].Wanted)
	require.Equal(t, int64(9), s.Documents[0].Canary.Revision)
	require.Equal(t, []string{"old_log", "new_log"}, f.topic)
	r := Report{Config: s}
	require.Equal(t, Applied, r.Answered("/logferry/v1/agent", 5))
	require.True(t, r.RunsCanary("/logferry/v1/agent"))
	require.Equal(t, CanaryRunning, r.CanaryState("/logferry/v1/agent", 9))
	require.Equal(t, CanaryNoAnswer, r.CanaryState("/logferry/v1/agent", 10))

	// Garbage in its place leaves it, and is said.
	with.Canaries = []*config.Document{f.put("canary/agent", "\x00", 11)}
	f.l.decide(ctx, with, 11)
	s = f.l.status()
	require.Contains(t, s.Error, "/logferry/v1/canary/agent: is not a canary: ")
	require.Equal(t, int64(9), s.Revision)

	// It is against this host's limits.
	with.Canaries = []*config.Document{f.canary("n", topic("secret"), 13, time.Hour)}
	f.l.decide(ctx, with, 13)
	s = f.l.status()
	require.False(t, s.RunsCanary())
	require.Equal(t, int64(5), s.Revision)
	require.Equal(t, int64(13), s.Wanted)
	r = Report{Config: s}
	require.Equal(t, CanaryRejected, r.CanaryState("/logferry/v1/agent", 13))
	require.Contains(t, s.Error, "allowed_topics")

	// It cannot be applied: what was in force stays, and it is tried again.
	f.fail = errors.New("no room")
	with.Canaries = []*config.Document{f.canary("n", topic("third_log"), 15, time.Hour)}
	f.l.decide(ctx, with, 15)
	require.Equal(t, "no room", f.l.status().Error)
	r = Report{Config: f.l.status()}
	require.Equal(t, CanaryRejected, r.CanaryState("/logferry/v1/agent", 15))
	f.fail = nil
	f.l.decide(ctx, with, 15)
	require.True(t, f.l.status().RunsCanary())
	f.l.decide(ctx, docs, 16)
	require.False(t, f.l.status().RunsCanary())
	require.Empty(t, f.l.status().Error)
	require.Equal(t, "old_log", f.topic[len(f.topic)-1])
}

// The process itself ends a canary, with etcd or without, also over a restart.
func TestLiveEndsACanaryByItself(t *testing.T) {
	dir := t.TempDir()
	f := newFollowing(t, dir)
	ctx := t.Context()
	docs := config.Docs{Agent: f.put("agent", topic("old_log"), 5)}
	docs.Canaries = []*config.Document{f.canary("n", topic("new_log"), 9, 2*time.Second)}
	f.l.decide(ctx, docs, 9)
	require.True(t, f.l.status().RunsCanary())
	f.l.beat(ctx)
	require.True(t, f.l.status().RunsCanary(), "not yet")
	select {
	case <-f.l.changed:
	default:
		require.Fail(t, "a beat asks for a report")
	}

	g := newFollowing(t, dir)
	g.l.startFromLastGood(ctx)
	require.True(t, g.l.status().RunsCanary(), "its time has not ended")
	require.Equal(t, []string{"new_log"}, g.topic)

	time.Sleep(time.Until(f.l.status().canaryUntil()))
	for _, each := range []*following{f, g} {
		each.l.beat(ctx)
		require.False(t, each.l.status().RunsCanary())
		require.Equal(t, "old_log", each.topic[len(each.topic)-1])
	}
	h := newFollowing(t, dir)
	h.l.startFromLastGood(ctx)
	require.Equal(t, []string{"old_log"}, h.topic)
	require.FileExists(t, filepath.Join(dir, "last-good-agent.json"))
}
