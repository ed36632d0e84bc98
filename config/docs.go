package config

import (
	"bytes"
	"maps"
	"slices"
)

// Keys are the keys in etcd that one process reads; an empty one is not read.
type Keys struct {
	Agent string
	// Labels are in the order in which they are merged.
	Labels               []string
	Node, Transfer, Seed string
	// Canaries are those of the documents of which there can be one.
	Canaries []string
}

// AgentKeys returns the keys that an agent of c reads: the documents of all
// agents, of its labels by their keys' names, of its node, and the seed. c has
// a section etcd.
func (c *Config) AgentKeys() Keys {
	k := Keys{
		Agent: c.Etcd.Key("agent"),
		Node:  c.Etcd.Key("agent/nodes/" + c.Node),
		Seed:  c.Etcd.SeedKey,

		Canaries: []string{c.Etcd.CanaryKey("agent")},
	}
	for _, label := range slices.Sorted(maps.Keys(c.Labels)) {
		document := "agent/labels/" + label + "=" + c.Labels[label]
		k.Labels = append(k.Labels, c.Etcd.Key(document))
		k.Canaries = append(k.Canaries, c.Etcd.CanaryKey(document))
	}
	return k
}

// TransferKeys returns the keys that a transfer of c reads. c has a section etcd.
func (c *Config) TransferKeys() Keys {
	return Keys{Transfer: c.Etcd.Key("transfer"), Seed: c.Etcd.SeedKey, Canaries: []string{c.Etcd.CanaryKey("transfer")}}
}

// All returns the keys that are read, in the order of Docs.All.
func (k Keys) All() []string {
	all := slices.Concat([]string{k.Agent}, k.Labels, []string{k.Node, k.Transfer, k.Seed}, k.Canaries)
	return slices.DeleteFunc(all, func(key string) bool { return key == "" })
}

// Docs returns the documents among found, which are by key.
func (k Keys) Docs(found map[string]*Document) Docs {
	docs := Docs{Agent: found[k.Agent], Node: found[k.Node], Transfer: found[k.Transfer], Seed: found[k.Seed]}
	for _, key := range k.Labels {
		if doc := found[key]; doc != nil {
			docs.Labels = append(docs.Labels, doc)
		}
	}
	for _, key := range k.Canaries {
		if doc := found[key]; doc != nil {
			docs.Canaries = append(docs.Canaries, doc)
		}
	}
	return docs
}

// Document is one live document as etcd holds it. It is immutable.
type Document struct {
	// Key is its key in etcd, and what errors call it.
	Key string `json:"key"`
	// Data is the value, YAML or JSON.
	Data []byte `json:"data"`
	// Revision is etcd's revision of the last put.
	Revision int64 `json:"revision"`
}

// Equal says whether both are absent, or the same put of the same key.
func (a *Document) Equal(b *Document) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Key == b.Key && a.Revision == b.Revision && bytes.Equal(a.Data, b.Data)
}

// Docs are the live documents of one process; nil is absent.
type Docs struct {
	Agent *Document `json:"agent,omitempty"`
	// Labels are the documents of the node's labels, in the order in which they are merged.
	Labels   []*Document `json:"labels,omitempty"`
	Node     *Document   `json:"node,omitempty"`
	Transfer *Document   `json:"transfer,omitempty"`
	Seed     *Document   `json:"seed,omitempty"`
	// Canaries are what etcd holds under their keys; see [Canary].
	Canaries []*Document `json:"canaries,omitempty"`
}

// All returns the documents that are there, in the order in which they are
// merged, and then the canaries.
func (a Docs) All() []*Document {
	all := slices.Concat([]*Document{a.Agent}, a.Labels, []*Document{a.Node, a.Transfer, a.Seed}, a.Canaries)
	return slices.DeleteFunc(all, func(doc *Document) bool { return doc == nil })
}

// Equal says whether both hold the same documents.
func (a Docs) Equal(b Docs) bool {
	return slices.EqualFunc(a.All(), b.All(), (*Document).Equal)
}

// Empty says whether no document is there.
func (a Docs) Empty() bool { return len(a.All()) == 0 }

// Revision returns the highest revision among the documents, 0 when there is none.
func (a Docs) Revision() int64 {
	var highest int64
	for _, doc := range a.All() {
		highest = max(highest, doc.Revision)
	}
	return highest
}

