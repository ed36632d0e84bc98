package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/app/preview"
)

func (g *ground) tune(args ...string) (stdout, stderr string, status int) {
	g.t.Helper()
	return run(g.t, g.dir, append(append([]string{"tune"}, args...), "--etcd-endpoints", g.endpoint)...)
}

func (g *ground) tuned(args ...string) string {
	g.t.Helper()
	out, errs, status := g.tune(args...)
	require.Equal(g.t, 0, status, "%v: %s", args, errs)
	return out
}

const routesText = `# Where what goes.
routes:
  - name: web   # nginx
    topics: [web_log]
    index: web
    throttle: {lines_per_second: 100} # slow
`

func TestTuneARoute(t *testing.T) {
	g := newGround(t)
	g.ok("put", "transfer", g.file("routes.yml", routesText))
	g.service("transfer", "t-1", "")
	g.lives("transfer t-1")

	out := g.tuned("route", "web")
	require.Contains(t, out, "route web in transfer, revision ")
	require.Regexp(t, `throttle.lines_per_second +100 +0 +number`, out)
	require.Regexp(t, `poison.on_reject +poison +poison \| rescue \| drop \| hold`, out)

	out = g.tuned("route", "web", "throttle.lines_per_second=5000", "retry.max_backoff=10s", "--wait", "--author", "ann")
	require.Contains(t, out, "-    throttle: {lines_per_second: 100} # slow\n+    throttle: {lines_per_second: 5000} # slow\n+    retry: {max_backoff: 10s}\n")
	require.Contains(t, out, "applied by 1 of 1")
	require.Contains(t, g.ok("history", "transfer"), "tune route web throttle.lines_per_second=5000 retry.max_backoff=10s")
	g.tuned("route", "web", "throttle.lines_per_second=100", "retry.max_backoff=")
	require.Equal(t, routesText, g.ok("get", "transfer"), "and back, to the byte")
	require.Contains(t, g.tuned("route", "web", "throttle.lines_per_second=100"), "nothing to do")

	var shown []shown
	require.NoError(t, json.Unmarshal([]byte(g.tuned("route", "web", "--output", "json")), &shown))
	require.Equal(t, "transfer", shown[0].Document)
	var change changed
	require.NoError(t, json.Unmarshal([]byte(g.tuned("route", "web", "batch.max_docs=7", "--output", "json", "--wait")), &change))
	require.True(t, change.Changed)
	require.Len(t, change.Wait.Applied, 1)

	for want, args := range map[string][]string{
		`there is no route "wab"; there are web`:                                           {"route", "wab", "throttle.burst=1"},
		`throttle.lines_per_secnd: unknown key; did you mean throttle.lines_per_second?`:   {"route", "web", "throttle.lines_per_secnd=1"},
		`retry.max_backoff: "10" is not a duration`:                                        {"route", "web", "retry.max_backoff=10"},
		`"throttle.burst" is not KEY=VALUE`:                                                {"route", "web", "throttle.burst"},
		`retry.min_backoff: 1m is more than max_backoff, 30s`:                              {"route", "web", "retry.min_backoff=1m"},
		`write it as: logferry tune route NAME [KEY=VALUE...]`:                             {"route"},
		`--preview wants values`:                                                           {"route", "web", "--preview"},
		`no document in etcd defines any input; put one with 'logferry config put agent F`: {"input", "web"},
	} {
		_, errs, status := g.tune(args...)
		require.Equal(t, 2, status, args)
		require.Contains(t, errs, want)
	}
	_, errs, status := g.tune("route", "web", "batch.max_docs=9", "--expect", "1")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "was changed by somebody else")
	_, errs, status = g.tune("route", "web", "batch.max_docs=9", "--preview")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "nothing is recorded of route \"web\" yet")
}

