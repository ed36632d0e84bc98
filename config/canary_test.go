package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	agentKey  = "/logferry/v1/agent"
	canaryKey = "/logferry/v1/canary/agent"
)

// noon is when the canaries of these tests begin; they last ten minutes.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func canary(t *testing.T, key, document, data string, s Selector) *Document {
	t.Helper()
	c, err := NewCanary(Canary{Document: document, Select: s, Rule: DefaultRule(), Begun: noon, Until: noon.Add(10 * time.Minute)}, []byte(data))
	require.NoError(t, err)
	value, err := json.Marshal(c)
	require.NoError(t, err)
	return &Document{key, value, 9}
}

func one(name string) string {
	return fmt.Sprintf("inputs: [{name: %s, paths: [%[1]s], topic: %[1]s_log}]", name)
}

func TestACanaryStandsInForItsDocument(t *testing.T) {
	b := base(t, "node: n\nlabels: {zone: z, zone-b: z}\netcd: {}\nagent: {allowed_topics: ['*_log']}")
	docs := Docs{
		Agent: doc(agentKey, one("old")),
		Node:  doc(agentKey+"/nodes/n", one("node")),
	}
	mine := Selector{Nodes: []string{"m", "n"}}
	decide := func(c *Document, good Docs, after time.Duration) (Decision, error) {
		with := docs
		with.Canaries = []*Document{c}
		return Decide(b, with, good, noon.Add(after))
	}

	d, err := decide(canary(t, canaryKey, "agent", one("new"), mine), Docs{}, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"new", "node"}, inputNames(d.Config), "what is for the node alone still is")
	require.Equal(t, []Given{{agentKey, 9, true, noon.Add(10 * time.Minute)}}, d.Canaries)
	require.Equal(t, docs.Agent, d.Good.Agent, "the document is kept for later")
	require.Len(t, d.Good.Canaries, 1)
	good := d.Good

	// Its time ends, whoever is there to see it.
	d, err = decide(canary(t, canaryKey, "agent", one("new"), mine), good, 10*time.Minute)
	require.NoError(t, err)
	require.Equal(t, []string{"old", "node"}, inputNames(d.Config))
	require.Empty(t, d.Canaries)
	require.Empty(t, d.Good.Canaries)

	// It is for others.
	d, err = decide(canary(t, canaryKey, "agent", "nonsense", Selector{Nodes: []string{"m"}}), good, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"old", "node"}, inputNames(d.Config))
	require.Empty(t, d.Canaries)

	// It is not valid here.
	for text, says := range map[string]string{
		"inputs: [{name: a, paths: [a], topic: a}]": canaryKey + `:1: inputs[0].topic: topic "a" is not allowed here`,
		"kafka: {brokers: ['evil:9092']}":           canaryKey + ":1: kafka: can only be set in the local file",
		"allowed_paths: [/]":                        canaryKey + ":1: allowed_paths: can only be set in the local file",
		"\x00":                                      canaryKey + ":1: is not text in UTF-8",
	} {
		d, err = decide(canary(t, canaryKey, "agent", text, mine), good, 0)
		require.ErrorContains(t, err, says)
		require.Equal(t, []string{"old", "node"}, inputNames(d.Config))
		require.Equal(t, []Given{{agentKey, 9, false, noon.Add(10 * time.Minute)}}, d.Canaries)
		require.Empty(t, d.Good.Canaries)
	}

	// A document that is not valid is no reason to leave a canary that is.
	docs.Agent = doc(agentKey, "inputs: 7")
	d, err = decide(canary(t, canaryKey, "agent", one("new"), mine), good, 0)
	require.ErrorContains(t, err, agentKey+":1: inputs: ")
	require.Equal(t, []string{"new", "node"}, inputNames(d.Config))
	require.Equal(t, one("old"), string(d.Good.Agent.Data))

	// There was no document.
	docs = Docs{}
	d, err = decide(canary(t, canaryKey, "agent", one("new"), mine), Docs{}, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, inputNames(d.Config))
	require.Nil(t, d.Good.Agent)
}

