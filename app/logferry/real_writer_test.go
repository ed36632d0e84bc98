//go:build real

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/logferry/logferry/app/oracle"
)

// writer writes the lines of a ledger to files that are renamed now and then,
// below a writer that may go on with its handle, and are kept: all is owed.
type writer struct {
	ledger *oracle.Ledger
	dir    string
	files  int
	rnd    *rand.Rand
	wrote  chan struct{} // a nudge after each chunk

	open  []*os.File
	lines []int // since the last rotation
	turns int
}

const rotateAfter = 20_000 // lines

// write writes total lines over a time, in two hundred bursts, and goes on so
// until it is told that it is enough.
func (w *writer) write(total int, over time.Duration, enough <-chan struct{}) error {
	w.open, w.lines = make([]*os.File, w.files), make([]int, w.files)
	chunk := max(total/200, 1)
	tick := time.NewTicker(over / 200)
	defer tick.Stop()
	for written := 0; ; written += chunk {
		select {
		case <-enough:
			if written >= total {
				return w.close()
			}
		default:
		}
		if err := w.chunk(w.rnd.IntN(w.files), chunk); err != nil {
			return err
		}
		select {
		case w.wrote <- struct{}{}:
		default:
		}
		<-tick.C
	}
}

func (w *writer) close() error {
	for _, f := range w.open {
		if f == nil {
			continue
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) name(file int) string { return filepath.Join(w.dir, fmt.Sprintf("app-%d.log", file)) }

// chunk writes n lines in two calls, the first of which mostly ends inside a line.
func (w *writer) chunk(file, n int) error {
	first := w.ledger.Claim(n)
	var b []byte
	for id := first; id < first+n; id++ {
		b = append(w.ledger.Append(b, id), '\n')
	}
	renamed := false
	if w.lines[file] += n; w.lines[file] > rotateAfter {
		w.lines[file], renamed = n, true
		w.turns++
		if err := os.Rename(w.name(file), fmt.Sprintf("%s.%d", w.name(file), w.turns)); err != nil {
			return err
		}
	}
	if w.open[file] == nil {
		f, err := os.OpenFile(w.name(file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		w.open[file] = f
	}
	cut := w.rnd.IntN(len(b))
	for _, part := range [][]byte{b[:cut], b[cut:]} {
		if _, err := w.open[file].Write(part); err != nil {
			return err
		}
	}
	w.ledger.Owe(first, n)
	if !renamed {
		return nil
	}
	f := w.open[file]
	w.open[file] = nil
	return f.Close()
}
