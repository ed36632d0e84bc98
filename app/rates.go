package app

import (
	"context"
	"time"

	"github.com/logferry/logferry/app/preview"
	"github.com/logferry/logferry/config/etcd"
)

// rates records what the inputs or routes of a process do, from their counters,
// so that nothing on a line's way knows of it.
type rates struct {
	recorder *preview.Recorder
	counts   func() []preview.Count
}

func newRates(counts func() []preview.Count) *rates {
	return &rates{preview.NewRecorder(), counts}
}

func (r *rates) run(ctx context.Context) error {
	tick := time.NewTicker(preview.Step)
	defer tick.Stop()
	for now := time.Now(); ; {
		r.recorder.Note(now, r.counts())
		select {
		case now = <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// bytes is the recording for etcd, or nil when it tells nothing yet.
func (r *rates) bytes() []byte {
	if rec := r.recorder.Recording(); rec != nil && rec.Steps > 1 {
		return rec.Encode(etcd.MaxReport)
	}
	return nil
}

// counts are the inputs' since the start.
func (a *Agent) counts() []preview.Count {
	inputs := a.source.Stats().Inputs
	var list []preview.Count
	for name, chain := range a.router.Stats() {
		in := inputs[name]
		list = append(list, preview.Count{
			Name: name, Lines: in.Lines, Bytes: in.Bytes, Backlog: uint64(max(in.Unread, 0)),
			Refused: chain.Poisoned + chain.Dropped, Failed: chain.Retries,
		})
	}
	return list
}

// counts are the routes' since the start.
func (t *Transfer) counts() []preview.Count {
	var list []preview.Count
	for name, r := range t.router.Stats() {
		c := preview.Count{
			Name: name, Lines: uint64(r.Subscriber.Records), Bytes: uint64(r.Subscriber.Bytes),
			Refused: r.Chain.Poisoned + r.Chain.Dropped, Failed: r.Chain.Retries,
			Requests: uint64(r.Bulker.Requests), LatencyMillis: uint64(r.Bulker.Latency.Milliseconds()),
		}
		for _, p := range r.Subscriber.Partitions {
			c.Backlog += uint64(max(p.Lag, 0))
		}
		list = append(list, c)
	}
	return list
}
