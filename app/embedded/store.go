package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/logstorage"

	"github.com/logferry/logferry/app/embedded/local"
)

const (
	// The journal is emptied when the store is idle, or else when it has this
	// size: about 1,500,000 small documents, which a start after a kill looks
	// up in two or three seconds.
	defaultJournalLimit = 512 << 20

	keepEvery = time.Second
	// Rows are in files about three seconds after they came.
	idleFor = 3 * time.Second
	// For how long documents wait, at most, for a full journal to be emptied.
	drainFor = 15 * time.Second
)

// StoreOptions says where the embedded log store lives.
type StoreOptions struct {
	Dir        string // its data directory, made when absent
	BulkAddr   string // of the `_bulk` front, a loopback "host:port"; port 0 takes any
	SearchAddr string // of the search page and its API, likewise
	Logger     *slog.Logger

	journalLimit int64 // 0: defaultJournalLimit
}

// Store keeps documents and finds them. There is one in a process.
//
// A document that was answered with 201 is there for good, once: its id is
// refused with 409 from then on, whatever happens to the process. The order in
// which that is made so, within [Store.put]:
//
//	ids looked up → journal written → ids added → rows added → answer
//
// The storage writes rows to its files seconds later. A start after a kill reads
// the journal, adds the ids that are missing, asks the storage which of the
// documents it has, and adds the others.
type Store struct {
	logger  *slog.Logger
	logs    *vlogs
	unlock  func() // the directory
	release func() // VictoriaLogs' packages

	bulk, search *server

	// Held shared from before the journal is written until the rows are added;
	// held alone while the journal is emptied.
	adding sync.RWMutex

	commit  sync.Mutex // over the two below, from looking ids up to adding them
	ids     *idSet
	journal *journal
	limit   int64 // of the journal, after which documents wait for it to be emptied
	broken  error // the set of ids is behind the journal until the next start

	known   *fieldNames
	streams streamSet
	fresh   atomic.Bool // there are new streams since the last flush

	appended atomic.Int64 // documents written to the journal since the start
	stop     context.CancelFunc
	keeper   sync.WaitGroup
	once     sync.Once
}

// StartStore opens the store in o.Dir and serves it.
func StartStore(o StoreOptions) (*Store, error) {
	s := &Store{logger: o.Logger, limit: cmp.Or(o.journalLimit, defaultJournalLimit), known: newFieldNames()}
	if err := s.open(o); err != nil {
		return nil, fmt.Errorf("start log store in %s: %w", o.Dir, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.keeper.Go(func() { s.keep(ctx) })
	return s, nil
}

// BulkURL is where documents are sent to.
func (s *Store) BulkURL() string { return s.bulk.url() }

// SearchURL is where the search page is.
func (s *Store) SearchURL() string { return s.search.url() }

// Close ends all requests, waits until everything is on the disk and closes the
// store.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.bulk.close()
		s.search.close()
		s.stop()
		s.keeper.Wait()
		s.logs.close()
		if s.broken == nil {
			// The storage is closed and so has all rows in its files.
			err = errors.Join(s.ids.sync(), s.journal.reset())
		}
		err = errors.Join(err, s.journal.close())
		s.ids.close()
		s.release()
		s.unlock()
	})
	if err != nil {
		return fmt.Errorf("close log store: %w", err)
	}
	return nil
}

func (s *Store) open(o StoreOptions) (err error) {
	var undo []func()
	defer func() {
		for i := len(undo) - 1; err != nil && i >= 0; i-- {
			undo[i]()
		}
	}()
	if s.unlock, err = local.Lock(o.Dir); err != nil {
		return err
	}
	undo = append(undo, s.unlock)
	if s.release, err = claimVlogs(o.Logger); err != nil {
		return err
	}
	undo = append(undo, s.release)
	logs, ids, journal := filepath.Join(o.Dir, "logs"), filepath.Join(o.Dir, "ids"), filepath.Join(o.Dir, "journal")
	if _, err := os.Stat(logs); os.IsNotExist(err) {
		// Somebody has removed the documents: their ids are free again.
		if err := errors.Join(os.RemoveAll(ids), os.RemoveAll(journal)); err != nil {
			return err
		}
	}
	if s.ids, err = openIDs(ids); err != nil {
		return err
	}
	undo = append(undo, s.ids.close)
	if s.journal, err = openJournal(journal); err != nil {
		return err
	}
	undo = append(undo, func() { s.journal.close() })
	if err := s.repairStreams(logs, filepath.Join(o.Dir, "scratch")); err != nil {
		return fmt.Errorf("repair the index of streams: %w", err)
	}
	if s.logs, err = openVlogs(logs); err != nil {
		return err
	}
	undo = append(undo, s.logs.close)
	if err = s.recover(); err != nil {
		return fmt.Errorf("recover what came before a kill: %w", err)
	}
	if s.bulk, err = serve(o.BulkAddr, s.bulkHandler(), o.Logger); err != nil {
		return err
	}
	undo = append(undo, s.bulk.close)
	s.search, err = serve(o.SearchAddr, searchHandler(), o.Logger)
	return err
}

