package selftest

import (
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/logferry/logferry/handlers/logs"
)

// mark says what may become of a line.
type mark uint8

const (
	owed  mark = iota // it must arrive
	raced             // written between the copy and the cut of a copytruncate
	cut               // its file was cut or removed before it had arrived
)

// account is what is known of one line.
type account struct {
	mark mark
	seen uint16
	id   uint64 // hash of the identity that it first arrived with
}

// ledger knows each line. Its methods may be called from any goroutine.
type ledger struct {
	seed uint64

	mu        sync.Mutex
	streams   [][]account
	arrived   int // different lines
	records   int
	renamed   int // repeats with another identity
	corrupted int // records that are no line, or not the line that they say
	first     string
	anew      string
}

func newLedger(seed uint64, streams int) *ledger {
	return &ledger{seed: seed, streams: make([][]account, streams)}
}

// issue takes note that the next line of a stream is being written.
func (l *ledger) issue(stream int) (number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[stream] = append(l.streams[stream], account{})
	return len(l.streams[stream]) - 1
}

// standing returns how many lines are written, and how many of them have not
// arrived.
func (l *ledger) standing() (written, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		written += len(s)
	}
	return written, written - l.arrived
}

// owing returns how many lines must still arrive.
func (l *ledger) owing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		for i := range s {
			if s[i].seen == 0 && s[i].mark == owed {
				n++
			}
		}
	}
	return n
}

// haveArrived says whether all of a stream's lines have.
func (l *ledger) haveArrived(stream int, numbers []int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range numbers {
		if l.streams[stream][n].seen == 0 {
			return false
		}
	}
	return true
}

// excuse marks lines that need not arrive any more.
func (l *ledger) excuse(stream int, numbers []int, why mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range numbers {
		if a := &l.streams[stream][n]; a.seen == 0 || why == raced {
			a.mark = why
		}
	}
}

// take notes the records of a poll.
func (l *ledger) take(p *logs.Poll) error {
	var scratch []byte
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range p.Records {
		r := &p.Records[i]
		l.records++
		stream, number, ok := readLine(r.Value, l.seed, scratch)
		if !ok || stream < 0 || stream >= len(l.streams) || number < 0 || number >= len(l.streams[stream]) {
			l.corrupted++
			if l.first == "" {
				l.first = string(r.Value[:min(len(r.Value), 60)]) + " at " + string(r.Meta.Pos) + " of " + string(r.Meta.Path)
			}
			continue
		}
		a := &l.streams[stream][number]
		id := xxhash.Sum64String(string(r.Meta.File) + " " + string(r.Meta.Pos))
		switch {
		case a.seen == 0:
			l.arrived++
			a.id = id
		case a.id != id:
			if l.renamed++; l.anew == "" {
				l.anew = fmt.Sprintf("line %d of stream %d at %s of %s in %s", number, stream, r.Meta.Pos, r.Meta.File, r.Meta.Path)
			}
		}
		a.seen++
	}
	return nil
}

// report fills in what the ledger knows.
func (l *ledger) report(r *Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for stream, lines := range l.streams {
		r.Written += len(lines)
		for number := range lines {
			a := &lines[number]
			switch {
			case a.mark == raced:
				r.Raced++
				if a.seen == 0 {
					r.RaceLost++
				}
			case a.seen > 0:
			case a.mark == cut:
				r.CutUnread++
			default:
				if r.Lost++; len(r.FirstLost) < 10 {
					r.FirstLost = append(r.FirstLost, lineName{stream, number})
				}
			}
		}
	}
	r.Arrived, r.Repeated, r.RepeatedAnew = l.arrived, l.records-l.corrupted-l.arrived, l.renamed
	r.Corrupted, r.FirstCorrupted, r.FirstAnew = l.corrupted, l.first, l.anew
	if r.Written > 0 {
		r.RaceShare = float64(r.RaceLost) / float64(r.Written)
	}
}
