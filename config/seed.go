package config

import (
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Seed is one entry of the seed: a file, or a glob, that goes to a topic.
type Seed struct {
	Path  string `yaml:"path" required:"true"`
	Topic string `yaml:"topic" required:"true"`
}

// ParseSeed decodes and checks the seed, a JSON list of entries. Its error is *Errors.
func ParseSeed(name string, data []byte) ([]Seed, error) { return parseSeed(name, data, nil) }

// parseSeed also checks what base allows, when there is one.
func parseSeed(name string, data []byte, base *Config) ([]Seed, error) {
	d := newDecoder(name)
	d.live = true
	if text := strings.TrimSpace(string(data)); text != "" && text[0] != '[' {
		d.failAt(1, "", `is not a JSON list: [{"path": "/var/log/x.log", "topic": "x"}]`)
		return nil, d.errs.orNil()
	}
	if syntax, ok := json.Unmarshal(data, new(any)).(*json.SyntaxError); ok && strings.TrimSpace(string(data)) != "" {
		upTo := data[:min(int(syntax.Offset), len(data))]
		d.failAt(1+strings.Count(string(upTo), "\n"), "", "is not JSON: %s", syntax)
		return nil, d.errs.orNil()
	}
	var list []Seed
	d.decode(data, &list)
	for i, s := range list {
		if s.Path != "" {
			if wrong := checkGlob(s.Path); wrong != "" {
				d.fail(item("", i)+".path", "%s", wrong)
			}
		}
		if s.Topic == "" {
			continue
		}
		if err := CheckTopic(s.Topic); err != nil {
			d.fail(item("", i)+".topic", "%s", err)
		} else if base != nil && !MatchAny(base.Agent.AllowedTopics, s.Topic) {
			d.fail(item("", i)+".topic", "topic %q is not allowed here; agent.allowed_topics is %s", s.Topic, strings.Join(base.Agent.AllowedTopics, ", "))
		} else if base != nil {
			if err := checkIndexTemplate(seedIndex(s.Topic), "", base.Elasticsearch.AllowedIndices); err != nil {
				d.fail(item("", i)+".topic", "as an index: %s", err)
			}
		}
	}
	return list, d.errs.orNil()
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._/-]`)

// seedInputs makes an input of each entry. An entry's name depends on the
// entry alone, so that a change elsewhere in the list leaves it in peace.
func seedInputs(seed []Seed) []Input {
	var inputs []Input
	for _, s := range seed {
		in := Default[Input]()
		in.Name, in.Topic, in.Paths = inputName(s), s.Topic, []string{s.Path}
		if !slices.ContainsFunc(inputs, func(other Input) bool { return other.Name == in.Name }) {
			inputs = append(inputs, in)
		}
	}
	return inputs
}

// inputName is seed/<topic>/<path>, where a relative path begins with ./ and a
// path that a name cannot hold has a hash at its end.
func inputName(s Seed) string {
	path := filepath.ToSlash(filepath.Clean(s.Path))
	text := strings.TrimPrefix(path, "/")
	if text == path {
		text = "./" + path
	}
	name := seedName + s.Topic + "/" + text
	plain := notInNames.ReplaceAllString(name, "_")
	if plain == name && len(name) <= 200 {
		return name
	}
	sum := fnv.New64a()
	sum.Write([]byte(name))
	return plain[:min(len(plain), 183)] + "-" + hex.EncodeToString(sum.Sum(nil))
}

// seedRoutes makes a route for each topic that no route names.
func seedRoutes(seed []Seed, routes []Route) []Route {
	var added []Route
	for _, s := range seed {
		if names(routes, s.Topic) || names(added, s.Topic) {
			continue
		}
		r := Default[Route]()
		r.Name, r.Topics, r.Index = s.Topic, []string{s.Topic}, seedIndex(s.Topic)
		if slices.ContainsFunc(routes, func(other Route) bool { return other.Name == r.Name }) {
			r.Name = seedName + s.Topic
		}
		added = append(added, r)
	}
	return added
}

// names says whether a route names a topic, or a regular expression of one matches it.
func names(routes []Route, topic string) bool {
	return slices.ContainsFunc(routes, func(r Route) bool {
		return slices.ContainsFunc(r.Topics, func(t string) bool {
			re, _ := topicRegex(t)
			return t == topic || re != nil && re.MatchString(topic)
		})
	})
}

// seedIndex is the topic's name as far as an index can have it; {topic} at the
// beginning of an index becomes the same.
func seedIndex(topic string) string {
	return strings.ToLower(strings.TrimLeft(topic, "-_."))
}
