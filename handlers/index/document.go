package index

import (
	"bytes"
	"time"
	"unicode/utf8"

	"github.com/logferry/logferry/handlers/logs"
)

// Limits of a line that is sent as the document itself. Depth and keys are
// Elasticsearch's defaults for index.mapping.depth.limit and
// index.mapping.total_fields.limit. A line beyond one is sent as text.
const (
	maxDepth      = 20
	maxKeys       = 1000
	maxObjectSize = 10 << 20
)

// Tags of a document that is not what its line looked like.
const (
	tagLimits  = "logferry.limits"
	tagNotJSON = "logferry.not_json"
)

// document makes one document at a time from records: [document.read] looks at
// a record, [document.append] writes its document. What two records in a row
// have in common is written once and remembered. It keeps no record's bytes
// beyond the next read. Not safe for concurrent use.
//
// The fields log.file.path, log.offset, log.flags and all under logferry are
// ours: a line's own are left out, except that a record from elsewhere keeps
// its log.* since it gets none of ours. A log or log.file in the line that is
// no object would conflict with ours, and is renamed to log.original or
// log.file.original. host.name is left out when the line has a host that is no
// object, with which it would conflict. An @timestamp that is a date in
// another format is rewritten; one that is no date of a sane year gives way to
// the record's time, and its JSON text is kept as logferry.timestamp.
type document struct {
	record *logs.Record
	place  place
	line   []byte
	object bool
	tag    string
	shape  shape
	// at is the document's @timestamp.
	at time.Time
	// stamped says that the line's own @timestamp stays as it is.
	stamped bool

	clean    []byte // the line with its UTF-8 repaired
	clock    clock
	envelope envelope
}

// read looks at r. parse is auto, json or text.
func (d *document) read(r *logs.Record, parse string) {
	d.record, d.place = r, placeOf(r)
	d.line, d.object, d.tag = r.Value, false, ""
	d.at, d.stamped = r.Time, false
	if parse == "text" {
		return
	}
	switch d.scan() {
	case isObject:
		d.object = true
		d.pickTime()
	case beyondLimits:
		d.tag = tagLimits
	case notObject:
		if parse == "json" {
			d.tag = tagNotJSON
		}
	}
}

func (d *document) scan() scanResult {
	result := d.shape.scan(d.line, maxDepth, maxKeys)
	if result != isObject {
		return result
	}
	if len(d.line) > maxObjectSize {
		return beyondLimits
	}
	if d.shape.nonASCII && !utf8.Valid(d.line) {
		// The structure is ASCII, so it stays; only places move.
		d.clean = appendValid(d.clean[:0], d.line)
		d.line = d.clean
		return d.shape.scan(d.line, maxDepth, maxKeys)
	}
	return isObject
}

// pickTime takes the first of @timestamp, time, timestamp and ts that is a
// date, else the record's time.
func (d *document) pickTime() {
	for rank, value := range d.shape.times {
		if value.to == 0 {
			continue
		}
		if t, native, ok := parseTime(value.of(d.line)); ok {
			d.at = t
			d.stamped = rank == rankTimestamp && native
			return
		}
	}
}

// append appends the document of the record that was read, without a line
// break anywhere in it.
func (d *document) append(dst []byte) []byte {
	e := &d.envelope
	e.of(d.record, d.place.ours)
	switch {
	case !d.object:
		line := d.line
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		dst = append(dst, `{"message":`...)
		dst = appendString(dst, line)
		if d.tag != "" {
			dst = append(dst, `,"tags":["`...)
			dst = append(dst, d.tag...)
			dst = append(dst, `"]`...)
		}
		dst = append(dst, `,"@timestamp":`...)
		dst = d.clock.append(dst, d.at)
		dst = append(dst, e.host...)
	case d.shape.reserved || d.shape.times[rankTimestamp].to != 0 && !d.stamped:
		n := len(dst)
		dst = d.appendRewritten(append(dst, '{'))
		if len(dst) == n+1 {
			dst = append(dst, `"@timestamp":`...)
		} else {
			dst = append(dst, `,"@timestamp":`...)
		}
		dst = d.clock.append(dst, d.at)
		if !d.shape.hostTaken {
			dst = append(dst, e.host...)
		}
	default:
		end := d.shape.close
		for d.line[end-1] <= ' ' { // the brace that opens it is not
			end--
		}
		inner := d.line[d.shape.open:end]
		if d.shape.breaks {
			dst = appendUnbroken(dst, inner)
		} else {
			dst = append(dst, inner...)
		}
		if !d.stamped {
			if d.shape.empty {
				dst = append(dst, `"@timestamp":`...)
			} else {
				dst = append(dst, `,"@timestamp":`...)
			}
			dst = d.clock.append(dst, d.at)
		}
		if !d.shape.hostTaken {
			dst = append(dst, e.host...)
		}
	}
	dst = append(dst, e.rest...)
	if d.place.ours {
		dst = append(dst, decimal(d.record.Meta.Pos)...)
	}
	return append(dst, '}')
}

