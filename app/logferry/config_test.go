package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/app/embedded"
)

// ground is an etcd, without anything else, and a folder.
type ground struct {
	t        *testing.T
	dir      string
	endpoint string
}

func newGround(t *testing.T) *ground {
	t.Helper()
	dir := t.TempDir()
	server, err := embedded.StartEtcd(embedded.EtcdOptions{Dir: filepath.Join(dir, "etcd"), Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return &ground{t, dir, server.Endpoint()}
}

// config runs `logferry config` to its end.
func (g *ground) config(args ...string) (stdout, stderr string, status int) {
	g.t.Helper()
	return run(g.t, g.dir, append(append([]string{"config"}, args...), "--etcd-endpoints", g.endpoint)...)
}

// ok runs it, and wants it to succeed.
func (g *ground) ok(args ...string) string {
	g.t.Helper()
	out, errs, status := g.config(args...)
	require.Equal(g.t, 0, status, "%v: %s", args, errs)
	return out
}

func (g *ground) file(name, text string) string {
	g.t.Helper()
	require.NoError(g.t, os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600))
	return name
}

func (g *ground) etcd(f func(ctx context.Context, c *clientv3.Client)) {
	g.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{g.endpoint}, DialTimeout: 5 * time.Second})
	require.NoError(g.t, err)
	defer c.Close()
	f(context.Background(), c)
}

// service starts an agent or a transfer without a broker: it reads its config
// and reports all the same.
func (g *ground) service(role, node, more string) *process {
	g.t.Helper()
	path := g.file(role+"-"+node+".yml", fmt.Sprintf(`
node: %[2]s
data_dir: %[1]s-%[2]s-data
admin: {listen: ''}
etcd: {endpoints: [%[3]s]}
kafka: {brokers: ['127.0.0.1:1']}
elasticsearch: {addresses: ['http://127.0.0.1:1']}
%[4]s`, role, node, g.endpoint, more))
	p, _ := startProcess(g.t, g.dir, role, "--config", path)
	return p
}

// status returns the fleet by role and name.
func (g *ground) status() map[string]member {
	g.t.Helper()
	out, errs, status := run(g.t, g.dir, "status", "--output", "json", "--etcd-endpoints", g.endpoint)
	require.Equal(g.t, 0, status, errs)
	var list []member
	require.NoError(g.t, json.Unmarshal([]byte(out), &list))
	fleet := map[string]member{}
	for _, m := range list {
		fleet[m.Role+" "+m.Name] = m
	}
	return fleet
}

// lives waits until all of the fleet report.
func (g *ground) lives(names ...string) {
	g.t.Helper()
	eventually(g.t, "the fleet", func() bool {
		fleet := g.status()
		for _, name := range names {
			if m, ok := fleet[name]; !ok || m.State != "waiting" && m.State != "ready" || m.Report.Config.Seen == 0 {
				return false
			}
		}
		return true
	})
}

func input(name, topic string) string {
	return fmt.Sprintf("# made by a person\ninputs:\n  - {name: %s, paths: [/var/log/%[1]s.log], topic: %s}\n", name, topic)
}

