package poison

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/logferry/logferry/handlers/logs"
)

// Reader reads topics without a consumer group: kafka.Reader.
type Reader interface {
	// Spans returns what the topics hold now.
	Spans(ctx context.Context, topics ...string) ([]logs.Span, error)
	// Read visits the records of the spans; the polls are visit's to keep.
	Read(ctx context.Context, spans []logs.Span, visit func(*logs.Poll) error) (skipped int64, err error)
}

// Writer publishes records: kafka.Publisher.
type Writer interface {
	// Write returns when all are acknowledged by all in-sync replicas, or a
	// *logs.BatchError that names those which were not.
	Write(ctx context.Context, recs []logs.Record) error
}

// StoreOptions are the parts of a store.
type StoreOptions struct {
	// Topics are the poison topics.
	Topics []string
	Reader Reader
	// Writer may be nil for a store that is only read.
	Writer Writer
	// Progress, if not nil, is told during each call how many records of the
	// topics it has read, and how many it will read in all.
	Progress func(read, total int64)
}

// Store is the poison queue: the command line and the web console share it. It
// has no state: each call reads the topics up to the end that they had when it
// began, twice. The first time tells which letters are live; see [live] for the
// memory that it takes. Its methods may be called from any goroutine.
type Store struct{ o StoreOptions }

// NewStore returns a store; it starts nothing.
func NewStore(o StoreOptions) *Store { return &Store{o: o} }

// ErrNoLetter says that no live letter has the id.
var ErrNoLetter = errors.New("no such letter")

// errEnough ends a reading before its end.
var errEnough = errors.New("enough")

// Each calls visit with the letters that f chooses, in the order of each
// partition of the queue: letters of one partition are oldest first. A letter
// is visit's to keep. Visit's error ends it and comes back.
func (s *Store) Each(ctx context.Context, f Filter, visit func(*Letter) error) error {
	spans, err := s.o.Reader.Spans(ctx, s.o.Topics...)
	if err != nil {
		return fmt.Errorf("read poison topics %s: %w", strings.Join(s.o.Topics, ", "), err)
	}
	var ids map[string]bool
	if len(f.IDs) > 0 {
		ids = make(map[string]bool, len(f.IDs))
		for _, id := range f.IDs {
			ids[id] = true
		}
	}
	progress := s.progress(spans)
	letters := newLive()
	if err := s.scan(ctx, spans, ids, progress, func(r *logs.Record) error {
		letters.note(r)
		return nil
	}); err != nil {
		return err
	}
	if letters.count == 0 {
		progress.end()
		return nil
	}
	chosen := 0
	err = s.scan(ctx, spans, ids, progress, func(r *logs.Record) error {
		if !letters.has(r) {
			return nil
		}
		letter := Open(r)
		if !f.match(letter) {
			return nil
		}
		if err := visit(letter); err != nil {
			return err
		}
		if chosen++; chosen == f.Limit {
			return errEnough
		}
		return nil
	})
	progress.end()
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// scan visits the records that can be letters, or tombstones, of the ids; of
// all when there are none.
func (s *Store) scan(ctx context.Context, spans []logs.Span, ids map[string]bool, p *progress, visit func(*logs.Record) error) error {
	_, err := s.o.Reader.Read(ctx, spans, func(poll *logs.Poll) error {
		for i := range poll.Records {
			r := &poll.Records[i]
			if r.Key == nil || ids != nil && !ids[string(r.Key)] {
				continue
			}
			if err := visit(r); err != nil {
				return err
			}
		}
		p.moved(poll)
		return nil
	})
	return err
}

// Listing is the newest letters of a choice.
type Listing struct {
	// Letters are the newest ones, oldest first. They have no headers, and at
	// most 4 KiB of their values.
	Letters []*Letter
	// Matched is how many the filter chose in all.
	Matched int64
}

const briefValue = 4 << 10

// List returns the newest letters that f chooses, at most limit of them. f's own
// limit does not count.
func (s *Store) List(ctx context.Context, f Filter, limit int) (Listing, error) {
	f.Limit = 0
	var (
		list   Listing
		newest byTime
	)
	err := s.Each(ctx, f, func(l *Letter) error {
		list.Matched++
		switch {
		case len(newest) < limit:
			heap.Push(&newest, l.brief(briefValue))
		case limit > 0 && newest.older(newest[0], l):
			newest[0] = l.brief(briefValue)
			heap.Fix(&newest, 0)
		}
		return nil
	})
	for len(newest) > 0 {
		list.Letters = append(list.Letters, heap.Pop(&newest).(*Letter))
	}
	return list, err
}

// Show returns the live letter of an id, or ErrNoLetter.
func (s *Store) Show(ctx context.Context, id string) (*Letter, error) {
	var found *Letter
	err := s.Each(ctx, Filter{IDs: []string{id}}, func(l *Letter) error {
		if found == nil || l.Time.After(found.Time) {
			found = l
		}
		return nil
	})
	if err == nil && found == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoLetter, id)
	}
	return found, err
}

// byTime is a heap whose first is the oldest.
type byTime []*Letter

func (b byTime) older(x, y *Letter) bool {
	return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Queue, y.Queue), cmp.Compare(x.Partition, y.Partition),
		cmp.Compare(x.Offset, y.Offset)) < 0
}

func (b byTime) Len() int           { return len(b) }
func (b byTime) Less(i, j int) bool { return b.older(b[i], b[j]) }
func (b byTime) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *byTime) Push(x any)        { *b = append(*b, x.(*Letter)) }
func (b *byTime) Pop() any {
	last := (*b)[len(*b)-1]
	*b = (*b)[:len(*b)-1]
	return last
}

// progress counts what two readings of the spans have behind them.
type progress struct {
	tell        func(read, total int64)
	read, total int64
}

func (s *Store) progress(spans []logs.Span) *progress {
	p := &progress{tell: s.o.Progress}
	if p.tell == nil {
		p.tell = func(int64, int64) {}
	}
	for _, span := range spans {
		p.total += 2 * (span.To - span.From)
	}
	return p
}

func (p *progress) moved(poll *logs.Poll) {
	p.read = min(p.read+int64(len(poll.Records)), p.total)
	p.tell(p.read, p.total)
}

// end counts what was not there to be read.
func (p *progress) end() { p.tell(p.total, p.total) }
