package index

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/logferry/logferry/config"
)

const (
	// templatePriority is above Elasticsearch's own templates, which have 100
	// for logs-*-*. The length of a pattern is added, so that of two routes
	// whose patterns overlap the narrower one counts.
	templatePriority = 200

	policyStreams = "logferry-streams"
	policyIndices = "logferry-indices"

	managedBy = "logferry"
)

// features are the parts of a template that not every cluster knows.
type features struct {
	// onlyText is the type match_only_text: Elasticsearch 7.14.
	onlyText bool
	// lenient ignores fields beyond the limit instead of refusing the
	// document: Elasticsearch 8.14.
	lenient bool
	// lifecycle is index lifecycle management, which is no part of the free
	// distributions, nor of serverless ones.
	lifecycle bool
}

func (f features) text() string {
	if f.onlyText {
		return "match_only_text"
	}
	return "text"
}

// family is one or more routes that write the same indices.
type family struct {
	name     string
	routes   []string
	patterns []string
	stream   bool
	dated    bool
}

type object = map[string]any

// template is the body of an index template for f. Only fields that are ours, or
// that mean the same everywhere, have a type of their own: a line's error or
// service may be an object or a word.
func (f *family) template(have features, policy string) object {
	text := have.text()
	settings := object{
		"index.refresh_interval":           "5s",
		"index.mapping.total_fields.limit": 1000,
		"index.mapping.ignore_malformed":   true,
	}
	if have.lenient {
		settings["index.mapping.total_fields.ignore_dynamic_beyond_limit"] = true
	}
	if policy != "" && have.lifecycle {
		settings["index.lifecycle.name"] = policy
	}
	keyword := func(above int) object { return object{"type": "keyword", "ignore_above": above} }
	properties := func(p object) object { return object{"properties": p} }
	body := object{
		"index_patterns": f.patterns,
		"priority":       templatePriority + f.width(),
		"template": object{
			"settings": settings,
			"mappings": object{
				"date_detection":    false,
				"numeric_detection": false,
				"dynamic_templates": []object{
					{"error_message": object{"path_match": "error.message", "match_mapping_type": "string", "mapping": object{"type": text}}},
					{"error_stack_trace": object{"path_match": "error.stack_trace", "match_mapping_type": "string", "mapping": object{"type": text}}},
					{"event_original": object{"path_match": "event.original", "match_mapping_type": "string", "mapping": object{"type": "keyword", "index": false, "doc_values": false}}},
					{"strings": object{"match_mapping_type": "string", "mapping": object{
						"type": "keyword", "ignore_above": 1024, "fields": object{"text": object{"type": text}}}}},
				},
				"properties": object{
					// A data stream's may not be malformed.
					"@timestamp": object{"type": "date", "ignore_malformed": false},
					"message":    object{"type": text},
					"tags":       keyword(256),
					"host":       properties(object{"name": keyword(256)}),
					"log": properties(object{
						"file":   properties(object{"path": keyword(4096)}),
						"offset": object{"type": "long"},
						"flags":  keyword(64),
					}),
					"logferry": properties(object{
						"node":      keyword(256),
						"topic":     keyword(256),
						"timestamp": keyword(256),
						"rescued":   object{"type": text},
						"error":     object{"type": text},
					}),
				},
			},
		},
	}
	if f.stream {
		body["data_stream"] = object{}
	}
	return body
}

// width is the length of the shortest literal part of a pattern.
func (f *family) width() int {
	shortest := maxNameLength
	for _, p := range f.patterns {
		shortest = min(shortest, len(p)-strings.Count(p, "*"))
	}
	return shortest
}

// policy is the body of a lifecycle policy: data streams get a new index at 50
// GiB or 30 days, and what is older than retention is deleted, if it is not 0.
func policy(stream bool, retention time.Duration) object {
	phases := object{}
	if stream {
		phases["hot"] = object{"min_age": "0ms", "actions": object{
			"rollover": object{"max_age": "30d", "max_primary_shard_size": "50gb"}}}
	}
	if retention > 0 {
		phases["delete"] = object{"min_age": fmt.Sprintf("%ds", int64(retention.Seconds())), "actions": object{"delete": object{}}}
	}
	return object{"phases": phases}
}

// signed adds _meta to a body, by which a later run knows its own work again.
func signed(body object) (json.RawMessage, string, error) {
	plain, err := json.Marshal(body)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(plain)
	hash := hex.EncodeToString(sum[:8])
	body["_meta"] = object{"managed_by": managedBy, "hash": hash}
	out, err := json.Marshal(body)
	return out, hash, err
}

// families groups routes by the indices they write. The notes say which routes
// have no pattern that would not take in others' indices.
func families(routes []config.Route, allowed []string) (list []*family, notes map[string]string) {
	notes = map[string]string{}
	byKey := map[string]*family{}
	names := map[string]bool{}
	for _, r := range routes {
		patterns, dated, err := patternsOf(r, allowed)
		if err != nil {
			notes[r.Name] = err.Error()
			continue
		}
		key := fmt.Sprint(r.DataStream, patterns)
		f := byKey[key]
		if f == nil {
			f = &family{name: templateName(r.Name, names), patterns: patterns, stream: r.DataStream, dated: dated}
			byKey[key] = f
			list = append(list, f)
		}
		f.routes = append(f.routes, r.Name)
	}
	return list, notes
}

// templateName is unique among names: two routes may differ in what a
// template's name cannot hold.
func templateName(route string, names map[string]bool) string {
	name := managedBy + "-" + string(appendName(nil, strings.TrimLeft(route, "_-.")))
	for n := 2; names[name]; n++ {
		name = fmt.Sprintf("%s-%d", strings.TrimRight(name, "-0123456789"), n)
	}
	names[name] = true
	return name
}

// patternsOf turns a route's index into patterns: a placeholder is a star. When
// the name begins with one, the topics take its place, or the globs of
// allowed_indices.
func patternsOf(r config.Route, allowed []string) (patterns []string, dated bool, err error) {
	n, err := newNamer(r.Index, nil)
	if err != nil {
		return nil, false, err
	}
	for _, p := range n.pieces {
		dated = dated || p.kind == datePiece
	}
	switch {
	case n.pieces[0].kind == literal:
		patterns = []string{pattern("", n.pieces)}
	case n.pieces[0].kind == topicPiece && !slices.ContainsFunc(r.Topics, isExpression):
		for _, t := range r.Topics {
			patterns = append(patterns, pattern(string(appendName(nil, t)), n.pieces[1:]))
		}
	default:
		for _, glob := range allowed {
			if strings.Trim(glob, "*?") == "" {
				return nil, false, fmt.Errorf("index %q may be any name, so a template would be for every index of the cluster; let index begin with a prefix, or say the prefixes in elasticsearch.allowed_indices", r.Index)
			}
			patterns = append(patterns, strings.ReplaceAll(glob, "?", "*"))
		}
		if len(patterns) == 0 {
			return nil, false, fmt.Errorf("index %q may be any name, so a template would be for every index of the cluster; let index begin with a prefix", r.Index)
		}
	}
	slices.SortFunc(patterns, cmp.Compare[string])
	return slices.Compact(patterns), dated, nil
}

func pattern(prefix string, pieces []piece) string {
	for _, p := range pieces {
		switch {
		case p.kind == literal:
			prefix += p.text
		case !strings.HasSuffix(prefix, "*"):
			prefix += "*"
		}
	}
	return prefix
}

func isExpression(topic string) bool { return len(topic) > 1 && topic[0] == '/' }
