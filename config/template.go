package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// fill replaces every {field} of a template by what value says of it.
func fill(template string, value func(field string) (string, error)) (string, error) {
	var b strings.Builder
	for rest := template; rest != ""; {
		text, after, open := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return "", fmt.Errorf("%q has a } without a {", template)
		}
		b.WriteString(text)
		if !open {
			break
		}
		field, tail, closed := strings.Cut(after, "}")
		if !closed {
			return "", fmt.Errorf("%q has a { without a }", template)
		}
		v, err := value(field)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
		rest = tail
	}
	return b.String(), nil
}

var topicFields = []string{"node", "input", "path.base", "path.name", "path.dir"}

// checkTopicTemplate checks an input's topic. Fields of the path are known
// only when a file is, so a topic with one is checked for its own letters here.
func checkTopicTemplate(template, node, input string, allowed []string) error {
	ofPath := false
	name, err := fill(template, func(field string) (string, error) {
		switch {
		case field == "node":
			return node, nil
		case field == "input":
			return strings.ReplaceAll(input, "/", "_"), nil
		case slices.Contains(topicFields, field):
			ofPath = true
			return "x", nil
		}
		return "", fmt.Errorf("{%s} is no field of a topic; the fields are {%s}", field, strings.Join(topicFields, "}, {"))
	})
	if err != nil {
		return err
	}
	if err := CheckTopic(name); err != nil {
		return err
	}
	if !ofPath && !MatchAny(allowed, name) {
		return fmt.Errorf("topic %q is not allowed here; agent.allowed_topics is %s", name, strings.Join(allowed, ", "))
	}
	return nil
}

// checkIndexTemplate checks a route's index for one of its topics; topic is
// empty when only a record will say it. What a field cannot put into a name, the
// index stage makes fit.
func checkIndexTemplate(template, topic string, allowed []string) error {
	dates, open := 0, false
	sample := time.Date(2026, 11, 23, 22, 59, 58, 0, time.UTC)
	name, err := fill(template, func(field string) (string, error) {
		layout, isDate := strings.CutPrefix(field, "+")
		switch {
		case isDate:
			if dates++; dates > 1 {
				return "", fmt.Errorf("%q holds more than one date pattern", template)
			}
			text := sample.Format(layout)
			if text == layout {
				return "", fmt.Errorf("{%s} is no date pattern; write the day 2 January 2006, such as {+2006.01.02}", field)
			}
			return text, nil
		case field == "topic" && topic != "" && strings.HasPrefix(template, "{topic}"):
			return seedIndex(topic), nil
		case field == "topic" && topic != "":
			return strings.ToLower(topic), nil
		case field == "topic", field == "node":
			open = true
			return "x", nil
		}
		return "", fmt.Errorf("{%s} is no field of an index; the fields are {topic}, {node} and a date such as {+2006.01.02}", field)
	})
	if err != nil {
		return err
	}
	if err := CheckIndex(name); err != nil {
		return err
	}
	if !open && !MatchAny(allowed, name) {
		return fmt.Errorf("index %q is not allowed here; elasticsearch.allowed_indices is %s", name, strings.Join(allowed, ", "))
	}
	return nil
}