func TestCanariesOfLabelsAndRoutes(t *testing.T) {
	b := base(t, "node: n\nlabels: {zone: z, zone-b: z}\netcd: {}")
	zone, other := agentKey+"/labels/zone=z", agentKey+"/labels/zone-b=z"
	all := Selector{Labels: map[string]string{"zone": "z"}}
	docs := Docs{
		Labels:   []*Document{doc(other, one("b"))},
		Transfer: doc("/logferry/v1/transfer", "routes: [{name: r, topics: [t], index: old}]"),
		Seed:     doc("/collect_log_conf", `[{"path": "s", "topic": "s"}]`),
		Canaries: []*Document{
			canary(t, "/logferry/v1/canary/agent/labels/zone=z", "agent/labels/zone=z", one("a"), all),
			canary(t, "/logferry/v1/canary/transfer", "transfer", "routes: [{name: r, topics: [t], index: new}]", all),
		},
	}
	d, err := Decide(b, docs, Docs{}, noon)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "seed/s/./s"}, inputNames(d.Config), "in the order of the labels")
	require.Equal(t, "new", d.Config.Transfer.Routes[0].Index)
	require.Len(t, d.Canaries, 2)
	require.Equal(t, zone, d.Canaries[0].Document)
	require.Len(t, d.Good.Labels, 1)

	b = base(t, "node: n\nlabels: {zone: y}\netcd: {}")
	d, err = Decide(b, docs, Docs{}, noon)
	require.NoError(t, err)
	require.Equal(t, "old", d.Config.Transfer.Routes[0].Index)
	require.Empty(t, d.Canaries)
}

func TestAFaultyCanaryChangesNothing(t *testing.T) {
	b := base(t, "node: n\netcd: {}")
	mine := Selector{Nodes: []string{"n"}}
	fine := canary(t, canaryKey, "agent", one("new"), mine)
	docs := Docs{Agent: doc(agentKey, one("old"))}
	docs.Canaries = []*Document{fine}
	d, err := Decide(b, docs, Docs{}, noon)
	require.NoError(t, err)
	good := d.Good

	replace := func(old, with string) string {
		require.Contains(t, string(fine.Data), old)
		return strings.Replace(string(fine.Data), old, with, 1)
	}
	for name, c := range map[string]struct{ value, says string }{
		"empty":     {"", "EOF"},
		"binary":    {"\x00\xff\x80", "invalid character"},
		"huge":      {`{"version":1,"message":"` + strings.Repeat("x", 1400<<10), "unexpected EOF"},
		"a list":    {"[]", "cannot unmarshal array"},
		"deep":      {strings.Repeat("[", 100_000), "exceeded max depth"},
		"version":   {replace(`"version":1`, `"version":2,"more":3`), "version 2 of the format is not known here"},
		"key":       {replace(`"base":0`, `"base":0,"bse":0`), `unknown field "bse"`},
		"document":  {replace(`"document":"agent"`, `"document":"transfer"`), `it is of the document "transfer"`},
		"nobody":    {replace(`"nodes":["n"]`, `"nodes":[]`), "it selects nobody"},
		"node":      {replace(`"nodes":["n"]`, `"nodes":["../n"]`), "is not a node name"},
		"percent":   {replace(`"nodes":["n"]`, `"percent":101`), "is not a percentage"},
		"label":     {replace(`"nodes":["n"]`, `"labels":{"a":"b/c"}`), "is not a label"},
		"base":      {replace(`"base":0`, `"base":-1`), "base is -1"},
		"time":      {replace(`"until":"2026-03-01T12:10`, `"until":"2026-03-09T12:10`), "write a time of at most 168h"},
		"share":     {replace(`"refused_share":0.01`, `"refused_share":2`), "a share between 0 and 1"},
		"negative":  {replace(`"gone":"30s"`, `"gone":"-30s"`), "no negative times"},
		"duration":  {replace(`"gone":"30s"`, `"gone":"x"`), "is not a duration"},
		"two":       {string(fine.Data) + "{}", "more follows it"},
		"not gzip":  {replace(`"gzip":"`, `"gzip":"AAAA`), "gzip: invalid header"},
		"truncated": {string(fine.Data[:len(fine.Data)-10]), "unexpected EOF"},
	} {
		docs.Canaries = []*Document{{canaryKey, []byte(c.value), 11}}
		d, err := Decide(b, docs, Docs{}, noon)
		require.ErrorContains(t, err, canaryKey+": is not a canary: ", name)
		require.ErrorContains(t, err, c.says, name)
		require.Equal(t, []string{"old"}, inputNames(d.Config), name)
		require.Empty(t, d.Good.Canaries, name)
		if name == "not gzip" {
			continue // it is read, and selects this node: it is rejected
		}
		require.Empty(t, d.Canaries, name)

		// The one from before stays, to its end.
		d, err = Decide(b, docs, good, noon)
		require.Error(t, err)
		require.Equal(t, []string{"new"}, inputNames(d.Config), name)
		d, err = Decide(b, docs, good, noon.Add(time.Hour))
		require.Error(t, err)
		require.Equal(t, []string{"old"}, inputNames(d.Config), name)
	}
}