// put stores the documents of a batch whose refusal is nil; those that are
// there already get one. An error means that none was stored.
func (s *Store) put(b *batch) error {
	s.adding.RLock()
	defer s.adding.RUnlock()
	if err := s.logs.writable(); err != nil {
		return err
	}
	if err := s.accept(b); err != nil {
		return err
	}
	for _, rows := range b.rows {
		s.logs.add(rows)
	}
	if s.streams.add(b.mapper.opened) {
		s.fresh.Store(true)
	}
	return nil
}

// accept is the part of put that decides.
func (s *Store) accept(b *batch) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.broken != nil {
		return s.broken
	}
	conflicts := false
	for i := range b.items {
		if it := &b.items[i]; it.refusal == nil && s.ids.has(b.keys[i]) {
			it.refusal = conflict(it.id)
			conflicts = true
		}
	}
	if conflicts {
		b.build()
	}
	if b.accepted == 0 {
		return nil
	}
	if err := s.journal.append(b.frame); err != nil {
		return err
	}
	for i := range b.items {
		if b.items[i].refusal != nil {
			continue
		}
		if err := s.ids.add(b.keys[i]); err != nil {
			s.broken = err
			s.logger.Error("the log store takes no documents until it is started again", "error", err)
			break
		}
	}
	s.appended.Add(int64(b.accepted))
	return nil
}

// keep does three things every second. It brings the journal to the disk. It
// empties it when all that it holds is in the storage's files. It makes new
// streams visible: rows show up by themselves, but for a query that has found a
// stream missing the storage remembers so for ten seconds.
func (s *Store) keep(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	var synced, seen int64
	idleSince := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.fresh.Swap(false) {
			s.logs.flush()
		}
		appended := s.appended.Load()
		if appended != seen {
			seen, idleSince = appended, time.Now()
		}
		s.commit.Lock()
		size := s.journal.size
		s.commit.Unlock()
		var err error
		if size >= s.limit {
			err = s.emptyJournal(ctx, drainFor)
		} else if size > 0 && time.Since(idleSince) > idleFor {
			err = s.emptyJournal(ctx, 0)
		}
		if appended != synced && err == nil {
			err = s.journal.sync()
			synced = appended
		}
		if err != nil {
			s.logger.Warn("keep the log store's journal", "error", err)
		}
	}
}

// emptyJournal holds up new documents for as long as it takes the storage to
// write its files, but not longer than patience; what is not done by then is
// left for the next time.
func (s *Store) emptyJournal(ctx context.Context, patience time.Duration) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	s.logs.flush()
	deadline := time.Now().Add(patience)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		done, err := s.logs.durable()
		if err != nil {
			return err
		}
		if done {
			break
		}
		if !time.Now().Before(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.broken != nil {
		return nil // the journal has ids that the set has not
	}
	if err := s.ids.sync(); err != nil {
		return err
	}
	return s.journal.reset()
}

// batch is a bulk request on its way into the store.
type batch struct {
	bulkBody
	keys     []idKey // of the items
	frame    []byte
	rows     []*logstorage.LogRows
	accepted int
	answer   []byte

	arrival int64
	mapper  *mapper
	hasher  idHasher
	seen    map[idKey]struct{}
}

// prepare makes keys, rows and journal frame of all items, as if none were in
// the store already; one that is in the request twice is a conflict at once.
func (b *batch) prepare() {
	b.keys = b.keys[:0]
	for i := range b.items {
		it := &b.items[i]
		var k idKey
		if it.refusal == nil {
			k = b.hasher.key(it.index, it.id)
		}
		b.keys = append(b.keys, k)
	}
	b.build()
}

// build makes rows and frame of the items that have no refusal, and gives one
// to those that cannot be stored.
func (b *batch) build() {
	b.dropRows()
	b.mapper.newFrame()
	b.frame, b.accepted = newFrame(b.frame), 0
	clear(b.seen)
	var rows *logstorage.LogRows
	for i := range b.items {
		it := &b.items[i]
		if it.refusal != nil {
			continue
		}
		if _, ok := b.seen[b.keys[i]]; ok {
			it.refusal = conflict(it.id)
			continue
		}
		if rows == nil || rows.NeedFlush() {
			rows = logstorage.GetLogRows(streamFields[:], nil, nil, nil, "")
			b.rows = append(b.rows, rows)
		}
		// A nanosecond apart, so that documents without a time stay in order.
		if it.refusal = b.mapper.row(rows, &it.document, b.arrival+int64(i)); it.refusal != nil {
			continue
		}
		b.seen[b.keys[i]] = struct{}{}
		b.frame = appendDoc(b.frame, &it.document)
		b.accepted++
	}
	sealFrame(b.frame)
}

func (b *batch) dropRows() {
	for _, rows := range b.rows {
		logstorage.PutLogRows(rows)
	}
	b.rows = b.rows[:0]
}