// decimal returns the digits of a number, which may have zeros before them, as
// JSON writes it.
func decimal(digits []byte) []byte {
	for len(digits) > 1 && digits[0] == '0' {
		digits = digits[1:]
	}
	return digits
}

// appendRewritten appends the members of the line's object without those that
// are ours to write.
func (d *document) appendRewritten(dst []byte) []byte {
	object := d.line[d.shape.open : d.shape.close+1]
	keepStamp := d.stamped
	dst, comma := d.appendMembers(dst, object, "", keepStamp)
	if stamp := d.shape.times[rankTimestamp]; stamp.to != 0 && !keepStamp && d.line[stamp.from] != 'n' {
		if _, _, ok := parseTime(stamp.of(d.line)); !ok {
			if comma {
				dst = append(dst, ',')
			}
			dst = append(dst, `"logferry.timestamp":`...)
			dst = appendString(dst, stamp.of(d.line))
		}
	}
	return dst
}

func (d *document) appendMembers(dst, object []byte, prefix string, keepStamp bool) (out []byte, comma bool) {
	for m := firstMember(object); m.ok; m = nextMember(object, m) {
		path := prefix + string(m.path(object))
		key, value := m.key.of(object), m.value.of(object)
		fate := d.fate(path, value[0] == '{')
		if path == "@timestamp" && !keepStamp {
			fate = drop
		}
		if fate == drop {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(dst, '"')
		dst = append(dst, key...)
		if fate == rename {
			dst = append(dst, ".original"...)
		}
		dst = append(dst, '"', ':')
		if fate == enter {
			dst, _ = d.appendMembers(append(dst, '{'), value, path+".", keepStamp)
			dst = append(dst, '}')
		} else {
			dst = appendUnbroken(dst, value)
		}
	}
	return dst, comma
}

type fate uint8

const (
	keep fate = iota
	drop
	rename
	enter
)

// fate says what becomes of the line's member at path.
func (d *document) fate(path string, object bool) fate {
	p := []byte(path)
	if under(p, "logferry") {
		return drop
	}
	if !d.place.ours {
		return keep
	}
	if under(p, "log.file.path") || under(p, "log.offset") || under(p, "log.flags") {
		return drop
	}
	if path == "log" || path == "log.file" {
		if object {
			return enter
		}
		return rename
	}
	return keep
}

// envelope is what we add to a document, as far as it is the same for a run of
// records.
type envelope struct {
	topic             string
	node, path, flags []byte
	ours, made        bool

	host []byte // ,"host.name":"web-1"
	rest []byte // ,"log.file.path":...,"log.offset":
}

// of prepares the envelope for r.
func (e *envelope) of(r *logs.Record, ours bool) {
	m := &r.Meta
	if e.made && e.ours == ours && string(e.path) == string(m.Path) && string(e.node) == string(m.Node) &&
		string(e.flags) == string(m.Flags) && e.topic == r.Topic {
		return
	}
	e.made, e.ours, e.topic = true, ours, r.Topic
	e.node = append(e.node[:0], m.Node...)
	e.path = append(e.path[:0], m.Path...)
	e.flags = append(e.flags[:0], m.Flags...)

	e.host, e.rest = e.host[:0], e.rest[:0]
	if len(m.Node) > 0 {
		e.host = appendString(append(e.host, `,"host.name":`...), m.Node)
		e.rest = appendString(append(e.rest, `,"logferry.node":`...), m.Node)
	}
	e.rest = appendString(append(e.rest, `,"logferry.topic":`...), []byte(r.Topic))
	if !ours {
		return
	}
	if len(m.Path) > 0 {
		e.rest = appendString(append(e.rest, `,"log.file.path":`...), m.Path)
	}
	if len(m.Flags) > 0 {
		e.rest = append(e.rest, `,"log.flags":[`...)
		for i, flag := range bytes.Split(m.Flags, []byte{','}) {
			if i > 0 {
				e.rest = append(e.rest, ',')
			}
			e.rest = appendString(e.rest, flag)
		}
		e.rest = append(e.rest, ']')
	}
	e.rest = append(e.rest, `,"log.offset":`...)
}
