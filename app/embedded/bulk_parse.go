package embedded

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"

	"github.com/valyala/fastjson"
)

// bulkItem is one action of a `_bulk` body and what became of it.
type bulkItem struct {
	document
	action  string   // create or index
	refusal *refusal // nil: stored, or will be
}

// bulkBody takes a `_bulk` body apart. One goroutine uses it at a time.
type bulkBody struct {
	items  []bulkItem
	parser fastjson.Parser
	names  []byte // the memory of indices and ids
}

// parse fills b.items, which refer to body. A body whose lines cannot be told
// apart is refused as a whole and nothing of it is used; what is wrong with one
// item is in its refusal. index is the one of items that name none.
func (b *bulkBody) parse(body []byte, index string) *refusal {
	clear(b.items)
	b.items, b.names = b.items[:0], b.names[:0]
	if len(bytes.TrimSpace(body)) == 0 {
		return badRequest("parse_exception", "request body is required")
	}
	if body[len(body)-1] != '\n' {
		return badRequest("illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
	}
	// Names are copied into memory that must not move under them; those for
	// which it is too small are copied one by one.
	if cap(b.names) < len(body)/8 {
		b.names = make([]byte, 0, len(body)/8)
	}
	for line := 1; len(body) > 0; line++ {
		var action, source []byte
		action, body = cutLine(body)
		if len(action) == 0 {
			continue
		}
		item, r := b.action(action, index, line)
		if r != nil {
			return r
		}
		if item.action != "delete" {
			if len(body) == 0 {
				return badRequest("illegal_argument_exception", "Malformed action/metadata line [%d], expected a source line after it", line)
			}
			source, body = cutLine(body)
			line++
		}
		item.source = source
		if item.refusal == nil && len(source) == 0 {
			item.refusal = notJSON(&item.document, "document is empty")
		}
		b.items = append(b.items, item)
	}
	return nil
}

func cutLine(body []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(body, []byte{'\n'})
	return bytes.Trim(line, " \t\r"), rest
}

func (b *bulkBody) action(line []byte, index string, n int) (bulkItem, *refusal) {
	malformed := func(what string) (bulkItem, *refusal) {
		return bulkItem{}, badRequest("illegal_argument_exception", "Malformed action/metadata line [%d], %s", n, what)
	}
	v, err := b.parser.ParseBytes(line)
	if err != nil {
		return malformed("not valid JSON: " + clip(err.Error()))
	}
	outer, err := v.Object()
	if err != nil {
		return malformed("expected START_OBJECT but found [" + v.Type().String() + "]")
	}
	if outer.Len() != 1 {
		return malformed("expected one action")
	}
	var item bulkItem
	var meta *fastjson.Value
	unknown := ""
	outer.Visit(func(k []byte, v *fastjson.Value) {
		meta = v
		switch string(k) {
		case "create":
			item.action = "create"
		case "index":
			item.action = "index"
		case "update":
			item.action = "update"
		case "delete":
			item.action = "delete"
		default:
			unknown = string(k)
		}
	})
	if item.action == "" {
		return malformed("expected field [create], [delete], [index] or [update] but found [" + clip(unknown) + "]")
	}
	inner, err := meta.Object()
	if err != nil {
		return malformed("expected START_OBJECT but found [" + meta.Type().String() + "]")
	}
	item.index = index
	wrong := ""
	inner.Visit(func(k []byte, v *fastjson.Value) {
		switch string(k) {
		case "_index", "_id":
			s, err := v.StringBytes()
			if err != nil {
				wrong = "expected a string for [" + string(k) + "]"
			} else if string(k) == "_index" {
				item.index = b.keep(s)
			} else {
				item.id = b.keep(s)
			}
		case "routing", "pipeline", "require_alias", "require_data_stream", "list_executed_pipelines",
			"dynamic_templates", "version", "version_type", "if_seq_no", "if_primary_term", "retry_on_conflict", "_source":
		default:
			wrong = "unknown parameter [" + clip(string(k)) + "]"
		}
	})
	if wrong != "" {
		return malformed(wrong)
	}
	switch {
	case item.action == "update" || item.action == "delete":
		item.refusal = notSupported(item.action)
	case len(item.id) > 512:
		item.refusal = badRequest("illegal_argument_exception", "id is too long, must be no longer than 512 bytes but was: %d", len(item.id))
	default:
		item.refusal = checkIndex(item.index)
	}
	if item.id == "" && item.refusal == nil {
		item.id = randomID()
	}
	return item, nil
}

// keep copies s, into b.names if it has room.
func (b *bulkBody) keep(s []byte) string {
	at := len(b.names)
	if at+len(s) > cap(b.names) {
		return string(s)
	}
	b.names = append(b.names, s...)
	return asString(b.names[at:])
}

// randomID makes an id for a document that has none, of 20 characters as
// Elasticsearch does.
func randomID() string {
	var raw [15]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
