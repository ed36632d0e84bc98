package ship

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/logferry/logferry/handlers/logs"
)

// maxTopic is the longest name that Kafka takes.
const maxTopic = 249

// Topic makes a topic's name from a template with the fields {node}, {input},
// {path.base}, {path.name} and {path.dir}. Characters that Kafka does not take
// become '_'.
type Topic struct {
	template string
	allowed  []string
	last     atomic.Pointer[resolved]
}

type resolved struct {
	origin *logs.Origin
	name   string
	err    error
}

// NewTopic returns the topic of a template; allowed are globs with * and ?.
func NewTopic(template string, allowed []string) *Topic {
	return &Topic{template: template, allowed: allowed}
}

// Of returns the topic for lines of o, or an error when the local file does
// not allow it.
func (t *Topic) Of(o *logs.Origin) (string, error) {
	if last := t.last.Load(); last != nil && last.origin == o {
		return last.name, last.err
	}
	r := &resolved{origin: o, name: t.expand(o)}
	if !t.allows(r.name) {
		r.err = fmt.Errorf("publish %q to topic %q: agent.allowed_topics does not allow it", o.Path, r.name)
	}
	t.last.Store(r)
	return r.name, r.err
}

func (t *Topic) expand(o *logs.Origin) string {
	if !strings.Contains(t.template, "{") {
		return t.template
	}
	base := filepath.Base(o.Path)
	name := strings.NewReplacer(
		"{node}", clean(o.Node),
		"{input}", clean(o.Input),
		"{path.base}", clean(base),
		"{path.name}", clean(strings.TrimSuffix(base, filepath.Ext(base))),
		"{path.dir}", clean(filepath.Base(filepath.Dir(o.Path))),
	).Replace(t.template)
	return name[:min(len(name), maxTopic)]
}

func (t *Topic) allows(name string) bool {
	for _, glob := range t.allowed {
		if ok, _ := filepath.Match(glob, name); ok {
			return true
		}
	}
	return len(t.allowed) == 0
}

func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '_'
	}, s)
}