func TestConfigsLife(t *testing.T) {
	g := newGround(t)
	require.Contains(t, g.ok("get"), "there are no documents")
	_, errs, status := g.config("get", "agent")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "there is no agent")

	one, two := input("web", "one"), input("web", "two")
	out := g.ok("put", "agent", g.file("one.yml", one), "-m", "the first", "--author", "ann", "--wait")
	require.Contains(t, out, "--- no agent\n+++ one.yml\n@@ -0,0 +1,3 @@\n+# made")
	require.Contains(t, out, "agent is at revision ")
	require.Contains(t, out, "no live process reads it")
	require.Contains(t, g.ok("put", "agent", "one.yml"), "nothing to do")
	out = g.ok("put", "agent", g.file("two.yml", two), "-m", "the second", "--output", "json")
	var result changed
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	require.True(t, result.Changed)
	require.Contains(t, result.Diff, "-  - {name: web, paths: [/var/log/web.log], topic: one}\n+")
	require.Greater(t, result.Revision, result.Previous)
	require.Equal(t, two, g.ok("get", "agent"))

	// Compaction takes nothing from the history.
	g.etcd(func(ctx context.Context, c *clientv3.Client) {
		answer, err := c.Get(ctx, "x")
		require.NoError(t, err)
		_, err = c.Compact(ctx, answer.Header.Revision, clientv3.WithCompactPhysical())
		require.NoError(t, err)
	})
	first := fmt.Sprint(result.Previous)
	require.Contains(t, g.ok("diff", "agent"), "-  - {name: web, paths: [/var/log/web.log], topic: one}\n+")
	require.Equal(t, g.ok("diff", "agent"), g.ok("diff", "agent", first, fmt.Sprint(result.Revision)))
	require.Equal(t, g.ok("diff", "agent"), g.ok("diff", "agent", first))
	require.Contains(t, g.ok("diff", "agent", "one.yml"), "+++ one.yml")

	out = g.ok("rollback", "agent", first)
	require.Contains(t, out, "+++ agent, revision "+first)
	require.Equal(t, one, g.ok("get", "agent"), "the exact bytes")
	require.Equal(t, two, g.ok("get", "agent", "--revision", fmt.Sprint(result.Revision)))
	out = g.ok("history", "agent")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	require.Contains(t, lines[1], "rollback to "+first)
	require.Contains(t, lines[2], "the second")
	require.Contains(t, lines[3], "ann")

	g.ok("delete", "agent")
	require.Contains(t, g.ok("delete", "agent"), "nothing to do")
	require.Contains(t, g.ok("history", "agent"), "deleted")
	g.ok("rollback", "agent", first)
	g.ok("put", "seed", g.file("seed.json", `[{"path":"./a","topic":"a"}]`))
	require.Contains(t, g.ok("get"), "seed")
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(g.ok("history", "agent", "--output", "json")), &list))
	require.Len(t, list, 5)
	require.Equal(t, true, list[1]["deleted"])
}

func TestConfigRefusesAndNamesEverything(t *testing.T) {
	g := newGround(t)
	bad := g.file("bad.yml", "inputs:\n  - {name: 'a b', paths: [x], topc: web}\nallowed_paths: [/]\n")
	_, errs, status := g.config("put", "agent", bad)
	require.Equal(t, 2, status)
	for _, want := range []string{
		"bad.yml:2: inputs[0].name: ", "bad.yml:2: inputs[0].topc: unknown key; did you mean topic?",
		"bad.yml:2: inputs[0].topic: is required", "bad.yml:3: allowed_paths: can only be set in the local file",
	} {
		require.Contains(t, errs, want)
	}
	require.Contains(t, g.ok("get"), "there are no documents")

	out, errs, status := run(t, g.dir, "config", "validate", "agent", bad, "--output", "json")
	require.Equal(t, 2, status)
	require.Contains(t, errs, "did you mean topic?")
	var verdict struct {
		Valid  bool
		Errors []struct {
			File, Key, Reason string
			Line              int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &verdict))
	require.False(t, verdict.Valid)
	require.Len(t, verdict.Errors, 4)
	require.Equal(t, 2, verdict.Errors[0].Line)
	out, _, status = run(t, g.dir, "config", "validate", "agent", g.file("good.yml", input("a", "b")))
	require.Equal(t, 0, status)
	require.Equal(t, "good.yml is valid\n", out)
	_, errs, status = run(t, g.dir, "config", "validate", g.file("service.yml", "agnt: {}"))
	require.Equal(t, 2, status)
	require.Contains(t, errs, "did you mean agent?")

	// The limits of a service's file hold.
	limits := g.file("limits.yml", "etcd: {endpoints: ["+g.endpoint+"]}\nagent: {allowed_topics: ['x_*']}")
	_, errs, status = run(t, g.dir, "config", "put", "agent", "good.yml", "--config", limits)
	require.Equal(t, 2, status)
	require.Contains(t, errs, "allowed_topics")

	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"put"}, "write it as: "},
		{[]string{"put", "agents", "good.yml"}, "is not a document"},
		{[]string{"put", "agent/labels/x", "good.yml"}, "agent/labels/KEY=VALUE"},
		{[]string{"put", "agent", "absent.yml"}, "read absent.yml: no such file"},
		{[]string{"rollback", "agent", "x"}, "is not a revision"},
		{[]string{"get", "--output", "xml"}, "--output is text or json"},
	} {
		_, errs, status := g.config(c.args...)
		require.Equal(t, 2, status, "%v: %s", c.args, errs)
		require.Contains(t, errs, c.says)
	}
	_, errs, status = run(t, g.dir, "config", "hystory")
	require.Equal(t, 2, status)
	require.Contains(t, errs, "did you mean history?")
	_, errs, status = g.config("rollback", "agent", "77")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "no revision 77")
	_, errs, status = run(t, g.dir, "config", "get", "--etcd-endpoints", "127.0.0.1:1")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "connection refused")
}

