package index

import (
	"context"
	"net/http"
	"regexp"

	"github.com/logferry/logferry/handlers/logs"
)

// With on_reject: rescue a document that was refused is indexed in another form:
// the field that Elasticsearch named, or else all but message and @timestamp,
// is moved as JSON text into logferry.rescued, and tags says so. Its _id is
// the document's own and rescuedSuffix, so that the document itself can still
// be indexed once its letter was repaired. The letter is written all the same.
const (
	tagRescued    = "logferry.rescued"
	rescuedSuffix = "-rescued"
)

// offenders find the field in Elasticsearch's sentence, as releases from 7 to 9
// put it. The first group is the field's path, a second one what it is in.
var offenders = []*regexp.Regexp{
	regexp.MustCompile(`dynamic introduction of \[([^\]]+)\] within \[([^\]]+)\]`),
	regexp.MustCompile(`failed to parse field \[([^\]]+)\]`),
	regexp.MustCompile(`object mapping for \[([^\]]+)\] tried to parse`),
	regexp.MustCompile(`dynamically add mapping for field \[([^\]]+)\]`),
	regexp.MustCompile(`mapper \[([^\]]+)\] cannot be changed`),
	regexp.MustCompile(`object mapping \[([^\]]+)\]`),
	regexp.MustCompile(`[Ff]ield \[([^\]]+)\] is a metadata field`),
	regexp.MustCompile(`immense term in field="([^"]+)"`),
	regexp.MustCompile(`field alias \[([^\]]+)\]`),
	regexp.MustCompile(`Duplicate field '([^']+)'`),
}

// offender returns the path of the field that a refusal is about, or "".
func offender(reason string) string {
	for _, re := range offenders {
		m := re.FindStringSubmatch(reason)
		switch {
		case m == nil:
		case len(m) > 2 && m[2] != "_doc":
			return m[2] + "." + m[1]
		default:
			return m[1]
		}
	}
	return ""
}

// rescuable says whether another form of the document may be taken.
func (it *item) rescuable() bool {
	return it.status == http.StatusBadRequest && it.failureStore != "used"
}

// casualty is a refused document that is to be rescued.
type casualty struct {
	documentAt
	failure int    // its place in the verdicts
	field   string // that was refused, "" for all
}

// rescue indexes refused documents in their other form: first without the field
// that was named, and, if that is refused as well, without any but message and
// @timestamp. What cannot be told for now, such as a sink that is busy, takes
// the place of the refusal, so that the document comes again as a whole.
func (w *worker) rescue(ctx context.Context, v *verdicts) {
	list := w.casualties
	for len(list) > 0 && ctx.Err() == nil {
		list = w.rescueOnce(ctx, v, list)
	}
}

// rescueOnce posts the other form of each, and returns those to be tried with
// less in it.
func (w *worker) rescueOnce(ctx context.Context, v *verdicts, list []casualty) (again []casualty) {
	var tally counters
	r := getWorker(w.client, &tally)
	r.plan, r.namer, r.maxBytes, r.gate = w.plan, w.plan.namer.clone(), w.maxBytes, &gate{}
	var sent []casualty
	for _, c := range list {
		switch {
		case r.buildRescued(c):
			sent = append(sent, c)
		case c.field != "":
			c.field = "" // is not where it should be
			if r.buildRescued(c) {
				sent = append(sent, c)
			}
		}
	}
	var outcome verdicts
	if len(sent) > 0 {
		c := cut{worker: r, verdicts: &outcome}
		c.post(ctx, 0, len(sent))
		c.conclude(ctx)
	}
	v.busy = v.busy || outcome.busy
	failed := map[documentAt]error{}
	for _, f := range outcome.failures {
		failed[documentAt{ask: f.ask, index: f.index}] = f.err
	}
	for _, c := range sent {
		err := failed[documentAt{ask: c.ask, index: c.index}]
		switch {
		case err == nil:
		case logs.KindOf(err) != logs.Permanent:
			v.failures[c.failure].err = err
			v.refused--
		case c.field != "":
			c.field = ""
			again = append(again, c)
		}
	}
	w.stats.rescued.Add(tally.stored.Load())
	w.stats.requests.Add(tally.requests.Load())
	w.stats.bytes.Add(tally.bytes.Load())
	r.docs = r.docs[:0]
	if r.body = r.body[:0]; r.spoiled {
		r.body, r.spoiled = nil, false
	}
	r.rest()
	workers.Put(r)
	return again
}

