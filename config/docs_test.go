package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func doc(key, data string) *Document { return &Document{key, []byte(data), 1} }

func base(t *testing.T, data string) *Config {
	c, err := Parse("file", []byte(data))
	require.NoError(t, err)
	return c
}

func inputNames(c *Config) (names []string) {
	for _, in := range c.Agent.Inputs {
		names = append(names, in.Name)
	}
	return names
}

const file = `
etcd: {}
agent:
  allowed_topics: ['*_log']
  inputs: [{name: file, paths: [f], topic: f_log}]
transfer:
  routes: [{name: file, topics: [f_log], index: f}]
`

func TestEffectiveMerges(t *testing.T) {
	b := base(t, file)
	c, err := Effective(b, Docs{})
	require.NoError(t, err)
	require.Equal(t, b, c)

	agent := doc("agent", `inputs: [{name: a, paths: [a], topic: a_log}, {name: b, paths: [b], topic: b_log}]`)
	node := doc("node", `{"inputs": [{"name": "a", "paths": ["other"], "topic": "a_log"}, {"name": "c", "paths": ["c"], "topic": "c_log"}]}`)
	c, err = Effective(b, Docs{Agent: agent, Node: node})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, inputNames(c))
	require.Equal(t, []string{"other"}, c.Agent.Inputs[0].Paths)
	require.Equal(t, []string{"/var/log"}, c.Agent.AllowedPaths)
	require.Equal(t, b.Transfer, c.Transfer)

	c, err = Effective(b, Docs{Node: node})
	require.NoError(t, err)
	require.Equal(t, []string{"file", "a", "c"}, inputNames(c))
	require.Equal(t, []string{"file"}, inputNames(b), "the base is left alone")

	c, err = Effective(b, Docs{Agent: doc("agent", ""), Transfer: doc("transfer", "routes: [{name: t, topics: [t_log], index: t}]")})
	require.NoError(t, err)
	require.Empty(t, c.Agent.Inputs)
	require.Equal(t, "t", c.Transfer.Routes[0].Name)
}

func TestSeedBecomesInputsAndRoutes(t *testing.T) {
	c, err := Effective(base(t, "etcd: {}"), Docs{Seed: doc("/collect_log_conf",
		`[{"path":"./xx.log","topic":"web_log"},{"path":"./xy.log","topic":"shop_log"}]`)})
	require.NoError(t, err)
	require.Equal(t, []string{"seed/web_log/./xx.log", "seed/shop_log/./xy.log"}, inputNames(c))
	require.Equal(t, []string{"./xx.log"}, c.Agent.Inputs[0].Paths)
	require.Equal(t, "web_log", c.Agent.Inputs[0].Topic)
	want := Default[Route]()
	want.Name, want.Topics, want.Index = "web_log", []string{"web_log"}, "web_log"
	require.Equal(t, want, c.Transfer.Routes[0])
	require.Len(t, c.Transfer.Routes, 2)

	routes := `
transfer:
  routes:
    - {name: Shop, topics: [other], index: other}
    - {name: re, topics: [/^re-/], index: re}
    - {name: named, topics: [named], index: named}`
	c, err = Effective(base(t, routes), Docs{Seed: doc("seed",
		`[{"path":"a","topic":"named"},{"path":"/b","topic":"re-1"},{"path":"/b/../b","topic":"re-1"},{"path":"c","topic":"Shop"},{"path":"d","topic":"_-Up"}]`)})
	require.NoError(t, err)
	require.Equal(t, []string{"seed/named/./a", "seed/re-1/b", "seed/Shop/./c", "seed/_-Up/./d"}, inputNames(c))
	require.Len(t, c.Transfer.Routes, 5)
	require.Equal(t, "seed/Shop", c.Transfer.Routes[3].Name)
	require.Equal(t, "shop", c.Transfer.Routes[3].Index)
	require.Equal(t, "_-Up", c.Transfer.Routes[4].Name)
	require.Equal(t, "up", c.Transfer.Routes[4].Index)
}

func TestInputNamesOfTheSeed(t *testing.T) {
	star, under := inputName(Seed{"/a/*.log", "t"}), inputName(Seed{"/a/_.log", "t"})
	require.NotEqual(t, star, under)
	require.Equal(t, "seed/t/a/_.log", under)
	require.Regexp(t, `^seed/t/a/_\.log-[0-9a-f]{16}$`, star)
	require.NotEqual(t, inputName(Seed{"a", "t"}), inputName(Seed{"/a", "t"}))
	long := make([]byte, 300)
	for i := range long {
		long[i] = 'x'
	}
	require.True(t, entryName.MatchString(inputName(Seed{string(long), "t"})))
}