// A change that was made from another form than there is now is not written.
func TestConfigComparesTheRevision(t *testing.T) {
	g := newGround(t)
	g.file("one.yml", input("web", "one"))
	g.file("two.yml", input("web", "two"))
	g.ok("put", "agent", "one.yml", "--expect", "0")
	_, errs, status := g.config("put", "agent", "two.yml", "--expect", "0")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "agent was changed by somebody else")

	// Somebody puts while another has the editor open.
	editor := g.file("editor.sh", "#!/bin/sh\nsed -i s/one/edited/ \"$1\"\n"+command(t, g.dir).Path+
		" config put agent two.yml --etcd-endpoints "+g.endpoint+" >/dev/null\n")
	require.NoError(t, os.Chmod(filepath.Join(g.dir, editor), 0o700))
	t.Setenv("VISUAL", "./"+editor)
	_, errs, status = g.config("edit", "agent")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "agent was changed by somebody else")
	kept := keptFile(errs)
	text, err := os.ReadFile(kept)
	require.NoError(t, err)
	require.Contains(t, string(text), "edited", "the person's work is kept")
	require.NoError(t, os.RemoveAll(filepath.Dir(kept)))
	require.Equal(t, input("web", "two"), g.ok("get", "agent"))
}

// keptFile is where an edited text is kept.
func keptFile(stderr string) string {
	_, rest, _ := strings.Cut(stderr, "the edited text is in ")
	path, _, _ := strings.Cut(rest, "\n")
	return path
}

func TestConfigEdit(t *testing.T) {
	g := newGround(t)
	g.ok("put", "transfer", g.file("t.yml", "routes: [{name: a, topics: [a], index: a}]\n"))
	edit := func(script string) (string, string, int) {
		path := filepath.Join(g.dir, "editor.sh")
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700))
		t.Setenv("VISUAL", "")
		t.Setenv("EDITOR", "sh "+path)
		return g.config("edit", "transfer", "-m", "by hand")
	}
	out, _, status := edit(`sed -i 's/index: a/index: b/' "$1"`)
	require.Equal(t, 0, status)
	require.Contains(t, out, "+routes: [{name: a, topics: [a], index: b}]")
	require.Contains(t, g.ok("history", "transfer"), "by hand")
	out, _, status = edit("true")
	require.Equal(t, 0, status)
	require.Contains(t, out, "nothing to do")
	_, errs, status := edit(`echo 'rotues: []' > "$1"`)
	require.Equal(t, 2, status)
	require.Contains(t, errs, "transfer.yaml:1: rotues: unknown key; did you mean routes?")
	require.Contains(t, errs, "the edited text is in ")
	require.NoError(t, os.RemoveAll(filepath.Dir(keptFile(errs))))
	_, errs, status = edit("exit 3")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "exit status 3")
	require.NoError(t, os.RemoveAll(filepath.Dir(keptFile(errs))))
	require.Contains(t, g.ok("get", "transfer"), "index: b")
}

