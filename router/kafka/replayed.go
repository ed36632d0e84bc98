package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/logs"
)

// readReplayed reads a header that a replayed letter carries. One that cannot
// be read is none.
func readReplayed(h *kgo.RecordHeader, m *logs.Meta) {
	if m.Replayed == nil {
		m.Replayed = new(logs.Replayed)
	}
	switch h.Key {
	case logs.HeaderOrigin:
		m.Replayed.Place, m.Replayed.Known = logs.ParsePlace(h.Value)
	case logs.HeaderTime:
		m.Replayed.Time, _ = time.Parse(time.RFC3339Nano, string(h.Value))
	}
}

// ownTime gives a replayed letter the time of the record that it was.
func ownTime(r *logs.Record) {
	if again := r.Meta.Replayed; again != nil && !again.Time.IsZero() {
		r.Time = again.Time
	}
}