func TestTuneAnInputOfSeveralDocuments(t *testing.T) {
	g := newGround(t)
	g.ok("put", "agent", g.file("a.yml", input("web", "one")))
	g.ok("put", "agent/nodes/n-1", g.file("b.yml", input("web", "two")))
	g.ok("put", "agent/labels/tier=db", g.file("c.yml", input("db", "three")))
	g.ok("put", "seed", g.file("seed.json", `[{"path":"/var/log/x.log","topic":"x"}]`))

	_, errs, status := g.tune("input", "web", "throttle.by=path")
	require.Equal(t, 2, status)
	require.Contains(t, errs, `input "web" is in agent, agent/nodes/n-1, each for the hosts that read it; name one with --document`)
	require.Contains(t, g.tuned("input", "web"), "input web in agent/nodes/n-1")
	require.Contains(t, g.tuned("input", "web", "throttle.by=path", "--node", "n-1"), "topic: two, throttle: {by: path}}")
	require.Contains(t, g.tuned("input", "web", "throttle.by=topic", "--document", "agent"), "topic: one, throttle: {by: topic}}")
	require.Contains(t, g.tuned("input", "db", "throttle.by=topic"), "agent/labels/tier=db is at revision")

	for want, args := range map[string][]string{
		`agent/nodes/n-2 does not define input "web"; copy it there`: {"input", "web", "throttle.by=path", "--node", "n-2"},
		`input "seed/x/var/log/x.log" comes from the seed`:           {"input", "seed/x/var/log/x.log", "throttle.by=path"},
		`route "x" comes from the seed`:                              {"route", "x", "throttle.burst=1"},
		`there are db, seed/x/var/log/x.log, web`:                    {"input", "wbe", "throttle.by=path"},
		`an input has no breaker`:                                    {"input", "db", "breaker.failures=1"},
	} {
		_, errs, status := g.tune(args...)
		require.Equal(t, 2, status, args)
		require.Contains(t, errs, want)
	}
	file := g.file("transfer.yml", "etcd: {endpoints: ["+g.endpoint+"]}\ntransfer: {routes: [{name: local, topics: [l], index: l}]}\n")
	_, errs, _ = run(t, g.dir, "tune", "route", "local", "throttle.burst=1", "--config", file)
	require.Contains(t, errs, `route "local" is in transfer.yml alone, and is changed there`)
}

// TestTunePreview replays what two transfers have recorded.
func TestTunePreview(t *testing.T) {
	g := newGround(t)
	g.ok("put", "transfer", g.file("routes.yml", routesText))
	rec := preview.Recording{End: time.Unix(1_800_000_000, 0), Steps: 3, Parts: []preview.Series{{
		Name: "web", Lines: []uint64{1000, 10_000, 1000}, Bytes: []uint64{100_000, 1_000_000, 100_000}, Requests: []uint64{10, 20, 10},
	}}}
	g.etcd(func(ctx context.Context, c *clientv3.Client) {
		for key, value := range map[string]string{
			"rates/transfer/t-1":  string(rec.Encode(16 << 10)),
			"status/transfer/t-1": `{"role":"transfer","node":"t-1","keys":["/logferry/v1/transfer"]}`,
			"status/transfer/t-2": `{"role":"transfer","node":"t-2","keys":["/logferry/v1/transfer"]}`,
			"status/agent/a-1":    `{"role":"agent","node":"a-1","keys":["/logferry/v1/agent"]}`,
		} {
			_, err := c.Put(ctx, "/logferry/v1/"+key, value)
			require.NoError(t, err)
		}
	})
	out := g.tuned("route", "web", "throttle.lines_per_second=500", "--preview")
	require.Contains(t, out, "(30s), as recorded by t-1\n")
	require.Regexp(t, `most lines/s of 10 s +1,000 +500\n`, out)
	require.Regexp(t, `lines that wait at the end +0 +1,000\n`, out)
	require.Regexp(t, `longest delay +0s +10s\n`, out)
	require.Contains(t, out, "of 1 that read transfer nothing is recorded")
	require.Contains(t, out, "It cannot tell:\n- what was in less than 10s")
	require.Equal(t, routesText, g.ok("get", "transfer"), "nothing was changed")

	var p previewed
	require.NoError(t, json.Unmarshal([]byte(g.tuned("route", "web", "batch.max_docs=100", "retry.max_backoff=1s", "poison.max_ratio=0.1", "--preview", "--output", "json")), &p))
	require.InDelta(t, 12_000.0/(2*1000/21.0+100), p.Changed.Requests.Docs, 1)
	require.Equal(t, p.Recorded.Flow, p.Changed.Flow, "no throttle is changed")
	require.Len(t, p.Unknown, 5)
}
