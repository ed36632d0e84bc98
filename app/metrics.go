package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/logferry/logferry/router/middleware"
)

// sink turns figures into metrics named logferry_<stage>_<noun>_<unit>. Labels
// are names of inputs, routes and topics, never a path or a line's content.
type sink struct {
	out    chan<- prometheus.Metric
	stage  string
	labels []string // names
	values []string
}

// with returns the sink with one more label.
func (s sink) with(label, value string) sink {
	s.labels = append(s.labels[:len(s.labels):len(s.labels)], label)
	s.values = append(s.values[:len(s.values):len(s.values)], value)
	return s
}

func (s sink) of(stage string) sink {
	s.stage = stage
	return s
}

type number interface {
	~int | ~int32 | ~int64 | ~uint64 | ~float64
}

func counter[N number](s sink, name, help string, value N) {
	emit(s, prometheus.CounterValue, name, help, float64(value))
}

func gauge[N number](s sink, name, help string, value N) {
	emit(s, prometheus.GaugeValue, name, help, float64(value))
}

func emit(s sink, kind prometheus.ValueType, name, help string, value float64) {
	desc := prometheus.NewDesc("logferry_"+s.stage+"_"+name, help, s.labels, nil)
	s.out <- prometheus.MustNewConstMetric(desc, kind, value, s.values...)
}

// Collect implements prometheus.Collector.
func (a *Agent) Collect(out chan<- prometheus.Metric) {
	t := a.source.Stats()
	s := sink{out: out, stage: "tail"}
	gauge(s, "files", "Files followed.", t.Files)
	gauge(s, "open_files", "Files with an open handle.", t.Open)
	gauge(s, "in_flight_bytes", "Memory of what was read and is not acknowledged.", t.InFlight)
	counter(s, "nacks_total", "Batches that were given back.", t.Nacks)
	counter(s.with("reason", "truncated"), "generations_total", "Files that began anew.", t.Truncated)
	counter(s.with("reason", "rewritten"), "generations_total", "Files that began anew.", t.Rewritten)
	counter(s.with("reason", "replaced"), "generations_total", "Files that began anew.", t.Replaced)
	counter(s, "rotations_total", "Files that changed or lost their name.", t.Rotations)
	counter(s, "lost_bytes_total", "Bytes known to have been cut off or deleted before they were read.", t.LostBytes)
	counter(s, "lost_ranges_total", "Ranges of files that these were in; the log names each.", t.LostRanges)
	counter(s, "skipped_bytes_total", "Holes at the beginning of files, which are passed over.", t.SkippedBytes)
	counter(s, "copies_total", "Copies of truncated or packed files that were recognised and read on.", t.Copies)
	gauge(s, "at_risk_files", "Files that will be deleted before they are read, at the present rate.", t.AtRisk)
	counter(s, "loss_warnings_total", "Files that were at risk once.", t.LossWarnings)
	gauge(s, "held_bytes", "Size of deleted files that are still read.", t.HeldBytes)
	counter(s, "read_errors_total", "Reads that failed.", t.ReadErrors)
	counter(s, "checkpoint_writes_total", "Checkpoints written.", t.CheckpointWrites)
	counter(s, "checkpoint_errors_total", "Checkpoints that could not be written.", t.CheckpointErrors)
	for name, in := range t.Inputs {
		s := s.with("input", name)
		gauge(s, "input_files", "Files of the input.", in.Files)
		gauge(s, "unread_bytes", "Bytes known to wait in files.", in.Unread)
		counter(s, "lines_total", "Lines read.", in.Lines)
		counter(s, "bytes_total", "Bytes read.", in.Bytes)
	}
	p := a.publisher.Stats()
	s = s.of("publisher")
	counter(s, "records_total", "Records acknowledged by all in-sync replicas.", p.Records)
	counter(s, "bytes_total", "Values of acknowledged records.", p.Bytes)
	counter(s, "failures_total", "Records whose publishing failed, each attempt counted.", p.Failed)
	counter(s, "refusals_total", "Records that the broker will never take.", p.Refused)
	gauge(s, "buffered_records", "Records in the client.", p.Buffered)
	for name, c := range a.router.Stats() {
		collectChain(s.of("chain").with("input", name), c)
	}
	collectConfig(s.of("config").with("service", "agent"), a.live.status())
}

