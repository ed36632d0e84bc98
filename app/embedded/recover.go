package embedded

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/logstorage"
)

const day = int64(24 * time.Hour)

// recover brings ids and rows to what the journal says. The journal stays as it
// is: the rows are not in files yet.
func (s *Store) recover() error {
	missing := make(map[idKey]struct{})
	days := make(map[int64]span)
	var hasher idHasher
	var failed error
	lost, err := s.journal.replay(func(d *document) {
		k := hasher.key(d.index, d.id)
		if err := s.ids.add(k); err != nil {
			failed = err
		}
		missing[k] = struct{}{}
		days[d.time/day] = days[d.time/day].with(d.time)
	})
	if err = cmp.Or(err, failed); err != nil {
		return err
	}
	if lost > 0 {
		s.logger.Info("the log store was killed while it wrote a request that it had not answered", "bytes", lost)
	}
	if len(missing) == 0 {
		return nil
	}
	start := time.Now()
	journaled := len(missing)
	for _, span := range joinDays(days) {
		if err := s.forgetStored(missing, span); err != nil {
			return err
		}
	}
	if err := s.addMissing(missing); err != nil {
		return err
	}
	s.logger.Info("the log store was killed; its journal was read", "documents", journaled,
		"of_which_added", len(missing), "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// span is a range of time, both ends included.
type span struct{ from, to int64 }

func (s span) with(t int64) span {
	if s == (span{}) {
		return span{t, t}
	}
	return span{min(s.from, t), max(s.to, t)}
}

// joinDays makes one span of those on neighbouring days.
func joinDays(days map[int64]span) []span {
	var numbers []int64
	for d := range days {
		numbers = append(numbers, d)
	}
	slices.Sort(numbers)
	var spans []span
	for i, d := range numbers {
		if i > 0 && numbers[i-1] == d-1 {
			spans[len(spans)-1].to = days[d].to
			continue
		}
		spans = append(spans, days[d])
	}
	return spans
}

// forgetStored takes those out of missing that the storage has in a span.
func (s *Store) forgetStored(missing map[idKey]struct{}, in span) error {
	var mu sync.Mutex
	return s.logs.query(context.Background(), "* | fields index, _id", in.from, in.to, func(columns [][]string) {
		var hasher idHasher
		keys := make([]idKey, len(columns[0]))
		for i, index := range columns[0] {
			keys[i] = hasher.key(index, columns[1][i])
		}
		mu.Lock()
		defer mu.Unlock()
		for _, k := range keys {
			delete(missing, k)
		}
	}, "index", "_id")
}

// addMissing adds the rows of the journal's documents that are in missing.
func (s *Store) addMissing(missing map[idKey]struct{}) error {
	rows := logstorage.GetLogRows(streamFields[:], nil, nil, nil, "")
	defer logstorage.PutLogRows(rows)
	add := func() {
		s.logs.add(rows)
		rows.ResetKeepSettings()
	}
	m := newMapper(newFieldNames())
	var hasher idHasher
	_, err := s.journal.replay(func(d *document) {
		if _, ok := missing[hasher.key(d.index, d.id)]; !ok {
			return
		}
		r := m.row(rows, d, d.time)
		if r != nil {
			// The journal may be of more than one process, each of which took
			// its own maxFields names: begin new blocks of the storage here.
			add()
			s.logs.flush()
			m = newMapper(newFieldNames())
			r = m.row(rows, d, d.time)
		}
		if r != nil {
			s.logger.Error("add a document of the journal", "index", d.index, "id", d.id, "error", r.reason)
		}
		if rows.NeedFlush() {
			add()
		}
	})
	add()
	s.logs.flush()
	return err
}
