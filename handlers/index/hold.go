package index

import (
	"maps"
	"sync/atomic"
	"time"

	"github.com/logferry/logferry/handlers/logs"
)

// maxHeld bounds the indices that are remembered as held. A template that makes
// more names than that, each refused, is served without: each document asks for
// itself then.
const maxHeld = 1000

// held is an index that refuses whatever it is given: it is read-only or
// closed, missing where none is made by itself, or not ours to write. It is a
// breaker of its own: until it takes a document again, its documents fail
// without being sent, but for one request each breaker.open_for, which asks.
// Other indices of the route are served meanwhile.
type held struct {
	err   *logs.HeldError
	since time.Time
	next  atomic.Int64 // unix nanoseconds from which a request may ask again
}

// claim says whether the caller's request is the one that asks now.
func (h *held) claim(now time.Time, pause time.Duration) bool {
	next := h.next.Load()
	return now.UnixNano() >= next && h.next.CompareAndSwap(next, now.Add(pause).UnixNano())
}

// holds are the held indices by name. The map is immutable; the bulker's
// goroutine replaces it, workers read it.
type holds struct {
	atomic.Pointer[map[string]*held]
}

func (h *holds) all() map[string]*held {
	if m := h.Load(); m != nil {
		return *m
	}
	return nil
}

// hold takes note of what a request says about indices: which refused
// everything, and which took a document.
func (b *Bulker) hold(v *verdicts, pause time.Duration) {
	have := b.held.all()
	var next map[string]*held
	change := func() {
		if next == nil {
			if next = maps.Clone(have); next == nil {
				next = map[string]*held{}
			}
		}
	}
	for name := range v.open {
		if h := have[name]; h != nil {
			change()
			delete(next, name)
			b.logger.Info("an index takes documents again", "index", name, "held_for", time.Since(h.since).Round(time.Millisecond))
		}
	}
	for name, err := range v.shut {
		if have[name] != nil || v.open[name] {
			continue
		}
		change()
		if len(next) >= maxHeld {
			break
		}
		h := &held{err: err, since: time.Now()}
		h.next.Store(h.since.Add(pause).UnixNano())
		next[name] = h
		b.logger.Warn("an index refuses documents, which wait; others are served", "index", name, "reason", err.Err)
	}
	if next != nil {
		b.held.Store(&next)
	}
}

// gate decides for one request which held indices it asks.
type gate struct {
	held   map[string]*held
	pause  time.Duration
	asking map[string]bool
}

// closed returns the error for a document of an index that is held and that
// this request does not ask, or nil.
func (g *gate) closed(name []byte) error {
	h := g.held[string(name)]
	if h == nil || g.asking[string(name)] {
		return nil
	}
	if h.claim(time.Now(), g.pause) {
		if g.asking == nil {
			g.asking = map[string]bool{}
		}
		g.asking[string(name)] = true
		return nil
	}
	return h.err
}
