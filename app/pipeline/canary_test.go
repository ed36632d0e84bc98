package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/app/embedded"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// refuse makes Elasticsearch refuse some of the documents that go to an index:
// few enough that the transfer goes on.
func (e *elastic) refuse(index string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.item = func(to string, doc map[string]any) (int, string, string) {
		if message := fmt.Sprint(doc["message"]); to == index && message[len(message)-1]%4 == 0 {
			return 400, "mapper_parsing_exception", "not here"
		}
		return 0, "", ""
	}
}

// fleet is a world with an etcd and two transfers, t-1 and t-2.
type fleet struct {
	*world
	endpoint  string
	store     *etcd.Store
	transfers map[string]*app.Transfer
}

const routes = "routes: [{name: all, topics: ['/_log$/'], index: '%s'}]\n"

func newFleet(t *testing.T) *fleet {
	w := newWorld(t)
	server, err := embedded.StartEtcd(embedded.EtcdOptions{Dir: filepath.Join(w.dir, "etcd"), Addr: "127.0.0.1:0", Logger: w.log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	cfg := config.Default[config.Etcd]()
	cfg.Endpoints = []string{server.Endpoint()}
	store, err := etcd.Open(context.WithoutCancel(t.Context()), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := &fleet{w, server.Endpoint(), store, map[string]*app.Transfer{}}
	f.put("agent", fmt.Sprintf("inputs: [{name: flow, paths: ['%s/flow*.log'], topic: flow_log}]", w.dir), 0)
	f.put("transfer", fmt.Sprintf(routes, "good"), 0)
	connect := fmt.Sprintf("\netcd: {endpoints: [%s]}\n", server.Endpoint())
	w.agent(w.file("agent.yml", connect+"agent: {allowed_paths: ['"+w.dir+"']}\n"))
	for _, node := range []string{"t-1", "t-2"} {
		c, err := config.Load(w.file(node+".yml", connect))
		require.NoError(t, err)
		c.Node, c.DataDir = node, filepath.Join(w.dir, node)
		transfer, err := app.NewTransfer(c, "", w.log)
		w.start(transfer, err)
		f.transfers[node] = transfer
	}
	return f
}

func (f *fleet) put(document, data string, expect int64) int64 {
	f.t.Helper()
	revision, err := f.store.Put(f.t.Context(), etcd.Change{Document: document, Data: []byte(data), Expect: expect})
	require.NoError(f.t, err)
	return revision
}

// reports returns what the transfers report, by node.
func (f *fleet) reports() map[string]app.Report {
	members, err := f.store.Fleet(f.t.Context())
	require.NoError(f.t, err)
	all := map[string]app.Report{}
	for _, m := range members {
		var r app.Report
		require.NoError(f.t, json.Unmarshal(m.Data, &r))
		if m.Role == "transfer" && m.Alive {
			all[r.Node] = r
		}
	}
	return all
}

func (f *fleet) inForce(node string) app.LiveStatus {
	return f.transfers[node].Status().(map[string]any)["config"].(app.LiveStatus)
}

// canary gives routes to t-1, and nobody looks after it.
func (f *fleet) canary(index string, base int64) (begun time.Time) {
	f.t.Helper()
	report := f.reports()["t-1"]
	now := time.Now()
	c, err := config.NewCanary(config.Canary{
		Document: "transfer", Base: base, Select: config.Selector{Nodes: []string{"t-1"}}, Rule: config.DefaultRule(),
		Author: "ann", Begun: now, Until: now.Add(time.Hour),
	}, fmt.Appendf(nil, routes, index))
	require.NoError(f.t, err)
	_, err = f.store.BeginCanary(f.t.Context(), c, []etcd.Subject{app.NewSubject("t-1", &report)})
	require.NoError(f.t, err)
	return now
}

// A canary whose route leads where documents are refused is taken back by
// itself: the transfer itself, or the other one, sees to it. The other one's
// routes are not touched, and each line is in an index or in the poison topic.
func TestACanaryThatPoisonsIsTakenBack(t *testing.T) {
	f := newFleet(t)
	f.elastic.refuse("bad")
	eventually(t, "two transfers at work", func() bool {
		r := f.reports()
		return len(r) == 2 && r["t-1"].Waiting == "" && r["t-2"].Waiting == "" && f.inForce("t-2").Revision > 0
	})
	var lines []string
	flow := func() {
		for i := range 12 { // files, since each goes to one partition
			more := numbered(fmt.Sprint("flow ", i), len(lines), 10)
			lines = append(lines, more...)
			f.append(fmt.Sprintf("flow-%d.log", i), more...)
		}
	}
	flow()
	eventually(t, "the first lines", func() bool { return f.elastic.len("good") == len(lines) })
	// How slow this machine is now.
	put := time.Now()
	revision := f.put("transfer", "# again\n"+fmt.Sprintf(routes, "good"), f.inForce("t-1").Revision)
	for node := range f.transfers {
		eventually(t, "the put", func() bool { return f.inForce(node).Revision == revision })
	}
	slow := time.Since(put)
	doc, err := f.store.Get(t.Context(), "transfer")
	require.NoError(t, err)
	before := f.inForce("t-2")

	begun := f.canary("bad", doc.Revision)
	eventually(t, "its end", func() bool {
		flow()
		time.Sleep(50 * time.Millisecond)
		list, err := f.store.Canaries(t.Context())
		return err == nil && len(list) == 0
	})
	took := time.Since(begun)
	t.Logf("taken back after %s, where a put takes %s", took, slow)
	require.Less(t, took, 10*time.Second+50*slow)
	outcomes, err := f.store.Outcomes(t.Context())
	require.NoError(t, err)
	require.Equal(t, etcd.TakenBack, outcomes[0].How)
	require.Equal(t, "t-1", outcomes[0].Node)
	require.Regexp(t, `^[\d.]+% of its lines were refused, .* before; the rule allows 1% more than twice that`, outcomes[0].Reason)
	eventually(t, "the routes of before", func() bool { return !f.inForce("t-1").RunsCanary() })
	flow()

	require.Equal(t, before, f.inForce("t-2"), "it never saw a canary")
	poisoned := map[string]bool{}
	eventually(t, "every line", func() bool {
		good, bad := f.elastic.counts("good", "message"), f.elastic.counts("bad", "message")
		for _, r := range f.records("logferry.poison", 1) {
			poisoned[string(r.Value)] = true
		}
		for _, l := range lines {
			if good[l]+bad[l] == 0 && !poisoned[l] {
				return false
			}
		}
		return true
	})
	require.NotEmpty(t, poisoned)
	require.Less(t, len(poisoned), len(lines))
	after, err := f.store.Get(t.Context(), "transfer")
	require.NoError(t, err)
	require.Equal(t, doc, after)
}

// What cannot be read changes nothing. A promoted canary is in force
// everywhere; a rollback brings back the bytes of before.
func TestACanaryIsPromotedAndRolledBack(t *testing.T) {
	f := newFleet(t)
	eventually(t, "two transfers at work", func() bool {
		r := f.reports()
		return len(r) == 2 && r["t-1"].Waiting == "" && f.inForce("t-2").Revision > 0
	})
	f.faultyCanaries()
	doc, err := f.store.Get(t.Context(), "transfer")
	require.NoError(t, err)
	f.canary("better", doc.Revision)
	eventually(t, "the canary in force", func() bool { return f.inForce("t-1").RunsCanary() })
	list, err := f.store.Canaries(t.Context())
	require.NoError(t, err)
	revision, err := f.store.Promote(t.Context(), list[0], "m", etcd.Outcome{Document: "transfer", Revision: list[0].Revision, How: etcd.Promoted})
	require.NoError(t, err)
	everywhere := func(revision int64, index string, more ...string) {
		eventually(t, "the revision in force", func() bool {
			return f.inForce("t-1").Revision == revision && f.inForce("t-2").Revision == revision
		})
		require.False(t, f.inForce("t-1").RunsCanary())
		for i, line := range more {
			f.append(fmt.Sprintf("flow-%d.log", i), line)
		}
		eventually(t, "the lines", func() bool {
			got := f.elastic.counts(index, "message")
			for _, line := range more {
				if got[line] != 1 {
					return false
				}
			}
			return true
		})
	}
	everywhere(revision, "better", "1", "2", "3", "4")
	history, err := f.store.History(t.Context(), "transfer")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf(routes, "good"), string(history[1].Data))
	everywhere(f.put("transfer", string(history[1].Data), revision), "good", "5", "6", "7", "8")
	require.Equal(t, 4, f.elastic.len("better"))
	require.Zero(t, f.elastic.repeats())
}

// faultyCanaries writes what is no canary where one would be.
func (f *fleet) faultyCanaries() {
	f.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{f.endpoint}, DialTimeout: 5 * time.Second})
	require.NoError(f.t, err)
	defer client.Close()
	revision := f.inForce("t-1").Revision
	var lines []string
	for i, garbage := range []string{"\x00\xff\x80", `{"version":1,"message":"` + strings.Repeat("x", 1300<<10), `{"version":99}`, "[]", ""} {
		_, err := client.Put(f.t.Context(), "/logferry/v1/canary/transfer", garbage)
		require.NoError(f.t, err)
		eventually(f.t, "the answer", func() bool {
			for node := range f.transfers {
				if s := f.inForce(node); !strings.Contains(s.Error, "canary/transfer: is not a canary") || s.Revision != revision {
					return false
				}
			}
			return true
		})
		lines = append(lines, fmt.Sprint("while ", i))
		f.append("flow.log", lines[i])
	}
	list, err := f.store.Canaries(f.t.Context())
	require.NoError(f.t, err)
	require.NoError(f.t, f.store.EndCanary(f.t.Context(), etcd.Outcome{Document: "transfer", Revision: list[0].Revision, How: etcd.Cancelled}))
	eventually(f.t, "no more errors", func() bool { return f.inForce("t-1").Error == "" && f.inForce("t-2").Error == "" })
	f.exactly("good", lines)
}
