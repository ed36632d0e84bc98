package embedded

import (
	"encoding/json"
	"path"
	"strconv"
	"strings"
)

// answerFilter is a filter_path: which leaves of an answer are sent.
type answerFilter struct{ keep, drop [][]string }

// parseFilter reads `errors,items.*.status,-items.**.reason`; "" sends all.
func parseFilter(s string) answerFilter {
	var f answerFilter
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		if rest, ok := strings.CutPrefix(part, "-"); ok {
			f.drop = append(f.drop, strings.Split(rest, "."))
		} else if part != "" {
			f.keep = append(f.keep, strings.Split(part, "."))
		}
	}
	return f
}

// sends tells whether the leaf at a dotted path is sent.
func (f answerFilter) sends(leaf string) bool {
	names := strings.Split(leaf, ".")
	for _, p := range f.drop {
		if covers(p, names) {
			return false
		}
	}
	for _, p := range f.keep {
		if covers(p, names) {
			return true
		}
	}
	return len(f.keep) == 0
}

// covers tells whether a pattern names a leaf or something that it is within.
func covers(pattern, names []string) bool {
	if len(pattern) == 0 {
		return true
	}
	if pattern[0] == "**" {
		for i := range len(names) + 1 {
			if covers(pattern[1:], names[i:]) {
				return true
			}
		}
		return false
	}
	if len(names) == 0 {
		return false
	}
	ok, _ := path.Match(pattern[0], names[0])
	return ok && covers(pattern[1:], names[1:])
}

// answerShape is a filter applied to all the leaves that a bulk answer can have.
type answerShape struct {
	took, errors  bool
	create, index itemShape
}

type itemShape struct {
	index, id, version, result, status          bool
	kind, reason, causeKind, causeReason, error bool
}

func shapeOf(f answerFilter) answerShape {
	item := func(action string) itemShape {
		at := "items." + action + "."
		s := itemShape{
			index: f.sends(at + "_index"), id: f.sends(at + "_id"), version: f.sends(at + "_version"),
			result: f.sends(at + "result"), status: f.sends(at + "status"),
			kind: f.sends(at + "error.type"), reason: f.sends(at + "error.reason"),
			causeKind: f.sends(at + "error.caused_by.type"), causeReason: f.sends(at + "error.caused_by.reason"),
		}
		s.error = s.kind || s.reason || s.causeKind || s.causeReason
		return s
	}
	return answerShape{took: f.sends("took"), errors: f.sends("errors"), create: item("create"), index: item("index")}
}

// appendAnswer writes the answer to a bulk request, item by item in the order
// of the request.
func appendAnswer(b []byte, items []bulkItem, s answerShape, tookMs int64) []byte {
	failed := false
	for i := range items {
		failed = failed || items[i].refusal != nil
	}
	b = append(b, '{')
	if s.errors {
		b = strconv.AppendBool(append(b, `"errors":`...), failed)
	}
	if s.took {
		b = strconv.AppendInt(append(comma(b), `"took":`...), tookMs, 10)
	}
	before := len(b)
	b = append(comma(b), `"items":[`...)
	empty := len(b)
	for i := range items {
		shape := &s.create
		if items[i].action != "create" {
			shape = &s.index
		}
		b = appendItem(b, &items[i], shape)
	}
	if len(b) == empty && len(items) > 0 {
		return append(b[:before], '}')
	}
	return append(b, "]}"...)
}

func appendItem(b []byte, it *bulkItem, s *itemShape) []byte {
	start := len(b)
	b = append(comma(b), `{"`...)
	b = append(b, it.action...)
	b = append(b, `":{`...)
	empty := len(b)
	if s.index {
		b = appendJSON(append(b, `"_index":`...), it.index)
	}
	if s.id {
		b = appendJSON(append(comma(b), `"_id":`...), it.id)
	}
	status := 201
	if r := it.refusal; r != nil {
		status = r.status
		if s.error {
			b = appendError(append(comma(b), `"error":`...), r, s)
		}
	} else {
		if s.version {
			b = append(comma(b), `"_version":1`...)
		}
		if s.result {
			b = append(comma(b), `"result":"created"`...)
		}
	}
	if s.status {
		b = strconv.AppendInt(append(comma(b), `"status":`...), int64(status), 10)
	}
	if len(b) == empty {
		return b[:start]
	}
	return append(b, "}}"...)
}

func appendError(b []byte, r *refusal, s *itemShape) []byte {
	b = append(b, '{')
	if s.kind {
		b = appendJSON(append(b, `"type":`...), r.kind)
	}
	if s.reason {
		b = appendJSON(append(comma(b), `"reason":`...), r.reason)
	}
	if r.causeKind != "" && (s.causeKind || s.causeReason) {
		b = append(comma(b), `"caused_by":{`...)
		if s.causeKind {
			b = appendJSON(append(b, `"type":`...), r.causeKind)
		}
		if s.causeReason {
			b = appendJSON(append(comma(b), `"reason":`...), r.causeReason)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// comma separates what follows from what is there.
func comma(b []byte) []byte {
	if last := b[len(b)-1]; last == '{' || last == '[' {
		return b
	}
	return append(b, ',')
}

func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s)
			return append(b, quoted...)
		}
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}
