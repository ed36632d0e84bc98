package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config/etcd"
)

// canaries returns what `config canary` says.
func (g *ground) canaries() (c canaries) {
	g.t.Helper()
	require.NoError(g.t, json.Unmarshal([]byte(g.ok("canary", "--output", "json")), &c))
	return c
}

func (g *ground) runsCanary(node string) bool {
	g.t.Helper()
	m := g.status()["agent "+node]
	return m.RunsCanary("/logferry/v1/agent")
}

// ended waits until there is no canary, and returns what became of the last one.
func (g *ground) ended() etcd.Outcome {
	g.t.Helper()
	var c canaries
	eventually(g.t, "the canary's end", func() bool {
		c = g.canaries()
		return len(c.Canaries) == 0
	})
	require.Len(g.t, c.Outcomes, 1)
	return c.Outcomes[0]
}

func TestCanaryOfAFewAgents(t *testing.T) {
	g := newGround(t)
	require.Contains(t, g.ok("canary"), "there is no canary, and there was none")
	one, two := g.file("one.yml", input("web", "one")), g.file("two.yml", input("web", "two"))
	_, errs, status := g.config("canary", two, "--percent", "10")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "no live process reads agent")

	g.service("agent", "web-1", "labels: {tier: web}\n")
	g.service("agent", "web-2", "labels: {tier: web}\n")
	g.service("agent", "db-1", "agent: {allowed_topics: ['one', 'db_*']}\n")
	g.lives("agent web-1", "agent web-2", "agent db-1")
	g.ok("put", "agent", one, "--wait")

	for _, c := range []struct {
		args, says string
	}{
		{"--percent 10", "name the file"},
		{two + " three.yml", "write it as: "},
		{two, "it selects nobody"},
		{two + " --percent 0", "is not a percentage"},
		{two + " --percent 101", "is not a percentage"},
		{two + " --label x", "write KEY=VALUE"},
		{two + " --nodes web-1,web-9", "not alive, or not a reader of agent: web-9\nthose who read it are: db-1, web-1 (tier=web), web-2 (tier=web)"},
		{two + " --label tier=none", "nobody alive is selected by --label tier=none"},
		{two + " --nodes db-1 --label tier=web", "nobody alive is selected by --nodes db-1 --label tier=web"},
		{two + " --nodes web-1 --for 200h", "at most 168h"},
		{two + " --nodes web-1 --allow-lag -1s", "no negative times"},
		{two + " --nodes web-1 --document seed", "there is no canary of the seed"},
		{two + " --nodes web-1 --document agent/nodes/web-1", "is for one node as it is"},
		{two + " --cancel", "--cancel takes no file"},
		{g.file("bad.yml", "rotues: []") + " --nodes web-1", "bad.yml:1: rotues: unknown key"},
		{g.file("local.yml", "allowed_paths: [/]") + " --nodes web-1", "can only be set in the local file"},
	} {
		_, errs, status := g.config(append([]string{"canary"}, strings.Fields(c.args)...)...)
		require.Equal(t, 2, status, "%s: %s", c.args, errs)
		require.Contains(t, errs, c.says)
	}
	_, errs, status = g.config("canary", one, "--nodes", "web-1")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "there is nothing to try")
	_, errs, status = g.config("canary", two, "--nodes", "web-1", "--expect", "1")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "was changed by somebody else")
	for _, args := range [][]string{{"promote"}, {"canary", "--cancel"}} {
		_, errs, status = g.config(args...)
		require.Equal(t, 1, status)
		require.Contains(t, errs, "there is no canary")
	}

	// One of those with a label runs it; the others go on.
	out, errs, status := g.config("canary", two, "--label", "tier=web", "--percent", "10", "--wait", "--output", "json",
		"-m", "for two", "--author", "ann", "--promote-after", "1s")
	require.Equal(t, 0, status, errs)
	var b begun
	require.NoError(t, json.Unmarshal([]byte(out), &b))
	require.Len(t, b.Nodes, 1)
	require.Equal(t, []answerer{{"agent", b.Nodes[0]}}, b.Wait.Applied)
	require.False(t, b.Guarded, "there is no transfer")
	require.Contains(t, b.Diff, "topic: two")
	for _, name := range []string{"web-1", "web-2", "db-1"} {
		runs := g.runsCanary(name)
		require.Equal(t, name == b.Nodes[0], runs, name)
	}
	status1, _, _ := run(t, g.dir, "status", "--etcd-endpoints", g.endpoint)
	require.Contains(t, status1, " canary ")
	require.Contains(t, status1, "canary of agent at revision ")
	state := g.canaries().Canaries[0]
	require.Equal(t, app.CanaryRunning, state.Processes[0].State)
	require.Contains(t, g.ok("canary"), "nobody watches over it")
	_, errs, status = g.config("canary", two, "--nodes", "db-1")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "there is a canary of agent already")

	// It becomes the document, byte for byte, and goes back as such.
	eventually(t, "the least time", func() bool {
		out, errs, status = g.config("promote", "--author", "bob", "--output", "json")
		if status != 0 {
			require.Contains(t, errs, "the canary is too young")
		}
		return status == 0
	})
	var promoted changed
	require.NoError(t, json.Unmarshal([]byte(out), &promoted))
	require.Equal(t, input("web", "two"), g.ok("get", "agent"))
	history := g.ok("history", "agent")
	require.Contains(t, history, "for two (canary at revision ")
	require.Contains(t, history, "bob")
	require.Contains(t, g.ok("history", "agent", "--canary"), "promoted")
	require.Equal(t, etcd.Promoted, g.ended().How)
	g.ok("rollback", "agent", strconv.FormatInt(promoted.Previous, 10))
	require.Equal(t, input("web", "one"), g.ok("get", "agent"))

	// A document that is put meanwhile wins.
	g.ok("canary", two, "--nodes", "web-1", "--wait", "--promote-after", "0s")
	out, errs, status = g.config("put", "agent", g.file("three.yml", input("web", "one")+"# more\n"), "--wait")
	require.Equal(t, 0, status, errs)
	require.Contains(t, errs, "note: there is a canary of agent")
	require.Contains(t, out, "applied by 2 of 3; a canary stands in its place on 1")
	_, errs, status = g.config("promote")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "agent was changed by somebody else")
	require.Contains(t, g.ok("canary", "--cancel", "--wait", "-m", "no good"), "was taken back")
	o := g.ended()
	require.Equal(t, etcd.Cancelled, o.How)
	require.Equal(t, "no good", o.Reason)
	require.False(t, g.runsCanary("web-1"))

	// Without any transfer, agents end it by themselves, and the next one can begin.
	g.ok("canary", two, "--nodes", "web-1", "--wait", "--for", "2s")
	eventually(t, "the end of its time", func() bool { return !g.runsCanary("web-1") })
	require.Len(t, g.canaries().Canaries, 1)
	_, errs, status = g.config("promote")
	require.Equal(t, 1, status)
	require.NotEmpty(t, errs)
	g.ok("canary", two, "--nodes", "web-1", "--wait")
	require.Equal(t, etcd.Ended, g.canaries().Outcomes[0].How)
}

