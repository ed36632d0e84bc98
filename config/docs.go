package config

import (
	"bytes"
	"slices"
)

// Keys are the four keys in etcd that one node reads.
type Keys struct{ Agent, Node, Transfer, Seed string }

// Keys returns the keys that a node reads. Seed is empty when seed_key is.
func (e *Etcd) Keys(node string) Keys {
	return Keys{
		Agent:    e.Prefix + "/agent",
		Node:     e.Prefix + "/agent/nodes/" + node,
		Transfer: e.Prefix + "/transfer",
		Seed:     e.SeedKey,
	}
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

// Docs are the live documents of one node; nil is absent.
type Docs struct {
	Agent    *Document `json:"agent,omitempty"`
	Node     *Document `json:"node,omitempty"`
	Transfer *Document `json:"transfer,omitempty"`
	Seed     *Document `json:"seed,omitempty"`
}

// Equal says whether both hold the same documents.
func (a Docs) Equal(b Docs) bool {
	return a.Agent.Equal(b.Agent) && a.Node.Equal(b.Node) && a.Transfer.Equal(b.Transfer) && a.Seed.Equal(b.Seed)
}

// Empty says whether no document is there.
func (a Docs) Empty() bool { return a == Docs{} }

// Revision returns the highest revision among the documents, 0 when there is none.
func (a Docs) Revision() int64 {
	var highest int64
	for _, doc := range []*Document{a.Agent, a.Node, a.Transfer, a.Seed} {
		if doc != nil {
			highest = max(highest, doc.Revision)
		}
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
// transfer section alone. Its error is *Errors.
func ParseTransfer(name string, data []byte, base *Config) (Transfer, error) {
	d := newDecoder(name)
	d.live = true
	var t Transfer
	d.decode(data, &t)
	t.check(d, "", base.Elasticsearch.AllowedIndices)
	return t, d.errs.orNil()
}

// Effective returns base with the documents in the place of its sections:
// Agent and Transfer replace theirs, Node adds inputs or replaces those of
// the same name, Seed adds inputs, and routes for topics that no route names.
// Its error is *Errors over all documents, whose File is the document's key.
func Effective(base *Config, docs Docs) (*Config, error) {
	c := *base
	var errs Errors
	if doc := docs.Agent; doc != nil {
		agent, err := ParseAgent(doc.Key, doc.Data, base)
		errs.add(err)
		c.Agent = agent
	}
	if doc := docs.Node; doc != nil {
		node, err := ParseAgent(doc.Key, doc.Data, base)
		errs.add(err)
		c.Agent.Inputs = overlay(c.Agent.Inputs, node.Inputs)
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
	// The local file may have changed since a document was good.
	for _, docs := range []Docs{use, good} {
		if c, again := Effective(base, docs); again == nil {
			return c, docs, err
		}
	}
	return base, Docs{}, err
}
