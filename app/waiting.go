package app

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// waitFor asks a server until it answers, and says once that it does not and
// once that it does. The process goes on meanwhile; reached tells readiness.
type waitFor struct {
	name    string // for people: "kafka 127.0.0.1:9092"
	ping    func(context.Context) error
	log     *slog.Logger
	reached atomic.Bool
}

const (
	pingTimeout  = 5 * time.Second
	firstPing    = 250 * time.Millisecond
	slowestPing  = time.Second
	patienceOnce = 2 // pings that may fail before it is said: servers often start together
)

func (w *waitFor) run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPing, slowestPing
	for failures := 1; ; failures++ {
		err := w.once(ctx)
		if err == nil {
			if failures > patienceOnce {
				w.log.Info("reached " + w.name)
			}
			w.reached.Store(true)
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if failures == patienceOnce {
			w.log.Warn("cannot reach "+w.name+"; waiting for it, nothing is lost meanwhile", "error", err)
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *waitFor) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return w.ping(ctx)
}

// standstill is how long work may be in flight without any of it settling
// before a service no longer counts as ready.
const standstill = 10 * time.Second

// progress notices that nothing settles. Whoever asks for readiness is its
// clock.
type progress struct {
	mu      sync.Mutex
	settled uint64
	since   time.Time
}

// stuck says for how long work has been in flight without any settling; 0 when
// it is not in flight or moves.
func (p *progress) stuck(settled uint64, inFlight bool) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); !inFlight || settled != p.settled || p.since.IsZero() {
		p.settled, p.since = settled, now
	}
	if d := time.Since(p.since); d > standstill {
		return d.Round(time.Second)
	}
	return 0
}