// With nobody at a terminal, transfers take back what fails; when one of them
// dies, another goes on.
func TestCanaryIsTakenBackByWhoeverLives(t *testing.T) {
	g := newGround(t)
	agent := g.service("agent", "web-1", "")
	g.service("agent", "db-1", "agent: {allowed_topics: ['one', 'db_*']}\n")
	transfers := map[string]*process{"transfer t-1": g.service("transfer", "t-1", ""), "transfer t-2": g.service("transfer", "t-2", "")}
	g.lives("agent web-1", "agent db-1", "transfer t-1", "transfer t-2")
	g.ok("put", "agent", g.file("one.yml", input("web", "one")), "--wait")
	two := g.file("two.yml", input("web", "two"))

	// One of two rejects it.
	out, errs, status := g.config("canary", two, "--percent", "100", "--wait", "--output", "json")
	require.Equal(t, 1, status, errs)
	var b begun
	require.NoError(t, json.Unmarshal([]byte(out), &b))
	require.True(t, b.Guarded)
	require.Equal(t, "db-1", b.Wait.Rejected[0].Node)
	require.Contains(t, b.Wait.Rejected[0].Error, "allowed_topics")
	o := g.ended()
	require.Equal(t, etcd.TakenBack, o.How)
	require.Equal(t, "db-1", o.Node)
	require.Contains(t, o.Reason, "it rejected the canary: /logferry/v1/canary/agent:3: inputs[0].topic: ")
	status1, _, _ := run(t, g.dir, "status", "--etcd-endpoints", g.endpoint)
	require.Contains(t, status1, "was taken back ")
	require.Contains(t, status1, "it rejected the canary")
	eventually(t, "the document in force", func() bool {
		return !g.runsCanary("web-1") && g.status()["agent db-1"].Report.Config.Error == ""
	})

	// The one who watches dies, and the agent that has the canary stops.
	g.ok("canary", two, "--nodes", "web-1", "--wait", "--allow-gone", "1s")
	var first string
	eventually(t, "a guard", func() bool {
		first = g.canaries().Guard
		return first != ""
	})
	transfers[first].kill()
	require.Equal(t, 0, agent.stop())
	o = g.ended()
	require.Equal(t, etcd.TakenBack, o.How)
	require.Equal(t, "web-1", o.Node)
	require.Regexp(t, `^nothing has been heard of it for \d+s$`, o.Reason)
	for name := range transfers {
		if name != first {
			require.Equal(t, "logferry "+name, o.By)
		}
	}
	require.WithinDuration(t, time.Now(), o.At, patience)
	require.Contains(t, g.ok("history", "agent", "--canary"), "taken back: nothing has been heard")
}
