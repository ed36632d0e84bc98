package poison

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxGroups bounds the causes, indices and other names that are told
	// apart; what is beyond them is counted together.
	maxGroups      = 1000
	maxGroupReason = 300
	others         = "(others)"
)

// Cause is letters that were refused for the same reason: type and index are the
// same, and the reasons differ in numbers and quoted text at most.
type Cause struct {
	Type   string `json:"type,omitempty"`
	Index  string `json:"index,omitempty"`
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
	// First and Last are the times of the oldest and the newest.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Example is the id of one of them.
	Example string `json:"example"`
}

// Count is how many letters have a name in common.
type Count struct {
	Name    string `json:"name"`
	Letters int64  `json:"letters"`
}

// Stats counts letters. All lists but the days' have the most first, and tell
// at most 1,000 names apart.
type Stats struct {
	Letters int64 `json:"letters"`
	// Bytes are those of the values.
	Bytes int64 `json:"bytes"`
	// Oldest and Newest are times of refusal; zero without letters.
	Oldest time.Time `json:"oldest,omitzero"`
	Newest time.Time `json:"newest,omitzero"`
	Causes []Cause   `json:"causes"`
	Topics []Count   `json:"topics"`
	Routes []Count   `json:"routes"`
	// Indices are where documents were to go.
	Indices []Count `json:"indices"`
	// Days are those of refusal, in UTC, in order.
	Days []Count `json:"days"`
}

// Stats counts the letters that f chooses.
func (s *Store) Stats(ctx context.Context, f Filter) (Stats, error) {
	var (
		stats                         Stats
		causes                        = map[[3]string]*Cause{}
		topics, routes, indices, days = tally{}, tally{}, tally{}, tally{}
	)
	err := s.Each(ctx, f, func(l *Letter) error {
		stats.Letters++
		stats.Bytes += int64(len(l.Value))
		if stats.Oldest.IsZero() || l.Time.Before(stats.Oldest) {
			stats.Oldest = l.Time
		}
		if l.Time.After(stats.Newest) {
			stats.Newest = l.Time
		}
		count(causes, l)
		topics.add(l.Topic)
		routes.add(l.Route())
		indices.add(l.Index)
		days.add(l.Time.UTC().Format(time.DateOnly))
		return nil
	})
	stats.Topics, stats.Routes, stats.Indices, stats.Days = topics.list(), routes.list(), indices.list(), days.list()
	slices.SortFunc(stats.Days, func(a, b Count) int { return cmp.Compare(a.Name, b.Name) })
	stats.Causes = []Cause{}
	for _, c := range causes {
		stats.Causes = append(stats.Causes, *c)
	}
	slices.SortFunc(stats.Causes, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Reason, b.Reason))
	})
	return stats, err
}

func count(causes map[[3]string]*Cause, l *Letter) {
	key := [3]string{l.Type, l.Index, sameReason(l.Reason)}
	c := causes[key]
	if c == nil && len(causes) >= maxGroups {
		key = [3]string{"", "", others}
		c = causes[key]
	}
	if c == nil {
		c = &Cause{Type: strings.Clone(key[0]), Index: strings.Clone(key[1]), Reason: key[2], First: l.Time, Last: l.Time, Example: l.ID}
		causes[key] = c
	}
	c.Count++
	if l.Time.Before(c.First) {
		c.First = l.Time
	}
	if !l.Time.Before(c.Last) {
		c.Last, c.Example = l.Time, l.ID
	}
}

type tally map[string]int64

func (t tally) add(name string) {
	if _, known := t[name]; !known && len(t) >= maxGroups {
		name = others
	}
	t[name]++
}

func (t tally) list() []Count {
	list := []Count{}
	for name, n := range t {
		list = append(list, Count{name, n})
	}
	slices.SortFunc(list, func(a, b Count) int { return cmp.Or(cmp.Compare(b.Letters, a.Letters), cmp.Compare(a.Name, b.Name)) })
	return list
}

// sameReason leaves out of a reason what differs from document to document:
// what is quoted becomes '…', and a run of digits N.
func sameReason(reason string) string {
	var b strings.Builder
	before := ' '
	for i := 0; i < len(reason) && b.Len() < maxGroupReason; {
		r, size := utf8.DecodeRuneInString(reason[i:])
		switch {
		case (r == '\'' || r == '"') && !word(before):
			if end := quoteEnd(reason[i+1:], byte(r)); end >= 0 {
				b.WriteByte(byte(r))
				b.WriteString("…")
				b.WriteByte(byte(r))
				i += end + 2
				before = r
				continue
			}
			b.WriteRune(r)
		case r >= '0' && r <= '9':
			if before != '0' {
				b.WriteByte('N')
			}
			before, i = '0', i+size
			continue
		default:
			b.WriteRune(r)
		}
		before, i = r, i+size
	}
	return b.String()
}

// quoteEnd finds the quote that ends a quotation: one that no word follows.
func quoteEnd(s string, quote byte) int {
	for i := range len(s) {
		if s[i] != quote {
			continue
		}
		if next, _ := utf8.DecodeRuneInString(s[i+1:]); i+1 == len(s) || !word(next) {
			return i
		}
	}
	return -1
}

func word(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
