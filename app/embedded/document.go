package embedded

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/logstorage"
	"github.com/tidwall/gjson"
)

const (
	maxRowBytes  = 2<<20 - 64<<10 // the storage drops a row of 2 MiB without a word
	maxFields    = 1000           // of one index, as Elasticsearch has it
	previewBytes = 1 << 10
	// The storage keeps time in nanoseconds and files by day from 1970 on.
	maxTime = int64(4102444800) * int64(time.Second) // the year 2100
)

// streamFields are the fields whose values make a log stream, the unit in which
// the storage keeps lines together and which `{index="web_log"}` selects.
var streamFields = [...]string{"index", "host.name", "log.file.path"}

// messageFields are where a line's text is looked for, the best first.
var messageFields = [...]string{"_msg", "message", "msg", "log", "event.original"}

// document is one accepted document.
type document struct {
	index, id string
	source    []byte // its JSON
	time      int64  // nanoseconds since 1970
	opens     bool   // the first of its stream and day in the journal's frame
}

// mapper turns documents into rows of the storage. One goroutine uses it at a
// time.
//
// Nested objects are flattened, `{"a":{"b":1}}` is the field a.b; arrays are
// their JSON. `@timestamp` becomes _time, the line's text becomes _msg; a
// document without one shows its JSON there. The index is the field index, and
// a document's own field of that name is doc.index.
type mapper struct {
	parser logstorage.JSONParser
	plans  []*plan
	fields []logstorage.Field
	known  *fieldNames

	stream []byte // the day and stream of the row before
	opened map[string]struct{}
}

func newMapper(known *fieldNames) *mapper {
	return &mapper{known: known, opened: make(map[string]struct{})}
}

// newFrame forgets which streams the documents so far have opened.
func (m *mapper) newFrame() {
	m.stream = m.stream[:0]
	clear(m.opened)
}

// plan is what is done with the fields of all documents that have the same
// names in the same order, which most documents of an index have.
type plan struct {
	index   string
	names   []string // of the parsed fields
	renamed []string // what each is called in the row
	order   []int    // of the row: by name, as the storage sorts it; indexField is the index
	time    int      // which one is @timestamp, -1 for none
	message []int    // which ones may be the text, the best first
	stream  []int    // which ones are in streamFields
	doubled bool     // two fields come out under one name
}

const (
	maxPlans   = 16
	indexField = -1
)

// row parses d.source, sets d.time and adds the document to rows. arrival is the
// time of a document that has none. On a refusal nothing is added.
func (m *mapper) row(rows *logstorage.LogRows, d *document, arrival int64) *refusal {
	if err := m.parser.ParseLogMessage(d.source); err != nil {
		return notJSON(d, err.Error())
	}
	if !gjson.ValidBytes(d.source) {
		return notJSON(d, "not valid JSON")
	}
	if !utf8.Valid(d.source) {
		return notJSON(d, "Invalid UTF-8")
	}
	p, r := m.plan(d)
	if r != nil {
		return r
	}
	if p.doubled {
		if key, ok := doubledKey(d.source); ok {
			return notJSON(d, "Duplicate field '"+key+"'")
		}
	}
	fields := m.parser.Fields
	text := -1
	for _, i := range p.message {
		if fields[i].Value != "" {
			text = i
			break
		}
	}
	d.time = arrival
	m.fields = append(m.fields[:0], logstorage.Field{Name: "_msg"}, logstorage.Field{Name: "_id", Value: d.id})
	size := 64 + len(d.index) + len(d.id)
	for _, i := range p.order {
		if i == indexField {
			m.fields = append(m.fields, logstorage.Field{Name: "index", Value: d.index})
			continue
		}
		f := logstorage.Field{Name: p.renamed[i], Value: fields[i].Value}
		size += 2 + len(f.Name) + len(f.Value)
		if i == text {
			m.fields[0].Value = f.Value
			continue
		}
		if i == p.time {
			if t, ok := parseTime(f.Value); ok {
				d.time = t
				continue
			}
		}
		m.fields = append(m.fields, f)
	}
	if size > maxRowBytes {
		return tooLarge(d, size)
	}
	if text < 0 {
		preview := d.source
		if size+len(preview) > maxRowBytes {
			preview = preview[:previewBytes]
		}
		m.fields[0].Value = asString(preview)
	}
	if p.doubled {
		m.fields = joinDoubled(m.fields)
	}
	d.opens = m.opens(p, d)
	rows.MustAdd(logstorage.TenantID{}, d.time, m.fields, nil)
	return nil
}

// opens tells whether no earlier document of the frame is of the stream and the
// day of the one just parsed.
func (m *mapper) opens(p *plan, d *document) bool {
	before := len(m.stream)
	m.stream = binary.BigEndian.AppendUint64(m.stream, uint64(d.time/day))
	m.stream = append(m.stream, d.index...)
	for _, i := range p.stream {
		m.stream = append(append(append(append(m.stream, 0), p.renamed[i]...), 0), m.parser.Fields[i].Value...)
	}
	now := m.stream[before:]
	if bytes.Equal(now, m.stream[:before]) {
		m.stream = m.stream[:before]
		return false
	}
	m.stream = append(m.stream[:0], now...)
	if _, ok := m.opened[string(m.stream)]; ok {
		return false
	}
	m.opened[string(m.stream)] = struct{}{}
	return true
}

