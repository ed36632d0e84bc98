package poison

import (
	"context"
	"time"
)

// pace lets so many a second pass, by waiting; 0 is no limit.
type pace struct {
	rate float64
	next time.Time
}

// batch returns how many may be sent at once: a tenth of a second's worth.
func (p *pace) batch(limit int) int {
	if p.rate <= 0 {
		return limit
	}
	return max(1, min(limit, int(p.rate/10)))
}

// wait blocks until n may pass, or until ctx ends.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	pause := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
