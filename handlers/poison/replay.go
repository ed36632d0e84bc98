package poison

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/logferry/logferry/handlers/logs"
)

const (
	batchLetters = 500
	batchBytes   = 4 << 20
	// answerTimeout bounds the tombstones of what was published, which are
	// written although the call was asked to end.
	answerTimeout = 30 * time.Second
	// maxNamed bounds the letters that a result names; counts are exact.
	maxNamed = 100
)

// ReplayOptions say how letters are replayed.
type ReplayOptions struct {
	// Rate is how many letters a second; 0 is no limit.
	Rate float64
	// DryRun only looks.
	DryRun bool
}

// Result is what became of the letters that were chosen.
type Result struct {
	// Done is how many were replayed or dropped, or would have been.
	Done int64 `json:"done"`
	// Topics is how many of them belong to each topic.
	Topics map[string]int64 `json:"topics,omitempty"`
	// Left is how many stay for a reason of their own; Reasons names some.
	Left    int64    `json:"left"`
	Reasons []Reason `json:"reasons,omitempty"`
	// Missing are ids that no chosen letter has; unknown when there is a limit.
	Missing []string `json:"missing,omitempty"`
}

// Reason is why one letter stays in the queue.
type Reason struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

func (r *Result) leave(l *Letter, err error) {
	r.Left++
	if len(r.Reasons) < maxNamed {
		r.Reasons = append(r.Reasons, Reason{l.ID, err.Error()})
	}
}

// Replay publishes the letters that f chooses to their topics, as they were, and
// answers each with a tombstone once it was acknowledged: a crash between the
// two replays the letter again, and its document's id hides that. A letter that
// cannot be published, or was replayed MaxReplays times, stays, with a reason.
// The error is what ended the call before its end; the result counts what was
// done by then.
func (s *Store) Replay(ctx context.Context, f Filter, o ReplayOptions) (Result, error) {
	p := &posting{store: s, pace: pace{rate: o.Rate}, dry: o.DryRun}
	p.limit = p.pace.batch(batchLetters)
	return p.run(ctx, f, func(l *Letter) error {
		r, err := l.original()
		if err != nil {
			p.result.leave(l, err)
			return nil
		}
		return p.add(ctx, l, r)
	})
}

// Drop answers the letters that f chooses with tombstones. For the rest it is as
// Replay.
func (s *Store) Drop(ctx context.Context, f Filter) (Result, error) {
	p := &posting{store: s, limit: batchLetters, drop: true}
	return p.run(ctx, f, func(l *Letter) error { return p.add(ctx, l, logs.Record{}) })
}

// posting is one call of Replay or Drop.
type posting struct {
	store *Store
	pace  pace
	dry   bool
	drop  bool
	limit int // of letters in a batch

	letters []*Letter
	records []logs.Record
	bytes   int
	found   map[string]bool
	result  Result
}

func (p *posting) run(ctx context.Context, f Filter, visit func(*Letter) error) (Result, error) {
	p.result.Topics = map[string]int64{}
	p.found = map[string]bool{}
	err := p.store.Each(ctx, f, func(l *Letter) error {
		if len(f.IDs) > 0 {
			p.found[l.ID] = true
		}
		return visit(l)
	})
	if err == nil {
		err = p.flush(ctx)
	}
	if err == nil && f.Limit == 0 {
		for _, id := range f.IDs {
			if !p.found[id] && !slices.Contains(p.result.Missing, id) {
				p.result.Missing = append(p.result.Missing, id)
			}
		}
	}
	return p.result, err
}

func (p *posting) add(ctx context.Context, l *Letter, r logs.Record) error {
	if p.dry {
		p.done(l)
		return nil
	}
	p.letters = append(p.letters, l)
	if !p.drop {
		p.records = append(p.records, r)
	}
	p.bytes += len(l.Value)
	if len(p.letters) < p.limit && p.bytes < batchBytes {
		return nil
	}
	return p.flush(ctx)
}

func (p *posting) done(l *Letter) {
	p.result.Done++
	p.result.Topics[l.Topic]++
}

// flush publishes a batch, then answers what was acknowledged of it.
func (p *posting) flush(ctx context.Context) error {
	if len(p.letters) == 0 {
		return nil
	}
	letters, records := p.letters, p.records
	p.letters, p.records, p.bytes = nil, nil, 0
	if err := p.pace.wait(ctx, len(letters)); err != nil {
		return err
	}
	var broken error
	if !p.drop {
		letters, broken = p.publish(ctx, letters, records)
	}
	if len(letters) > 0 {
		if err := p.answer(ctx, letters); err != nil {
			return errors.Join(broken, err)
		}
	}
	return broken
}

// publish returns the letters whose originals were acknowledged, and the error
// that is not about one letter alone.
func (p *posting) publish(ctx context.Context, letters []*Letter, records []logs.Record) (acked []*Letter, broken error) {
	err := p.store.o.Writer.Write(ctx, records)
	if err == nil {
		return letters, nil
	}
	var batch *logs.BatchError
	if !errors.As(err, &batch) || len(batch.Failures()) == 0 {
		return nil, fmt.Errorf("replay %d letters: %w", len(letters), err)
	}
	failed := map[int]bool{}
	for _, f := range batch.Failures() {
		failed[f.Index] = true
		if logs.KindOf(f.Err) == logs.Permanent {
			p.result.leave(letters[f.Index], f.Err)
		} else if broken == nil {
			broken = fmt.Errorf("replay letter %q: %w", letters[f.Index].ID, f.Err)
		}
	}
	for i, l := range letters {
		if !failed[i] {
			acked = append(acked, l)
		}
	}
	return acked, broken
}

func (p *posting) answer(ctx context.Context, letters []*Letter) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	tombstones := make([]logs.Record, len(letters))
	for i, l := range letters {
		tombstones[i] = l.tombstone()
	}
	err := p.store.o.Writer.Write(ctx, tombstones)
	failed := map[int]bool{}
	var batch *logs.BatchError
	if errors.As(err, &batch) {
		for _, f := range batch.Failures() {
			failed[f.Index] = true
		}
	}
	for i, l := range letters {
		if err == nil || len(failed) > 0 && !failed[i] {
			p.done(l)
		}
	}
	switch {
	case err == nil:
		return nil
	case p.drop:
		return fmt.Errorf("write tombstones to the poison topic: %w", err)
	}
	return fmt.Errorf("write tombstones to the poison topic (the letters were replayed, and may be again): %w", err)
}