// plan finds or makes the plan for the fields just parsed.
func (m *mapper) plan(d *document) (*plan, *refusal) {
	for i, p := range m.plans {
		if p.fits(d.index, m.parser.Fields) {
			m.plans[0], m.plans[i] = p, m.plans[0]
			return p, nil
		}
	}
	p := &plan{index: strings.Clone(d.index), time: -1}
	seen := make(map[string]struct{}, len(m.parser.Fields))
	for i, f := range m.parser.Fields {
		name := strings.Clone(f.Name)
		p.names = append(p.names, name)
		switch {
		case name == "@timestamp":
			p.time = i
		case name == "_id" || strings.HasPrefix(name, "_id."):
			return nil, metadataField(d, "_id")
		case name == "index" || name == "_time" || name == "_stream" || name == "_stream_id":
			name = "doc." + name
		}
		p.renamed = append(p.renamed, name)
		if _, ok := seen[name]; ok {
			p.doubled = true
		}
		seen[name] = struct{}{}
	}
	for _, want := range messageFields {
		for i, name := range p.renamed {
			if name == want {
				p.message = append(p.message, i)
				break
			}
		}
	}
	p.order = append(p.order, indexField)
	for i, name := range p.renamed {
		p.order = append(p.order, i)
		if slices.Contains(streamFields[:], name) {
			p.stream = append(p.stream, i)
		}
	}
	slices.SortStableFunc(p.order, func(i, j int) int { return strings.Compare(p.rowName(i), p.rowName(j)) })
	if !m.known.add(p.index, p.renamed) {
		return nil, tooManyFields(d)
	}
	if len(m.plans) < maxPlans {
		m.plans = append(m.plans, p)
	}
	last := len(m.plans) - 1
	m.plans[last] = p
	m.plans[0], m.plans[last] = p, m.plans[0]
	return p, nil
}

func (p *plan) rowName(i int) string {
	if i == indexField {
		return "index"
	}
	return p.renamed[i]
}

func (p *plan) fits(index string, fields []logstorage.Field) bool {
	if len(p.names) != len(fields) || p.index != index {
		return false
	}
	for i := range fields {
		if fields[i].Name != p.names[i] {
			return false
		}
	}
	return true
}

// joinDoubled makes one field of those that have one name, `{"a.b":1,"a":{"b":2}}`,
// with the values in a JSON array as Elasticsearch would index them.
func joinDoubled(fields []logstorage.Field) []logstorage.Field {
	first := make(map[string]int, len(fields))
	many := make(map[string][]string)
	kept := fields[:0]
	for _, f := range fields {
		i, ok := first[f.Name]
		if !ok {
			first[f.Name] = len(kept)
			kept = append(kept, f)
			continue
		}
		if many[f.Name] == nil {
			many[f.Name] = []string{kept[i].Value}
		}
		many[f.Name] = append(many[f.Name], f.Value)
	}
	for name, values := range many {
		array, _ := json.Marshal(values)
		kept[first[name]].Value = asString(array)
	}
	return kept
}

// doubledKey gives a key that an object within source has twice.
func doubledKey(source []byte) (string, bool) {
	return doubledIn(gjson.ParseBytes(source))
}

func doubledIn(v gjson.Result) (key string, ok bool) {
	seen := make(map[string]struct{})
	object := v.IsObject()
	v.ForEach(func(k, child gjson.Result) bool {
		if object {
			if _, ok = seen[k.Str]; ok {
				key = k.Str
				return false
			}
			seen[k.Str] = struct{}{}
		}
		if child.IsObject() || child.IsArray() {
			key, ok = doubledIn(child)
		}
		return !ok
	})
	return key, ok
}

// parseTime reads RFC 3339, without a zone as UTC, or milliseconds since 1970.
func parseTime(s string) (int64, bool) {
	if len(s) < len("2006-01-02T15:04:05") {
		ms, err := strconv.ParseInt(s, 10, 64)
		if err != nil || ms < 0 || ms > maxTime/int64(time.Millisecond) {
			return 0, false
		}
		return ms * int64(time.Millisecond), true
	}
	if !strings.ContainsAny(s[len("2006-01-02T15:04:05"):], "Zz+-") {
		s += "Z"
	}
	t, ok := logstorage.TryParseTimestampRFC3339Nano(s)
	return t, ok && t >= 0 && t <= maxTime
}

// fieldNames remembers the field names of each index. The storage makes one
// block of the documents of a stream, and drops what goes beyond 2,000 names in
// it without a word; so an index has at most maxFields, which is also what
// Elasticsearch allows, and says. It forgets at a restart, when the blocks are
// new too.
type fieldNames struct {
	mu      sync.Mutex
	byIndex map[string]map[string]struct{}
}

func newFieldNames() *fieldNames {
	return &fieldNames{byIndex: make(map[string]map[string]struct{})}
}

// add takes all the names, or none when they would be too many.
func (n *fieldNames) add(index string, names []string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.byIndex[index]
	fresh := 0
	for _, name := range names {
		if _, ok := known[name]; !ok {
			fresh++
		}
	}
	if len(known)+fresh > maxFields {
		return false
	}
	if known == nil {
		known = make(map[string]struct{}, len(names))
		n.byIndex[index] = known
	}
	for _, name := range names {
		known[name] = struct{}{}
	}
	return true
}

// asString gives b's bytes as a string without copying them.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
