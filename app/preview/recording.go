// Package preview keeps what inputs and routes did in the last minutes, and
// tells from it what other settings would have meant.
package preview

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// Step is what one value of a series covers.
	Step = 10 * time.Second
	// Buckets is how many values a series has at most: a quarter of an hour's.
	Buckets = 90
)

// Series is what one input or route did, a value for each step, the last of all
// parts at Recording.End. Series that are nil were 0 throughout.
type Series struct {
	Name string
	// Lines that passed, and their Bytes.
	Lines, Bytes []uint64
	// Backlog at the step's end: bytes of an input, records of a route.
	Backlog []uint64
	// Refused lines, for their own sake.
	Refused []uint64
	// Failed attempts that were, or will be, tried again.
	Failed []uint64
	// Requests to Elasticsearch, of a route; and how long they took at the
	// step's end, in ms.
	Requests, Latency []uint64
}

// all are the series with their names in JSON, in order.
func (s *Series) all() []namedSeries {
	return []namedSeries{
		{"lines", &s.Lines}, {"bytes", &s.Bytes}, {"backlog", &s.Backlog}, {"refused", &s.Refused},
		{"failed", &s.Failed}, {"requests", &s.Requests}, {"latency", &s.Latency},
	}
}

type namedSeries struct {
	name   string
	values *[]uint64
}

// Recording is what a process did.
type Recording struct {
	// End is when the last step ended; it is a multiple of Step.
	End time.Time
	// Steps is how many there are; 1 at the least.
	Steps int
	Parts []Series
	// MoreParts did not fit.
	MoreParts int
}

type wire struct {
	End       int64      `json:"end"`
	Steps     int        `json:"steps"`
	Parts     []wirePart `json:"parts"`
	MoreParts int        `json:"more_parts,omitempty"`
}

type wirePart struct {
	Name string `json:"name"`
	// Series are uvarints by name; those of zeros alone are left out.
	Series map[string][]byte `json:"series"`
}

// Encode returns at most limit bytes; the parts that did most are in them.
func (r *Recording) Encode(limit int) []byte {
	parts := slices.Clone(r.Parts)
	slices.SortStableFunc(parts, func(a, b Series) int {
		return int(min(max(int64(sum(b.Lines)-sum(a.Lines)), -1), 1))
	})
	w := wire{End: r.End.Unix(), Steps: r.Steps, MoreParts: r.MoreParts}
	for i := range parts {
		p := wirePart{parts[i].Name, map[string][]byte{}}
		for _, s := range parts[i].all() {
			if sum(*s.values) == 0 {
				continue
			}
			var b []byte
			for _, v := range *s.values {
				b = binary.AppendUvarint(b, v)
			}
			p.Series[s.name] = b
		}
		w.Parts = append(w.Parts, p)
	}
	for {
		data, err := json.Marshal(w)
		if err != nil {
			panic(err)
		}
		n := len(w.Parts)
		if len(data) <= limit || n == 0 {
			return data
		}
		keep := min(n*limit/len(data), n-1)
		w.MoreParts += n - keep
		w.Parts = w.Parts[:keep]
	}
}

// Decode reads what Encode has written.
func Decode(data []byte) (*Recording, error) {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("read recorded rates: %w", err)
	}
	if w.Steps < 1 || w.Steps > Buckets {
		return nil, fmt.Errorf("read recorded rates: %d steps", w.Steps)
	}
	r := &Recording{End: time.Unix(w.End, 0), Steps: w.Steps, MoreParts: w.MoreParts}
	for _, p := range w.Parts {
		s := Series{Name: p.Name}
		for _, one := range s.all() {
			values := make([]uint64, w.Steps)
			b := p.Series[one.name]
			for i := range values {
				if len(b) == 0 {
					break
				}
				v, n := binary.Uvarint(b)
				if n <= 0 {
					return nil, errors.New("read recorded rates: a series is cut off")
				}
				values[i], b = v, b[n:]
			}
			*one.values = values
		}
		r.Parts = append(r.Parts, s)
	}
	return r, nil
}

// Part returns the series of a name, or nil.
func (r *Recording) Part(name string) *Series {
	for i := range r.Parts {
		if r.Parts[i].Name == name {
			return &r.Parts[i]
		}
	}
	return nil
}

func sum(values []uint64) (total uint64) {
	for _, v := range values {
		total += v
	}
	return total
}
