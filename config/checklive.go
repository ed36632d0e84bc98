package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

const (
	maxPath  = 4096
	maxRegex = 1000
	// maxRegexes over all routes: each is matched with every topic that is named.
	maxRegexes = 100
)

// seedName begins the names of the inputs that come from the seed.
const seedName = "seed/"

// check holds the rules of inputs, in the file and in documents.
func (a *Agent) check(d *decoder, section, node string) {
	names := map[string]bool{}
	for i := range a.Inputs {
		in, key := &a.Inputs[i], join(section, item("inputs", i))
		checkName(d, key+".name", in.Name, names)
		if len(in.Paths) == 0 {
			continue // said already: it is required
		}
		checkGlobs(d, key+".paths", in.Paths)
		checkGlobs(d, key+".exclude", in.Exclude)
		if in.Topic != "" {
			if err := checkTopicTemplate(in.Topic, node, in.Name, a.AllowedTopics); err != nil {
				d.fail(key+".topic", "%s", err)
			}
		}
		if in.MaxLineBytes > a.MaxInFlightBytes {
			d.fail(key+".max_line_bytes", "%s is more than agent.max_in_flight_bytes, %s", in.MaxLineBytes, a.MaxInFlightBytes)
		}
		in.checkLines(d, key)
		in.Retry.check(d, key+".retry")
		if in.Throttle.By == "partition" {
			d.fail(key+".throttle.by", "partition is for routes; of an input, write all, path or topic")
		}
	}
}

// check holds the rules of routes, in the file and in documents.
func (t *Transfer) check(d *decoder, section string, allowed []string) {
	names := map[string]bool{}
	groups := topicsByGroup{}
	for i := range t.Routes {
		r, key := &t.Routes[i], join(section, item("routes", i))
		checkName(d, key+".name", r.Name, names)
		if !topicName.MatchString(r.Group) {
			d.fail(key+".group", "%q is not a group name; use letters, digits, '.', '_' and '-'", r.Group)
		}
		var named []string
		for j, topic := range r.Topics {
			at := item(key+".topics", j)
			re, err := topicRegex(topic)
			if err != "" {
				d.fail(at, "%s", err)
				continue
			}
			groups.add(d, at, r, topic, re)
			if re == nil {
				named = append(named, topic)
				if topic == r.Poison.Topic {
					d.fail(at, "is the route's own poison topic")
				}
			}
		}
		if len(named) == 0 {
			named = []string{""} // regular expressions alone: a record will say
		}
		for _, topic := range named {
			if r.Index == "" {
				break
			}
			if err := checkIndexTemplate(r.Index, topic, allowed); err != nil {
				d.fail(key+".index", "%s", err)
				break
			}
		}
		if err := CheckTopic(r.Poison.Topic); err != nil {
			d.fail(key+".poison.topic", "%s", err)
		}
		r.Retry.check(d, key+".retry")
		if r.Throttle.By == "path" {
			d.fail(key+".throttle.by", "path is for inputs; of a route, write all, topic or partition")
		}
	}
	groups.check(d)
}

// topicRegex returns nil for a name and the expression of /one/, or what is wrong with either.
func topicRegex(topic string) (*regexp.Regexp, string) {
	if !strings.HasPrefix(topic, "/") {
		if err := CheckTopic(topic); err != nil {
			return nil, err.Error()
		}
		return nil, ""
	}
	body, closed := strings.CutSuffix(topic[1:], "/")
	if !closed || body == "" || len(body) > maxRegex {
		return nil, "write a regular expression of at most 1000 bytes between two slashes: /logs-.*/"
	}
	re, err := regexp.Compile(body)
	if err != nil {
		return nil, err.Error()
	}
	return re, ""
}

// namedTopic is a topic of a route, and where it was named.
type namedTopic struct {
	at, topic string
	route     *Route
	re        *regexp.Regexp
}

// topicsByGroup finds topics that two routes of one group share: Kafka would
// give each of them a part of the topic's partitions.
type topicsByGroup struct{ names, regexes []namedTopic }

func (g *topicsByGroup) add(d *decoder, at string, r *Route, topic string, re *regexp.Regexp) {
	n := namedTopic{at, topic, r, re}
	if re == nil {
		g.names = append(g.names, n)
		return
	}
	if g.regexes = append(g.regexes, n); len(g.regexes) == maxRegexes+1 {
		d.fail(at, "is one more than the %d regular expressions that all routes may have", maxRegexes)
	}
}

func (g *topicsByGroup) check(d *decoder) {
	type key struct{ group, topic string }
	first := map[key]namedTopic{}
	for _, n := range slices.Concat(g.names, g.regexes) {
		k := key{n.route.Group, n.topic}
		if before, ok := first[k]; ok {
			d.fail(n.at, "%s is named by route %q of the same group, at %s; give one of them another group", n.topic, before.route.Name, before.at)
		} else {
			first[k] = n
		}
	}
	if len(g.regexes) > maxRegexes {
		return
	}
	for _, re := range g.regexes {
		for _, n := range g.names {
			if n.route != re.route && n.route.Group == re.route.Group && re.re.MatchString(n.topic) {
				d.fail(re.at, "%s matches topic %s of route %q of the same group; give one of them another group", re.topic, n.topic, n.route.Name)
				break
			}
		}
	}
}

func checkName(d *decoder, key, name string, names map[string]bool) {
	switch {
	case name == "": // said already: it is required
	case !entryName.MatchString(name):
		d.fail(key, "%q is not a name; use at most 200 letters, digits, '.', '_', '-' and '/'", name)
	case strings.HasPrefix(name, seedName):
		d.fail(key, "names that begin with %s are for the seed", seedName)
	case names[name]:
		d.fail(key, "%q is used twice", name)
	}
	names[name] = true
}

func checkGlobs(d *decoder, key string, globs []string) {
	for i, g := range globs {
		if wrong := checkGlob(g); wrong != "" {
			d.fail(item(key, i), "%s", wrong)
		}
	}
}

func checkGlob(g string) string {
	switch {
	case g == "":
		return "is empty"
	case len(g) > maxPath || strings.ContainsRune(g, 0):
		return "is not a path: it is longer than 4096 bytes or holds a zero byte"
	case !doublestar.ValidatePattern(g):
		return "is not a glob: a [ or { is not closed, or a \\ ends it"
	}
	return ""
}

// isGlob says whether a path is more than a name.
func isGlob(path string) bool { return strings.ContainsAny(path, `*?[{\`) }

func (r *Retry) check(d *decoder, key string) {
	if r.MinBackoff > r.MaxBackoff {
		d.fail(key+".min_backoff", "%s is more than max_backoff, %s", r.MinBackoff, r.MaxBackoff)
	}
}