// buildRescued appends the other form of a document to the body, or says that
// there is none.
func (w *worker) buildRescued(c casualty) bool {
	c.ask.reading.RLock()
	defer c.ask.reading.RUnlock()
	if c.ask.left {
		return false
	}
	r := &c.ask.poll.Records[c.index]
	w.document.read(r, w.plan.route.Parse)
	name, err := w.namer.name(r, w.document.at)
	if err != nil {
		return false
	}
	body := append(append(w.body, actionHead...), name...)
	body = append(body, actionID...)
	body = append(w.identifier.append(body, r, w.document.place), rescuedSuffix...)
	body, ok := w.document.appendRescued(append(body, actionTail...), c.field)
	if !ok {
		return false
	}
	w.body = append(body, '\n')
	w.docs = append(w.docs, documentAt{c.ask, c.index, len(w.body)})
	return true
}

// appendRescued appends the document of the record that was read, with field, or
// all but message and @timestamp for "", moved into logferry.rescued. It returns
// false when there is nothing to move.
func (d *document) appendRescued(dst []byte, field string) ([]byte, bool) {
	if !d.object {
		return dst, false
	}
	m := mover{document: d, field: field}
	dst = m.members(append(dst, '{'), d.line[d.shape.open:d.shape.close+1], "")
	if len(m.moved) == 0 {
		return dst, false
	}
	if m.wrote {
		dst = append(dst, ',')
	}
	dst = m.appendTags(dst)
	dst = append(dst, `,"logferry.rescued":`...)
	dst = appendString(dst, append(m.moved, '}'))
	if !d.stamped {
		dst = append(dst, `,"@timestamp":`...)
		dst = d.clock.append(dst, d.at)
	}
	d.envelope.of(d.record, d.place.ours)
	if !d.shape.hostTaken || field == "" || under([]byte("host.name"), field) {
		dst = append(dst, d.envelope.host...)
	}
	dst = append(dst, d.envelope.rest...)
	if d.place.ours {
		dst = append(dst, decimal(d.record.Meta.Pos)...)
	}
	return append(dst, '}'), true
}

// mover copies an object's members but for those that it moves.
type mover struct {
	document *document
	field    string
	moved    []byte // an object that is not closed
	tags     []byte // the line's own
	wrote    bool
}

func (m *mover) members(dst, object []byte, prefix string) []byte {
	m.wrote = false
	for member := firstMember(object); member.ok; member = nextMember(object, member) {
		path := prefix + string(member.path(object))
		key, value := member.key.of(object), member.value.of(object)
		fate := m.document.fate(path, value[0] == '{')
		switch {
		case fate == drop, path == "@timestamp" && !m.document.stamped:
			continue
		case m.moves(path, value):
			m.move(path, value)
			continue
		case path == "tags":
			m.tags = value
			continue
		}
		if m.wrote {
			dst = append(dst, ',')
		}
		dst = append(append(dst, '"'), key...)
		if fate == rename {
			dst = append(dst, ".original"...)
		}
		dst = append(dst, '"', ':')
		if value[0] == '{' && (fate == enter || m.field != "" && under([]byte(m.field), path)) {
			dst = append(m.members(append(dst, '{'), value, path+"."), '}')
		} else {
			dst = appendUnbroken(dst, value)
		}
		m.wrote = true
	}
	return dst
}

// moves says whether the member at path is to be moved: the field, what is in
// it, and what holds it but is no object.
func (m *mover) moves(path string, value []byte) bool {
	if under([]byte(path), "tags") && (path != "tags" || value[0] == '{') {
		return true // would be in the way of ours
	}
	if m.field == "" {
		return path != "message" && path != "@timestamp" && path != "tags"
	}
	return under([]byte(path), m.field) || value[0] != '{' && under([]byte(m.field), path)
}

func (m *mover) move(path string, value []byte) {
	if len(m.moved) == 0 {
		m.moved = append(m.moved, '{')
	} else {
		m.moved = append(m.moved, ',')
	}
	m.moved = append(appendString(m.moved, []byte(path)), ':')
	m.moved = append(m.moved, value...)
}

// appendTags appends the line's own tags and ours.
func (m *mover) appendTags(dst []byte) []byte {
	dst = append(dst, `"tags":[`...)
	own := m.tags
	if len(own) > 0 && own[0] == '[' {
		own = own[1 : len(own)-1]
		if spaces(own, 0) == len(own) {
			own = nil
		}
	}
	if len(own) > 0 && string(own) != "null" {
		dst = append(appendUnbroken(dst, own), ',')
	}
	return append(dst, `"`+tagRescued+`"]`...)
}
