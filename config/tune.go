package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Tunable is a value of an input or a route that can be tuned.
type Tunable struct {
	// Key is its section and name, such as throttle.lines_per_second.
	Key string `json:"key"`
	// Value is in force, Default would be without one.
	Value   string `json:"value"`
	Default string `json:"default"`
	// Expects says what a value is: words, or a number, size or duration.
	Expects string `json:"expects"`

	value reflect.Value
	tag   reflect.StructTag
}

// tunable are the sections whose values can be tuned, of those that an input or
// a route has.
var tunable = []string{"throttle", "retry", "breaker", "poison", "batch"}

// Tunables returns what can be tuned of entry, a *Input or *Route, in the order
// of the sections' keys.
func Tunables(entry any) []Tunable {
	var list []Tunable
	sections := fieldsOf(reflect.ValueOf(entry).Elem())
	for _, name := range tunable {
		section, ok := sections[name]
		if !ok {
			continue
		}
		for i := range section.value.NumField() {
			tag := section.value.Type().Field(i).Tag
			v := section.value.Field(i)
			list = append(list, Tunable{
				Key: name + "." + tag.Get("yaml"), Value: fmt.Sprint(v), Default: defaultText(v.Type(), tag),
				Expects: expects(v, tag), value: v, tag: tag,
			})
			if without := map[string]string{"input": " | partition", "route": " | path"}[kindOfEntry(entry)]; list[len(list)-1].Key == "throttle.by" {
				list[len(list)-1].Expects = strings.Replace(expects(v, tag), without, "", 1)
			}
		}
	}
	return list
}

// defaultText is a default as its value is printed.
func defaultText(t reflect.Type, tag reflect.StructTag) string {
	v := reflect.New(t).Elem()
	if err := setScalar(v, tag.Get("default")); err != nil {
		panic(err)
	}
	return fmt.Sprint(v)
}

func expects(v reflect.Value, tag reflect.StructTag) string {
	if words, ok := tag.Lookup("enum"); ok {
		return strings.Join(strings.Fields(words), " | ")
	}
	switch v.Interface().(type) {
	case Size:
		return "size, such as 64KiB"
	case Duration:
		return "duration, such as 5s"
	case float64:
		return "number"
	case int:
		return "whole number"
	}
	return "word"
}

// Setting is a new value of a key; an empty one takes the key out of the
// document, so that the default counts.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// String writes it as it is given.
func (s Setting) String() string { return s.Key + "=" + s.Value }

// ParseSetting reads KEY=VALUE.
func ParseSetting(s string) (Setting, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return Setting{}, fmt.Errorf("%q is not KEY=VALUE, such as throttle.lines_per_second=5000", s)
	}
	return Setting{strings.TrimSpace(key), strings.TrimSpace(value)}, nil
}

// Apply changes values of entry, a *Input or *Route. The error names the key,
// and says what is expected.
func Apply(entry any, settings []Setting) error {
	list := Tunables(entry)
	given := map[string]bool{}
	for _, s := range settings {
		i := slices.IndexFunc(list, func(t Tunable) bool { return t.Key == s.Key })
		if i < 0 {
			return fmt.Errorf("%s: %s", printable(s.Key), unknownTunable(entry, list, s.Key))
		}
		if given[s.Key] {
			return fmt.Errorf("%s: is given twice", s.Key)
		}
		given[s.Key] = true
		value, t := s.Value, list[i]
		if value == "" {
			value = t.Default
		}
		v := reflect.New(t.value.Type()).Elem()
		err := setScalar(v, value)
		if err == nil {
			err = inRange(v, value, t.tag)
		}
		if err == nil && v.Kind() == reflect.String && t.tag.Get("enum") == "" {
			err = CheckTopic(value) // the only words are topics
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Key, err)
		}
		t.value.Set(v)
	}
	return nil
}

// unknownTunable says what may have been meant.
func unknownTunable(entry any, list []Tunable, key string) string {
	section, _, _ := strings.Cut(key, ".")
	has := map[string]bool{}
	best, distance := "", min(4, len(key)/3+1)
	for _, t := range list {
		in, name, _ := strings.Cut(t.Key, ".")
		has[in] = true
		for _, known := range []string{t.Key, name} {
			if n := editDistance(key, known); n < distance {
				best, distance = t.Key, n
			}
		}
	}
	kind := kindOfEntry(entry)
	var sections []string
	for _, name := range tunable {
		if has[name] {
			sections = append(sections, name)
		}
	}
	switch {
	case best != "":
		return "unknown key; did you mean " + best + "?"
	case slices.Contains(tunable, section) && !has[section]:
		return fmt.Sprintf("an %s has no %s; what can be tuned of it is in %s", kind, section, strings.Join(sections, " and "))
	case has[section]:
		var keys []string
		for _, t := range list {
			if strings.HasPrefix(t.Key, section+".") {
				keys = append(keys, strings.TrimPrefix(t.Key, section+"."))
			}
		}
		return fmt.Sprintf("unknown key; %s has %s", section, strings.Join(keys, ", "))
	}
	return fmt.Sprintf("cannot be tuned; what can is in %s, and the rest is changed with 'logferry config edit'", strings.Join(sections, ", "))
}

