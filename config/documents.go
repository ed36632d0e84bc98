package config

import (
	"fmt"
	"strings"
)

// Key returns the key of a document, such as agent or agent/nodes/web-1; that
// of the seed is SeedKey, wherever it is.
func (e *Etcd) Key(document string) string {
	if document == "seed" {
		return e.SeedKey
	}
	return e.Prefix + "/" + document
}

// CheckDocument says what is wrong with the name of a document, or returns nil.
// Names are agent, agent/nodes/NODE, agent/labels/KEY=VALUE, transfer and seed.
func CheckDocument(name string) error {
	if name == "agent" || name == "transfer" || name == "seed" {
		return nil
	}
	if node, ok := strings.CutPrefix(name, "agent/nodes/"); ok {
		if !nodeName.MatchString(node) {
			return fmt.Errorf("%q is not a node name; use at most 200 letters, digits, '.', '_' and '-'", node)
		}
		return nil
	}
	if label, ok := strings.CutPrefix(name, "agent/labels/"); ok {
		key, value, _ := strings.Cut(label, "=")
		if !labelWord.MatchString(key) || !labelWord.MatchString(value) {
			return fmt.Errorf("%q is not a label; write agent/labels/KEY=VALUE, each of at most 100 letters, digits, '.', '_' and '-'", label)
		}
		return nil
	}
	return fmt.Errorf("%.100q is not a document; write agent, agent/nodes/NODE, agent/labels/KEY=VALUE, transfer or seed", name)
}

// Validate checks the data of a document, with what base, a local file,
// allows; name is what errors call it. Its error is *Errors.
func Validate(base *Config, document, name string, data []byte) error {
	doc := &Document{Key: name, Data: data}
	var docs Docs
	switch {
	case document == "seed":
		docs.Seed = doc
	case document == "transfer":
		docs.Transfer = doc
	case document == "agent":
		docs.Agent = doc
	default:
		docs.Node = doc
		if node, ok := strings.CutPrefix(document, "agent/nodes/"); ok {
			other := *base
			other.Node, base = node, &other
		}
	}
	_, err := Effective(base, docs)
	return err
}