// Collect implements prometheus.Collector.
func (t *Transfer) Collect(out chan<- prometheus.Metric) {
	s := sink{out: out}
	for name, r := range t.router.Stats() {
		route := s.with("route", name)
		collectChain(route.of("chain"), r.Chain)

		s := route.of("index")
		counter(s, "stored_documents_total", "Documents stored.", r.Bulker.Stored)
		counter(s, "conflict_documents_total", "Documents that were stored before.", r.Bulker.Conflicts)
		counter(s, "refused_documents_total", "Documents refused for their own sake.", r.Bulker.Refused)
		counter(s, "rescued_documents_total", "Refused documents that were stored in another form.", r.Bulker.Rescued)
		counter(s, "retried_documents_total", "Documents that had to wait.", r.Bulker.Retried)
		counter(s, "requests_total", "Requests sent.", r.Bulker.Requests)
		counter(s, "sent_bytes_total", "Bytes of requests, compressed.", r.Bulker.Bytes)
		gauge(s, "in_flight_requests", "Requests under way.", r.Bulker.InFlight)
		gauge(s, "latency_seconds", "Time that requests take, averaged over the last few.", r.Bulker.Latency.Seconds())
		gauge(s, "window_requests", "Requests that may be under way at once, as the control law has it.", r.Bulker.Window)
		gauge(s, "held", "1 while documents wait that the sink refuses whatever is in them.", truth(r.Bulker.Held != ""))
		gauge(s, "held_indices", "Indices that refuse everything while others are served.", r.Bulker.HeldCount)

		s = route.of("subscriber")
		counter(s, "records_total", "Records settled.", r.Subscriber.Records)
		counter(s, "bytes_total", "Keys and values of settled records.", r.Subscriber.Bytes)
		counter(s, "redeliveries_total", "Messages delivered again.", r.Subscriber.Redelivered)
		counter(s, "commits_total", "Commits of offsets.", r.Subscriber.Commits)
		counter(s, "commit_errors_total", "Commits that failed.", r.Subscriber.CommitErrors)
		counter(s, "rebalances_total", "Changes of the assignment.", r.Subscriber.Rebalances)
		counter(s, "expired_records_total", "Records that retention deleted before they were read.", r.Subscriber.Expired)
		gauge(s, "in_flight_bytes", "Memory of records fetched and not settled.", r.Subscriber.InFlightBytes)
		lag, age := map[string]int64{}, map[string]float64{}
		for _, p := range r.Subscriber.Partitions {
			lag[p.Topic] += p.Lag
			age[p.Topic] = max(age[p.Topic], p.LagSeconds)
		}
		for topic, records := range lag {
			s := s.with("topic", topic)
			gauge(s, "lag_records", "Records behind the end of the topic.", records)
			gauge(s, "lag_seconds", "Age of the oldest record that was fetched and is not settled.", age[topic])
		}
	}
	collectConfig(sink{out: out, stage: "config"}.with("service", "transfer"), t.live.status())
}

func collectChain(s sink, c middleware.Stats) {
	counter(s, "messages_total", "Messages handled to their end.", c.Messages)
	counter(s, "items_total", "Lines or records of handled messages.", c.Items)
	counter(s, "failures_total", "Messages that were given back.", c.Failures)
	counter(s, "retries_total", "Attempts after the first.", c.Retries)
	gauge(s, "waiting_messages", "Messages that wait for a retry.", c.Waiting)
	counter(s, "poisoned_items_total", "Lines or records sent to the poison topic.", c.Poisoned)
	counter(s, "dropped_items_total", "Lines or records dropped by on_reject: drop.", c.Dropped)
	counter(s, "throttled_seconds_total", "Time spent waiting for a throttle.", c.Throttled.Seconds())
	gauge(s, "breaker_open", "1 while the breaker is open or probes.", truth(c.Breaker != "closed"))
}

func collectConfig(s sink, l LiveStatus) {
	gauge(s, "revision", "Revision of the config in force.", l.Revision)
	gauge(s, "canary", "1 while a canary stands in place of a document.", truth(l.RunsCanary()))
	gauge(s, "rejected", "1 while a newer config is not valid.", truth(l.Error != ""))
	if !l.AppliedAt.IsZero() {
		gauge(s, "applied_timestamp_seconds", "When the config came into force.", float64(l.AppliedAt.UnixNano())/float64(time.Second))
	}
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
