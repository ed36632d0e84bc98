package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/logferry/logferry/bench/report"
)

// topic is the name of the one topic of most brokers.
const topic = "bench"

// task is one run of one subject.
type task struct {
	files  string   // path to ship, or a glob
	topic  string   // to ship to; may hold the agent's fields
	broker string   // address
	topics []string // to index
	sink   string   // URL
	index  string
	batch  string // of the transfer's route, in YAML; empty leaves the defaults
	dir    string // the subject's own, empty
}

// subject is a program that is measured.
type subject struct {
	name    string // short, for pictures
	title   string
	program string
	// args writes what config the program needs and returns its arguments.
	args func(b *bench, t task) ([]string, error)
	// follows tells whether a shipper waits for new lines.
	follows bool
}

// present are those whose programs are there.
func (b *bench) present(all []subject) []subject {
	var there []subject
	for _, s := range all {
		if b.bins[s.program] != "" {
			there = append(there, s)
		}
	}
	return there
}

// eachRound measures each subject in turn, as often as there are rounds; each
// second round goes backwards.
func (b *bench) eachRound(all []subject, once func(s subject) (result, error)) ([]report.Program, error) {
	programs := make([]report.Program, len(all))
	for round := range b.rounds {
		for i := range all {
			if round%2 == 1 {
				i = len(all) - 1 - i
			}
			s := all[i]
			r, err := once(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.title, err)
			}
			b.say("%d/%d %-40s %s", round+1, b.rounds, s.title, r)
			programs[i] = report.Program{Name: s.name, Title: s.title, Rounds: append(programs[i].Rounds, r.round())}
		}
	}
	return programs, nil
}

// launchSubject starts a subject in an empty folder.
func (b *bench) launchSubject(s subject, t task) (*process, error) {
	var err error
	if t.dir, err = os.MkdirTemp(b.tmp, s.program+"-"); err != nil {
		return nil, err
	}
	args, err := s.args(b, t)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", s.program, err)
	}
	return b.launch(s.program, args...)
}

// clear removes folders of the run: a round's records are half a gigabyte.
func (b *bench) clear(pattern string) error {
	found, err := filepath.Glob(filepath.Join(b.tmp, pattern))
	for _, path := range found {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// result is what one run took.
type result struct {
	usage
	items   int
	elapsed time.Duration // from the program's start to the last item's arrival
	others  map[string]float64
}

func (r result) perItem() float64 { return float64(r.cpu) / float64(r.items) }

func (r result) round() report.Round {
	return report.Round{CPU: r.perItem(), Rate: float64(r.items) / r.elapsed.Seconds(), Peak: r.peak, Others: r.others}
}

func (r result) String() string {
	return fmt.Sprintf("%.0f ns an item, %.0f/s, %d MiB", r.perItem(), r.round().Rate, r.peak>>20)
}

// counted is what is waited for: count is asked until it says want.
type counted struct {
	want  int
	every time.Duration // between two questions, which cost the server
	count func() (int, error)
	own   bool // the process itself is asked, and cannot be once it has ended
}

// await waits; p's end is an error, as is a stall of a minute.
func (c counted) await(ctx context.Context, p *process) error {
	have, moved := 0, time.Now()
	for have < c.want {
		if err := p.pause(ctx, c.every); err != nil {
			return err
		}
		n, err := c.count()
		if err != nil {
			return err
		}
		if n > have {
			have, moved = n, time.Now()
		}
		if time.Since(moved) > time.Minute {
			return fmt.Errorf("%s stalled at %d of %d: %s", p.name, have, c.want, p.lastWords())
		}
	}
	return nil
}

// finish waits for c, takes what the processes used, stops them, and looks
// again: more than was wanted is an error.
func finish(ctx context.Context, c counted, all ...*process) (result, error) {
	err := c.await(ctx, all[0])
	r := result{items: c.want, elapsed: time.Since(all[0].start)}
	for _, p := range all {
		if err == nil {
			var u usage
			u, err = p.usage()
			r.cpu, r.peak = r.cpu+u.cpu, r.peak+u.peak
		}
	}
	for _, p := range all {
		err = errors.Join(err, p.stop())
	}
	if err != nil || c.own {
		return r, err
	}
	have, err := c.count()
	if err != nil {
		return result{}, err
	}
	if have != c.want {
		return result{}, fmt.Errorf("%s: %d arrived, %d were sent", all[0].name, have, c.want)
	}
	return r, nil
}
