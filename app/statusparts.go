package app

import "github.com/logferry/logferry/router/middleware"

// parts are the inputs, for reports.
func (a *Agent) parts() (files int, parts []PartReport, also []seen) {
	t := a.source.Stats()
	for name, chain := range a.router.Stats() {
		p := PartReport{Name: name, Figures: chainFigures(chain)}
		in := t.Inputs[name]
		p.Lines, p.Lag, p.done = in.Lines, in.Unread, in.Bytes
		parts = append(parts, p)
	}
	return t.Files, parts, []seen{{t.LastError, t.LastErrorAt}}
}

// parts are the routes, for reports.
func (t *Transfer) parts() (files int, parts []PartReport, also []seen) {
	for name, r := range t.router.Stats() {
		p := PartReport{Name: name, Figures: chainFigures(r.Chain)}
		p.Lines, p.done = uint64(r.Subscriber.Records), uint64(r.Subscriber.Records)
		for _, partition := range r.Subscriber.Partitions {
			p.Lag += partition.Lag
		}
		p.Held = r.Bulker.Held
		p.mention(r.Bulker.LastError, r.Bulker.LastErrorTime)
		parts = append(parts, p)
	}
	return 0, parts, nil
}

func chainFigures(c middleware.Stats) Figures {
	f := Figures{
		Failures: c.Failures, Retries: c.Retries, Waiting: c.Waiting,
		Poisoned: c.Poisoned, Dropped: c.Dropped, Breaker: c.Breaker,
	}
	f.mention(c.LastError, c.LastTime)
	return f
}