func TestDocumentsWithoutCanary(t *testing.T) {
	for _, document := range []string{"seed", "agent/nodes/n", "agents", "agent/labels/x", ""} {
		require.Error(t, CheckCanaried(document), document)
	}
	for _, document := range []string{"agent", "transfer", "agent/labels/a=b"} {
		require.NoError(t, CheckCanaried(document))
		require.Equal(t, "/p/canary/x/"+document, CanariedKey((&Etcd{Prefix: "/p/canary/x/canary"}).Key(document)))
	}
	require.Equal(t, "transfer", RoleOf("transfer"))
	require.Equal(t, "agent", RoleOf("agent/labels/a=b"))
}

func TestPercentIsEvenAndNeverNobody(t *testing.T) {
	var nodes []string
	for i := range 2000 {
		nodes = append(nodes, fmt.Sprintf("web-%04d", i))
	}
	selected := func(s Selector, nodes []string) (n int) {
		for _, node := range nodes {
			if s.Selects(node, nil) {
				n++
			}
		}
		return n
	}
	for _, percent := range []float64{0.1, 1, 10, 50, 99} {
		for _, n := range []int{1, 2, 3, 10, 100, 2000} {
			s := Selector{Percent: percent}
			s.Spread(nodes[:n])
			got, want := selected(s, nodes[:n]), float64(n)*percent/100
			require.GreaterOrEqual(t, got, 1)
			require.InDelta(t, max(want, 1), got, max(1, want/20), "%g %% of %d", percent, n)
		}
	}
	s := Selector{Percent: 100}
	s.Spread(nodes)
	require.Equal(t, 2000, selected(s, nodes))
	// Who comes later is selected in the same share, without anybody's doing.
	s = Selector{Percent: 10}
	s.Spread(nodes[:100])
	require.InDelta(t, 190, selected(s, nodes[100:]), 60)
	require.Equal(t, `--nodes a,b --percent 2.5 --label k=v`, Selector{Nodes: []string{"a", "b"}, Percent: 2.5, Labels: map[string]string{"k": "v"}}.String())
}

// Whatever lies where a canary would be, what is in force is the document or a
// canary that is valid, and no more than that.
func FuzzDecide(f *testing.F) {
	b, err := Parse("file", []byte("node: n\netcd: {}\nagent: {allowed_topics: ['*_log']}"))
	require.NoError(f, err)
	for _, text := range []string{one("new"), "inputs: 7", ""} {
		c, err := NewCanary(Canary{Document: "agent", Select: Selector{Nodes: []string{"n"}}, Begun: noon, Until: noon.Add(time.Hour)}, []byte(text))
		require.NoError(f, err)
		value, err := json.Marshal(c)
		require.NoError(f, err)
		f.Add(value)
	}
	f.Add([]byte("\x00\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs := Docs{Agent: doc(agentKey, one("old")), Canaries: []*Document{{canaryKey, data, 9}}}
		d, err := Decide(b, docs, Docs{}, noon)
		require.Equal(t, docs.Agent, d.Good.Agent)
		if len(d.Good.Canaries) == 0 {
			require.Equal(t, []string{"old"}, inputNames(d.Config))
			return
		}
		require.NoError(t, err)
		require.True(t, d.Canaries[0].InForce)
		for _, in := range d.Config.Agent.Inputs {
			require.Regexp(t, "_log$", in.Topic)
		}
	})
}