func TestDocumentsAreRefused(t *testing.T) {
	b := base(t, file)
	for data, want := range map[string]string{
		"allowed_paths: [/]":                        "agent:1: allowed_paths: can only be set in the local file",
		"\nmax_in_flight_bytes: 1GiB":               "agent:2: max_in_flight_bytes: can only be set in the local file",
		"kafka: {brokers: ['evil:9092']}":           "agent:1: kafka: can only be set in the local file",
		"agent: {inputs: []}":                       "agent:1: agent: write the content of this section at the top of the document",
		"inputs: [{name: '${PATH}'}]":               "agent:1: inputs[0].name: the environment (${...}) can only be used in the local file",
		"input: []":                                 "agent:1: input: unknown key; did you mean inputs?",
		"inputs: [{name: a, paths: [a], topic: a}]": `agent:1: inputs[0].topic: topic "a" is not allowed here; agent.allowed_topics is *_log`,
		"\x00": "agent:1: is not text in UTF-8",
	} {
		_, err := Effective(b, Docs{Agent: doc("agent", data)})
		require.Error(t, err, data)
		require.Equal(t, want, err.(*Errors).All[0].Error())
		_, err = ParseAgent("agent", []byte(data), b)
		require.Error(t, err)
	}
	_, err := ParseTransfer("transfer", []byte("routes: [{name: a, topics: [a], index: a, batch: {max_dcs: 1}}]"), b)
	require.EqualError(t, err, "transfer:1: routes[0].batch.max_dcs: unknown key; did you mean max_docs?")
}

func TestParseSeed(t *testing.T) {
	for _, data := range []string{"", " \n", "[]"} {
		seed, err := ParseSeed("seed", []byte(data))
		require.NoError(t, err)
		require.Empty(t, seed)
	}
	for data, want := range map[string]string{
		`{"path": "a", "topic": "b"}`:                 `seed:1: is not a JSON list: [{"path": "/var/log/x.log", "topic": "x"}]`,
		"- path: a":                                   `seed:1: is not a JSON list: [{"path": "/var/log/x.log", "topic": "x"}]`,
		"[{\"path\": \"a\",\n\"topic\": \"b\"},]":     "seed:2: is not JSON: invalid character ']' looking for beginning of value",
		"[\n{\"path\": \"a\", \"tpoic\": \"b\"}]":     "seed:2: [0].topic: is required\nseed:2: [0].tpoic: unknown key; did you mean topic?",
		"[{\"path\": \"a\", \"topic\": \"b\"},\n1]":   "seed:2: [1]: is a single value; write keys with values: {key: value}",
		"[{\"path\": \"[\",\n\"topic\": \"a b\"}]":    "seed:1: [0].path: is not a glob: a [ or { is not closed, or a \\ ends it\nseed:2: [0].topic: \"a b\" is not a topic name; use at most 249 letters, digits, '.', '_' and '-'",
		`[{"path": "a", "topic": "b", "topic": "c"}]`: "seed:1: [0].topic: is given twice",
		`[{"path": "", "topic": "b"}]`:                "seed:1: [0].path: is required",
	} {
		_, err := ParseSeed("seed", []byte(data))
		require.EqualError(t, err, want)
	}
	_, err := Effective(base(t, file), Docs{Seed: doc("seed", `[{"path": "a", "topic": "b"}]`)})
	require.EqualError(t, err, `seed:1: [0].topic: topic "b" is not allowed here; agent.allowed_topics is *_log`)
	_, err = Effective(base(t, "elasticsearch: {allowed_indices: ['x*']}"), Docs{Seed: doc("seed", `[{"path": "a", "topic": "b"}]`)})
	require.EqualError(t, err, `seed:1: [0].topic: as an index: index "b" is not allowed here; elasticsearch.allowed_indices is x*`)
	_, err = Effective(base(t, ""), Docs{Seed: doc("seed", `[{"path": "a", "topic": "__"}]`)})
	require.EqualError(t, err, `seed:1: [0].topic: as an index: an index name is empty`)
}

// A document that is not valid changes nothing, and stops no other.
func TestResolve(t *testing.T) {
	b := base(t, file)
	good := Docs{
		Agent:    doc("agent", "inputs: [{name: a, paths: [a], topic: a_log}]"),
		Transfer: doc("transfer", "routes: [{name: t, topics: [t_log], index: t}]"),
	}
	c, used, err := Resolve(b, good, Docs{})
	require.NoError(t, err)
	require.True(t, used.Equal(good))
	require.Equal(t, []string{"a"}, inputNames(c))

	next := Docs{
		Agent:    doc("agent", "nonsense"),
		Node:     doc("node", "nonsense"),
		Transfer: doc("transfer", "routes: [{name: t2, topics: [t_log], index: t}]"),
		Seed:     doc("seed", "[]"),
	}
	c, used, err = Resolve(b, next, good)
	require.ErrorContains(t, err, "agent:1: ")
	require.ErrorContains(t, err, "node:1: ")
	require.Equal(t, []string{"a"}, inputNames(c))
	require.Equal(t, "t2", c.Transfer.Routes[0].Name)
	require.True(t, used.Equal(Docs{Agent: good.Agent, Transfer: next.Transfer, Seed: next.Seed}))

	// The first document ever is bad: what the file says.
	c, used, err = Resolve(b, Docs{Agent: next.Agent}, Docs{})
	require.Error(t, err)
	require.Equal(t, []string{"file"}, inputNames(c))
	require.True(t, used.Empty())

	// The file changed so that what was good is not any more.
	narrow := base(t, "agent: {allowed_topics: [none]}")
	c, used, err = Resolve(narrow, next, good)
	require.Error(t, err)
	require.Equal(t, narrow, c)
	require.True(t, used.Empty())
}

