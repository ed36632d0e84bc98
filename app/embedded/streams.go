package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/logstorage"
)

// streamSet remembers streams, each by its day and fields.
type streamSet struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

const maxStreams = 10_000 // remembered; to forget one costs a flush

// add tells whether one of the streams is new.
func (s *streamSet) add(streams map[string]struct{}) (fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil || len(s.seen) > maxStreams {
		s.seen = make(map[string]struct{})
	}
	for k := range streams {
		if _, ok := s.seen[k]; !ok {
			s.seen[k] = struct{}{}
			fresh = true
		}
	}
	return fresh
}

// repairStreams makes sure that the storage knows the streams of all documents
// in the journal. It runs before the storage is opened.
//
// The storage registers a stream in an index of its own, which it writes to
// files some seconds after a stream is new. A row may be in its files before
// that, and after a kill `{index="web_log"}` would not find it until the stream
// gets another row. To register a stream is not among the things that the
// storage offers; so one document of each stream goes into a scratch storage,
// and the index that this one makes, in files that are never changed once they
// are there, is moved into the real one. An entry that is there twice is merged.
func (s *Store) repairStreams(logs, scratch string) error {
	if err := os.RemoveAll(scratch); err != nil {
		return err
	}
	var storage *logstorage.Storage
	century := 100 * 365 * 24 * time.Hour
	m := newMapper(newFieldNames())
	rows := logstorage.GetLogRows(streamFields[:], nil, nil, nil, "")
	defer logstorage.PutLogRows(rows)
	_, err := s.journal.replay(func(d *document) {
		if !d.opens { // in its frame, and below: in all of the journal
			return
		}
		if storage == nil {
			storage = logstorage.MustOpenStorage(scratch, &logstorage.StorageConfig{
				Retention: century, FutureRetention: century,
			})
		}
		m.known = newFieldNames() // what was taken once is taken
		if m.row(rows, d, d.time); d.opens {
			storage.MustAddRows(rows)
		}
		rows.ResetKeepSettings()
	})
	if storage == nil {
		return err
	}
	storage.MustClose()
	if err != nil {
		return err
	}
	days, err := os.ReadDir(filepath.Join(scratch, "partitions"))
	if err != nil {
		return err
	}
	for _, day := range days {
		from := filepath.Join(scratch, "partitions", day.Name(), "indexdb")
		to := filepath.Join(logs, "partitions", day.Name(), "indexdb")
		if _, err := os.Stat(to); os.IsNotExist(err) {
			continue // that day has no rows: they will all be added
		}
		if err := moveParts(from, to); err != nil {
			return fmt.Errorf("of %s: %w", day.Name(), err)
		}
	}
	return os.RemoveAll(scratch)
}

// moveParts moves the parts that one directory lists to another. A part that is
// not in a list is not there: a kill in between costs nothing.
func moveParts(from, to string) error {
	var moved, names []string
	list := filepath.Join(to, "parts.json")
	if err := errors.Join(readJSON(filepath.Join(from, "parts.json"), &moved), readJSON(list, &names)); err != nil {
		return err
	}
	for _, name := range moved {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	data, err := json.Marshal(append(names, moved...))
	if err != nil {
		return err
	}
	if err := os.WriteFile(list+".tmp", data, 0o600); err != nil {
		return err
	}
	return os.Rename(list+".tmp", list)
}