func TestConfigWaitsForEveryAnswer(t *testing.T) {
	g := newGround(t)
	open := "agent: {allowed_paths: [/]}\n"
	g.service("agent", "web-1", "labels: {tier: web}\n"+open)
	g.service("agent", "web-2", "labels: {tier: web}\n"+open)
	g.service("agent", "db-1", "labels: {tier: db}\nagent: {allowed_topics: ['db_*']}\n")
	g.service("transfer", "t", "")
	g.lives("agent web-1", "agent web-2", "agent db-1", "transfer t")

	wait := func(document, text string) (waited, int) {
		t.Helper()
		out, errs, status := g.config("put", document, g.file("doc.yml", text), "--wait", "--output", "json")
		var result changed
		require.NoError(t, json.Unmarshal([]byte(out), &result), errs)
		require.NotNil(t, result.Wait)
		require.Empty(t, result.Wait.Unanswered)
		return *result.Wait, status
	}
	w, status := wait("agent", input("all", "db_all"))
	require.Equal(t, 0, status)
	require.Len(t, w.Applied, 3)
	w, status = wait("agent/labels/tier=web", input("web", "web"))
	require.Equal(t, 0, status)
	require.Equal(t, []answerer{{"agent", "web-1"}, {"agent", "web-2"}}, w.Applied)
	w, status = wait("agent/nodes/web-2", input("extra", "extra"))
	require.Equal(t, 0, status)
	require.Len(t, w.Applied, 1)
	w, status = wait("transfer", "routes: [{name: a, topics: [a], index: a}]")
	require.Equal(t, 0, status)
	require.Equal(t, []answerer{{"transfer", "t"}}, w.Applied)

	names := func(node string) (inputs []string) {
		eventually(t, "a report of "+node, func() bool {
			m := g.status()["agent "+node]
			inputs = nil
			for _, p := range m.Parts {
				inputs = append(inputs, p.Name)
			}
			return m.Report.Config.Error == "" && len(inputs) > 0
		})
		return inputs
	}
	require.Equal(t, []string{"all", "web"}, names("web-1"))
	require.Equal(t, []string{"all", "extra", "web"}, names("web-2"))
	require.Equal(t, []string{"all"}, names("db-1"))

	// One of three rejects: exit 1, and why.
	w, status = wait("agent", input("all", "web_all"))
	require.Equal(t, 1, status)
	require.Len(t, w.Applied, 2)
	require.Equal(t, "db-1", w.Rejected[0].Node)
	require.Contains(t, w.Rejected[0].Error, "allowed_topics")
	m := g.status()["agent db-1"]
	require.Contains(t, m.Report.Config.Error, "/logferry/v1/agent:3: inputs[0].topic: ")
	require.Less(t, m.Report.Config.Revision, m.Report.Config.Wanted)
	out, _, _ := run(t, g.dir, "status", "--etcd-endpoints", g.endpoint)
	require.Contains(t, out, "rejected")

	out, errs, status := g.config("put", "agent", g.file("doc.yml", input("all", "other")), "--wait")
	require.Equal(t, 1, status)
	require.Contains(t, out, "applied by 2 of 3, rejected by 1")
	require.Contains(t, out, "db-1")
	require.Contains(t, errs, "not every process has applied the change")
	require.NotContains(t, errs, "\x1b", "no progress in a pipe")

	w, status = wait("agent", input("all", "db_all"))
	require.Equal(t, 0, status)
	require.Len(t, w.Applied, 3)
}

func TestStatusShowsTheLivingAndTheDead(t *testing.T) {
	g := newGround(t)
	agent := g.service("agent", "a", "agent: {allowed_paths: [/], inputs: [{name: x, paths: ['"+g.dir+"/*.log'], topic: x}]}\n")
	stopped := g.service("transfer", "t", "")
	write(t, filepath.Join(g.dir, "x.log"), "a line\n")
	g.lives("agent a", "transfer t")
	eventually(t, "the file", func() bool { return g.status()["agent a"].Files == 1 })
	m := g.status()["agent a"]
	require.Equal(t, agent.cmd.Process.Pid, m.PID)
	require.Contains(t, m.Report.Waiting, "kafka 127.0.0.1:1")

	require.Equal(t, 0, stopped.stop())
	require.Equal(t, "stopped", g.status()["transfer t"].State)
	agent.kill()
	eventually(t, "the end of its lease", func() bool { return g.status()["agent a"].State == "gone" })
	m = g.status()["agent a"]
	require.Equal(t, agent.cmd.Process.Pid, m.PID, "its last words")
	require.False(t, m.Said.IsZero())
	out, _, _ := run(t, g.dir, "status", "--etcd-endpoints", g.endpoint)
	require.Contains(t, out, "gone, last words ")
	require.Contains(t, out, "stopped ")

	watching, read := startProcess(t, g.dir, "status", "--watch", "--output", "json", "--etcd-endpoints", g.endpoint)
	lines := json.NewDecoder(read)
	state := func() string {
		var list []member
		require.NoError(t, lines.Decode(&list))
		return list[0].State
	}
	require.Equal(t, "gone", state())
	g.service("agent", "a", "agent: {allowed_paths: [/]}\n")
	for state() == "gone" {
	}
	require.Equal(t, 0, watching.stop())
}