func TestLabelsAreMergedBetweenAllAgentsAndTheNode(t *testing.T) {
	b := base(t, "etcd: {}\nlabels: {b: x, a: y}")
	input := func(name, path string) string {
		return `{"name": "` + name + `", "paths": ["` + path + `"], "topic": "t"}`
	}
	list := func(inputs ...string) string { return `{"inputs": [` + strings.Join(inputs, ", ") + `]}` }
	keys := b.AgentKeys()
	found := map[string]*Document{}
	for key, data := range map[string]string{
		"agent":                 list(input("one", "agent"), input("two", "agent"), input("three", "agent"), input("four", "agent")),
		"agent/labels/a=y":      list(input("two", "a"), input("three", "a"), input("four", "a"), input("five", "a")),
		"agent/labels/b=x":      list(input("three", "b"), input("four", "b")),
		"agent/labels/b=z":      list(input("one", "another label")),
		"agent/nodes/" + b.Node: list(input("four", "node")),
	} {
		found[b.Etcd.Key(key)] = doc(b.Etcd.Key(key), data)
	}
	docs := keys.Docs(found)
	c, err := Effective(b, docs)
	require.NoError(t, err)
	paths := map[string]string{}
	for _, in := range c.Agent.Inputs {
		paths[in.Name] = in.Paths[0]
	}
	require.Equal(t, map[string]string{"one": "agent", "two": "a", "three": "b", "four": "node", "five": "a"}, paths)
	require.Len(t, docs.All(), 4)

	// A label's document that is not valid has its last good form, or none.
	bad := keys.Docs(found)
	bad.Labels = []*Document{doc(docs.Labels[0].Key, "inputs: 7"), doc(docs.Labels[1].Key, "inputs: 8")}
	c, used, err := Resolve(b, bad, Docs{Labels: docs.Labels[1:]})
	require.ErrorContains(t, err, "a=y:1: inputs: ")
	require.ErrorContains(t, err, "b=x:1: inputs: ")
	require.Equal(t, docs.Labels[1:], used.Labels)
	require.Equal(t, []string{"one", "two", "three", "four"}, inputNames(c))
}

func TestValidateChecksADocumentAsItsReadersWill(t *testing.T) {
	b := base(t, "agent: {allowed_topics: ['*_log']}\nelasticsearch: {allowed_indices: ['logs-*']}")
	for name, c := range map[string]struct{ document, data, wrong string }{
		"agent":          {"agent", "inputs: [{name: a, paths: [a], topic: a_log}]", ""},
		"topic":          {"agent/labels/a=b", "inputs: [{name: a, paths: [a], topic: a}]", "f:1: inputs[0].topic: "},
		"the node":       {"agent/nodes/x", "inputs: [{name: a, paths: [a], topic: '{node}_log'}]", ""},
		"the node's":     {"agent/nodes/x_log", "inputs: [{name: a, paths: [a], topic: '{node}'}]", ""},
		"local key":      {"agent", "allowed_paths: [/]", "f:1: allowed_paths: can only be set in the local file"},
		"index":          {"transfer", "routes: [{name: a, topics: [a], index: a}]", "f:1: routes[0].index: "},
		"seed":           {"seed", `[{"path": "a", "topic": "a_log"}]`, "as an index"},
		"misspelt":       {"transfer", "rotues: []", "did you mean routes?"},
		"not a document": {"transfer", "\x00", "f:1: "},
	} {
		err := Validate(b, c.document, "f", []byte(c.data))
		if c.wrong == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, c.wrong, name)
		}
	}
	for _, name := range []string{"agent", "transfer", "seed", "agent/nodes/web-1", "agent/labels/zone=eu.1"} {
		require.NoError(t, CheckDocument(name))
	}
	for _, name := range []string{"", "agents", "agent/", "agent/nodes/", "agent/nodes/a/b", "agent/labels/a", "agent/labels/a=", "agent/labels/a=b=c", "history/agent", "status/agent/x"} {
		require.Error(t, CheckDocument(name), name)
	}
}
