package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// topic is the name of the one topic of each broker.
const topic = "bench"

// task is one run of one subject.
type task struct {
	file   string // to ship
	broker string // address
	sink   string // URL
	dir    string // the subject's own, empty
}

// subject is a program that is measured.
type subject struct {
	title   string
	program string
	// args writes what config the program needs and returns its arguments.
	args func(b *bench, t task) ([]string, error)
	// follows tells whether a shipper waits for new lines.
	follows bool
}

// row is what a subject's rounds took.
type row struct {
	subject
	results []result
}

// rows holds those of all whose programs are there.
func (b *bench) rows(all []subject) []*row {
	var rows []*row
	for _, s := range all {
		if b.bins[s.program] != "" {
			rows = append(rows, &row{subject: s})
		}
	}
	return rows
}

// eachRound measures each row's subject in turn, as often as there are rounds.
func (b *bench) eachRound(rows []*row, once func(s subject) (result, error)) error {
	for round := range b.rounds {
		for _, row := range rows {
			r, err := once(row.subject)
			if err != nil {
				return err
			}
			b.say("%d/%d %-10s %v an item, %.0f/s, %d MiB", round+1, b.rounds, row.program, r.perItem(), r.perSecond(), r.peak>>20)
			row.results = append(row.results, r)
		}
	}
	return nil
}

// launchSubject starts a subject in an empty folder.
func (b *bench) launchSubject(s subject, t task) (*process, error) { return b.launchTask(s, &t) }

// launchTask is launchSubject, and leaves the folder in t.
func (b *bench) launchTask(s subject, t *task) (*process, error) {
	var err error
	if t.dir, err = os.MkdirTemp(b.tmp, s.program+"-"); err != nil {
		return nil, err
	}
	args, err := s.args(b, *t)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", s.program, err)
	}
	return b.launch(s.program, args...)
}

// result is what one run took.
type result struct {
	usage
	items   int
	elapsed time.Duration // from the program's start to the last item's arrival
}

func (r result) perItem() time.Duration { return r.cpu / time.Duration(r.items) }
func (r result) perSecond() float64     { return float64(r.items) / r.elapsed.Seconds() }

// measure waits until count says want, takes p's usage, stops p, and looks
// again: more than want is an error, as is a stall of a minute.
func (p *process) measure(ctx context.Context, want int, count func() (int, error)) (result, error) {
	have, moved := 0, time.Now()
	for have < want {
		if err := p.pause(ctx, 10*time.Millisecond); err != nil {
			return result{}, errors.Join(err, p.stop())
		}
		n, err := count()
		if err != nil {
			return result{}, errors.Join(err, p.stop())
		}
		if n > have {
			have, moved = n, time.Now()
		}
		if time.Since(moved) > time.Minute {
			return result{}, errors.Join(fmt.Errorf("%s stalled at %d of %d: %s", p.name, have, want, p.lastWords()), p.stop())
		}
	}
	r := result{items: want, elapsed: time.Since(p.start)}
	u, err := p.usage()
	if err := errors.Join(err, p.stop()); err != nil {
		return result{}, err
	}
	r.usage = u
	if have, err = count(); err != nil {
		return result{}, err
	}
	if have != want {
		return result{}, fmt.Errorf("%s: %d arrived, %d were sent", p.name, have, want)
	}
	return r, nil
}