func kindOfEntry(entry any) string {
	if _, ok := entry.(*Input); ok {
		return "input"
	}
	return "route"
}

// ErrNoEntry says that a document has no input or route of a name.
var ErrNoEntry = errors.New("is not in the document")

// Tune returns the text of a document, checked by what base allows, with
// settings of its entry kind ("input" or "route") name changed and nothing
// else: comments, order and every other byte stay. file is what errors call it. The error is
// ErrNoEntry, *Errors when what comes out is not valid, or says what is wrong
// with the settings.
func Tune(base *Config, document, file string, data []byte, kind, name string, settings []Setting) ([]byte, error) {
	want, err := entryOf(base, file, data, kind, name)
	if err != nil {
		return nil, err
	}
	if err := Apply(want, settings); err != nil {
		return nil, err
	}
	others, err := Entries(base, file, data, kind)
	if err != nil {
		return nil, err
	}
	out := data
	for _, s := range settings {
		if out, err = tuneOne(out, kind, name, s); err != nil {
			return nil, fmt.Errorf("%s: %s of %s %q %w; use 'logferry config edit %s'", file, s.Key, kind, name, err, document)
		}
	}
	if err := Validate(base, document, file, out); err != nil {
		return nil, err
	}
	// Aliases and the like make one place stand for many.
	got, err := Entries(base, file, out, kind)
	if err != nil {
		return nil, err
	}
	others[name] = want
	if !reflect.DeepEqual(got, others) {
		return nil, fmt.Errorf("%s: the values of %s %q %w: an anchor may be shared with others; use 'logferry config edit %s'", file, kind, name, errInPlace, document)
	}
	return out, nil
}

// entryOf returns a copy of an entry of a document.
func entryOf(base *Config, file string, data []byte, kind, name string) (any, error) {
	all, err := Entries(base, file, data, kind)
	if err != nil {
		return nil, err
	}
	if entry := all[name]; entry != nil {
		return entry, nil
	}
	return nil, ErrNoEntry
}

// Entries returns the inputs (kind "input") or routes of a document, by name: as
// *Input or *Route. file is what errors, which are *Errors, call it.
func Entries(base *Config, file string, data []byte, kind string) (map[string]any, error) {
	all := map[string]any{}
	if kind == "input" {
		a, err := ParseAgent(file, data, base)
		for i := range a.Inputs {
			all[a.Inputs[i].Name] = &a.Inputs[i]
		}
		return all, err
	}
	t, err := ParseTransfer(file, data, base)
	for i := range t.Routes {
		all[t.Routes[i].Name] = &t.Routes[i]
	}
	return all, err
}

// Local returns the inputs or routes that a loaded file has by itself, by name.
func Local(c *Config, kind string) map[string]any {
	all := map[string]any{}
	if kind == "input" {
		for i := range c.Agent.Inputs {
			all[c.Agent.Inputs[i].Name] = &c.Agent.Inputs[i]
		}
		return all
	}
	for i := range c.Transfer.Routes {
		all[c.Transfer.Routes[i].Name] = &c.Transfer.Routes[i]
	}
	return all
}

// tuneOne makes one edit.
func tuneOne(data []byte, kind, name string, s Setting) ([]byte, error) {
	t, err := newText(data)
	if err != nil {
		return nil, err
	}
	entry := entryNode(t.root, kind, name)
	if entry == nil {
		return nil, errInPlace
	}
	section, key, _ := strings.Cut(s.Key, ".")
	value := t.scalar(s.Value)
	i := indexOf(entry, section)
	if i < 0 {
		if s.Value == "" {
			return data, nil
		}
		empty := &yaml.Node{}
		return t.set(entry, section, "{"+t.key(empty, key)+": "+value+"}")
	}
	m := entry.Content[i+1]
	switch {
	case m.Kind == yaml.ScalarNode && s.Value != "": // nothing
		return t.set(entry, section, "{"+t.key(&yaml.Node{}, key)+": "+value+"}")
	case m.Kind == yaml.ScalarNode:
		return data, nil
	case m.Kind != yaml.MappingNode:
		return nil, errInPlace
	case s.Value != "":
		return t.set(m, key, value)
	}
	k := indexOf(m, key)
	switch {
	case k < 0:
		return data, nil
	case len(m.Content) == 2: // the section goes with it
		return t.remove(entry, i)
	}
	return t.remove(m, k)
}

// entryNode finds an entry by its name.
func entryNode(root *yaml.Node, kind, name string) *yaml.Node {
	if root.Kind != yaml.MappingNode {
		return nil
	}
	i := indexOf(root, kind+"s")
	if i < 0 || root.Content[i+1].Kind != yaml.SequenceNode {
		return nil
	}
	for _, entry := range root.Content[i+1].Content {
		if entry.Kind != yaml.MappingNode {
			continue
		}
		if n := indexOf(entry, "name"); n >= 0 && entry.Content[n+1].Value == name {
			return entry
		}
	}
	return nil
}
