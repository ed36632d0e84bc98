package config

import (
	"slices"
	"strings"
	"time"
)

// Decision is what a running process makes of the documents that it reads.
type Decision struct {
	Config *Config
	// Good are the documents that Config is made of, and the canaries that
	// stand in place of some: the next good.
	Good Docs
	// Canaries are those that are given to this process.
	Canaries []Given
}

// Given is a canary that is given to a process.
type Given struct {
	// Document is the key of the document that it stands for.
	Document string
	// Revision is the canary's own.
	Revision int64
	// InForce says that it is valid here.
	InForce bool
	// Until is when the document takes its place again.
	Until time.Time
}

// Decide is Resolve with the canaries of docs: each that selects the process
// of base, and whose time has not ended at now, stands in place of its
// document. One that cannot be read changes nothing: the one in good stays, if
// there is any. One whose document is not valid here leaves the document in
// force. The error lists both, beside what Resolve says.
func Decide(base *Config, docs, good Docs, now time.Time) (Decision, error) {
	plain, before := docs, good
	plain.Canaries, before.Canaries = nil, nil
	c, used, err := Resolve(base, plain, before)
	d := Decision{Config: c, Good: used}
	var errs Errors
	errs.add(err)
	laid := used
	for _, raw := range docs.Canaries {
		canary, err := base.canary(raw)
		if err != nil {
			errs.add(err)
			i := slices.IndexFunc(good.Canaries, func(g *Document) bool { return g.Key == raw.Key })
			if i < 0 {
				continue
			}
			raw = good.Canaries[i]
			if canary, err = base.canary(raw); err != nil {
				continue
			}
		}
		if !canary.Select.Selects(base.Node, base.Labels) || !now.Before(canary.Until) {
			continue
		}
		given := Given{Document: base.Etcd.Key(canary.Document), Revision: raw.Revision, Until: canary.Until}
		over, c, err := base.lay(laid, canary, raw)
		errs.add(err)
		if err == nil {
			laid, d.Config, given.InForce = over, c, true
			d.Good.Canaries = append(d.Good.Canaries, raw)
		}
		d.Canaries = append(d.Canaries, given)
	}
	return d, errs.orNil()
}

func (c *Config) canary(raw *Document) (*Canary, error) {
	return ParseCanary(raw.Key, strings.TrimPrefix(raw.Key, c.Etcd.CanaryKey("")), raw.Data)
}

// lay returns docs with a canary in place of its document, and what comes of it.
func (c *Config) lay(docs Docs, canary *Canary, raw *Document) (Docs, *Config, error) {
	data, err := canary.Data()
	if err != nil {
		return Docs{}, nil, canaryError(raw.Key, err)
	}
	found := map[string]*Document{}
	for _, doc := range docs.All() {
		found[CanariedKey(doc.Key)] = doc
	}
	found[c.Etcd.Key(canary.Document)] = &Document{Key: raw.Key, Data: data, Revision: raw.Revision}
	keys := c.AgentKeys()
	keys.Transfer = c.TransferKeys().Transfer
	over := keys.Docs(found)
	result, err := Effective(c, over)
	return over, result, err
}