// ParseAgent decodes and checks an agent's document: the content of the
// agent section alone. What only the file may say is taken from base and
// refused in data. Its error is *Errors.
func ParseAgent(name string, data []byte, base *Config) (Agent, error) {
	d := newDecoder(name)
	d.live = true
	var a Agent
	d.decode(data, &a)
	a.AllowedPaths, a.AllowedTopics = base.Agent.AllowedPaths, base.Agent.AllowedTopics
	a.MaxInFlightBytes = base.Agent.MaxInFlightBytes
	a.check(d, "", base.Node)
	return a, d.errs.orNil()
}

// ParseTransfer decodes and checks a transfer's document: the content of the
// transfer section alone. What only the file may say is taken from base and
// refused in data. Its error is *Errors.
func ParseTransfer(name string, data []byte, base *Config) (Transfer, error) {
	d := newDecoder(name)
	d.live = true
	var t Transfer
	d.decode(data, &t)
	t.MaxInFlightBytes = base.Transfer.MaxInFlightBytes
	t.check(d, "", base.Elasticsearch.AllowedIndices)
	return t, d.errs.orNil()
}

// Effective returns base with the documents in the place of its sections:
// Agent and Transfer replace theirs; Labels, one after the other, and then Node
// add inputs or replace those of the same name; Seed adds inputs, and routes
// for topics that no route names. Canaries are not looked at; see [Decide].
// Its error is *Errors over all documents, whose File is the document's key.
func Effective(base *Config, docs Docs) (*Config, error) {
	c := *base
	var errs Errors
	if doc := docs.Agent; doc != nil {
		agent, err := ParseAgent(doc.Key, doc.Data, base)
		errs.add(err)
		c.Agent = agent
	}
	for _, doc := range docs.overlays() {
		over, err := ParseAgent(doc.Key, doc.Data, base)
		errs.add(err)
		c.Agent.Inputs = overlay(c.Agent.Inputs, over.Inputs)
	}
	if doc := docs.Transfer; doc != nil {
		transfer, err := ParseTransfer(doc.Key, doc.Data, base)
		errs.add(err)
		c.Transfer = transfer
	}
	if doc := docs.Seed; doc != nil {
		seed, err := parseSeed(doc.Key, doc.Data, base)
		errs.add(err)
		c.Agent.Inputs = slices.Concat(c.Agent.Inputs, seedInputs(seed))
		c.Transfer.Routes = slices.Concat(c.Transfer.Routes, seedRoutes(seed, c.Transfer.Routes))
	}
	if err := errs.orNil(); err != nil {
		return nil, err
	}
	return &c, nil
}

// overlays are the documents that add inputs to those of all agents.
func (a Docs) overlays() []*Document {
	if a.Node == nil {
		return a.Labels
	}
	return append(slices.Clone(a.Labels), a.Node)
}

// overlay replaces inputs by name, in their places, and adds the others.
func overlay(inputs, over []Input) []Input {
	result := slices.Clone(inputs)
	for _, in := range over {
		i := slices.IndexFunc(result, func(old Input) bool { return old.Name == in.Name })
		if i < 0 {
			result = append(result, in)
		} else {
			result[i] = in
		}
	}
	return result
}

// Resolve is Effective for a running process: a document that is not valid
// changes nothing, so the one of the same role in good stands in for it, or,
// when good has none, what base says. It returns the config, the documents
// that it is made of (the next good), and the errors of those that are not.
func Resolve(base *Config, docs, good Docs) (*Config, Docs, error) {
	c, err := Effective(base, docs)
	if err == nil {
		return c, docs, nil
	}
	use := docs
	bad := map[string]bool{}
	for _, e := range err.(*Errors).All {
		bad[e.File] = true
	}
	for _, role := range []struct {
		doc  **Document
		good *Document
	}{{&use.Agent, good.Agent}, {&use.Node, good.Node}, {&use.Transfer, good.Transfer}, {&use.Seed, good.Seed}} {
		if *role.doc != nil && bad[(*role.doc).Key] {
			*role.doc = role.good
		}
	}
	use.Labels = nil
	for _, doc := range docs.Labels {
		if bad[doc.Key] {
			i := slices.IndexFunc(good.Labels, func(g *Document) bool { return g.Key == doc.Key })
			if i < 0 {
				continue
			}
			doc = good.Labels[i]
		}
		use.Labels = append(use.Labels, doc)
	}
	// The local file may have changed since a document was good.
	for _, docs := range []Docs{use, good} {
		if c, again := Effective(base, docs); again == nil {
			return c, docs, err
		}
	}
	return base, Docs{}, err
}
