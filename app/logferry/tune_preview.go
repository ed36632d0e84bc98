package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/app/preview"
	"github.com/logferry/logferry/config"
)

// previewed is what --output json prints.
type previewed struct {
	Kind     string           `json:"kind"`
	Name     string           `json:"name"`
	Document string           `json:"document"`
	Settings []config.Setting `json:"settings"`
	// From and To are the time that is replayed.
	From      time.Time          `json:"from"`
	To        time.Time          `json:"to"`
	Processes []previewedProcess `json:"processes"`
	// Silent are live processes that have recorded nothing of it.
	Silent []string `json:"silent,omitempty"`
	// Recorded is what was, Changed what would have been.
	Recorded previewedSum `json:"recorded"`
	Changed  previewedSum `json:"changed"`
	// Unknown says what this cannot tell.
	Unknown []string `json:"unknown"`
}

type previewedProcess struct {
	Node     string       `json:"node"`
	Recorded preview.Flow `json:"recorded"`
	Changed  preview.Flow `json:"changed"`
}

// previewedSum is over all processes. Outages and refusals are replayed in both.
type previewedSum struct {
	Flow     preview.Flow      `json:"flow"`
	Requests *preview.Requests `json:"requests,omitempty"`
	Outages  preview.Outages   `json:"outages"`
	Refusals preview.Refusals  `json:"refusals"`
}

// replay says what the values would have meant to the processes that read document.
func (f *found) replay(document string, settings []config.Setting, data []byte) error {
	entries, err := config.Entries(f.base, document, data, f.kind)
	if err != nil {
		return err
	}
	before, after := preview.ValuesOf(f.entries[document]), preview.ValuesOf(entries[f.name])
	p := &previewed{Kind: f.kind, Name: f.name, Document: document, Settings: settings}
	series, err := f.recorded(document, p)
	if err != nil {
		return err
	}
	if len(series) == 0 {
		return fmt.Errorf("nothing is recorded of %s %q yet by those that read %s (%d live): a process writes what it did once a minute, when it did something", f.kind, f.name, document, len(p.Silent))
	}
	p.replay(series, before, after)
	p.unknown(series, before, after)
	if *f.output == "json" {
		return printJSON(f.cmd.OutOrStdout(), p)
	}
	p.print(f.cmd.OutOrStdout(), before, after)
	return nil
}

// recorded returns the series of the processes whose input or route is that of
// document.
func (f *found) recorded(document string, p *previewed) ([]*preview.Series, error) {
	ctx := f.cmd.Context()
	role := map[string]string{"input": "agent", "route": "transfer"}[f.kind]
	members, err := f.store.Fleet(ctx)
	if err != nil {
		return nil, err
	}
	rates, err := f.store.Rates(ctx, role)
	if err != nil {
		return nil, err
	}
	var list []*preview.Series
	for _, m := range members {
		var report app.Report
		if !m.Alive || m.Role != role || f.node != "" && f.node != m.Name || json.Unmarshal(m.Data, &report) != nil || f.definedBy(report.Keys) != document {
			continue
		}
		rec, err := preview.Decode(rates[m.Name])
		var s *preview.Series
		if err == nil {
			s = rec.Part(f.name)
		}
		if s == nil || rec.Steps < 2 {
			p.Silent = append(p.Silent, m.Name)
			continue
		}
		list = append(list, s)
		p.Processes = append(p.Processes, previewedProcess{Node: m.Name})
		from := rec.End.Add(-time.Duration(rec.Steps) * preview.Step)
		if p.From.IsZero() || from.Before(p.From) {
			p.From = from
		}
		if rec.End.After(p.To) {
			p.To = rec.End
		}
	}
	return list, nil
}

// definedBy is the document that has the last word on the entry, of those that
// a process reads, in the order in which they are merged.
func (f *found) definedBy(keys []string) string {
	by := ""
	for _, key := range keys {
		document := strings.TrimPrefix(key, f.base.Etcd.Prefix+"/")
		if f.entries[document] != nil {
			by = document
		}
	}
	return by
}

func (p *previewed) replay(series []*preview.Series, before, after preview.Values) {
	input := p.Kind == "input"
	var was, would []preview.Flow
	for i, s := range series {
		one := &p.Processes[i]
		one.Recorded = s.Recorded(input)
		one.Changed = one.Recorded
		if before.Throttle != after.Throttle {
			one.Changed = s.Throttled(input, after.Throttle)
		}
		was, would = append(was, one.Recorded), append(would, one.Changed)
		p.Recorded.add(s, before, s.RecordedRequests(), input)
		requests := s.RecordedRequests()
		if before.Batch != after.Batch {
			requests = s.Batched(after.Batch)
		}
		p.Changed.add(s, after, requests, input)
	}
	p.Recorded.Flow, p.Changed.Flow = preview.Sum(was), preview.Sum(would)
	slices.SortStableFunc(p.Processes, func(a, b previewedProcess) int {
		return cmp.Or(cmp.Compare(b.Changed.Delay, a.Changed.Delay), cmp.Compare(b.Recorded.Lines, a.Recorded.Lines))
	})
}

// add takes another process's part.
func (o *previewedSum) add(s *preview.Series, v preview.Values, r preview.Requests, input bool) {
	out := s.Outages(v)
	o.Outages.Count += out.Count
	o.Outages.Opened += out.Opened
	o.Outages.Attempts += out.Attempts
	o.Outages.GivenUp += out.GivenUp
	o.Outages.Longest, o.Outages.Idle = max(o.Outages.Longest, out.Longest), max(o.Outages.Idle, out.Idle)
	if input {
		v.Poison = config.Default[config.Route]().Poison
		v.Poison.MaxRatio = 1 // an agent's letters have no such limit
	}
	refused := s.Refusals(v.Poison)
	o.Refusals.Poisoned += refused.Poisoned
	o.Refusals.Dropped += refused.Dropped
	o.Refusals.Waiting += refused.Waiting
	o.Refusals.Held = max(o.Refusals.Held, refused.Held)
	if input {
		return
	}
	if o.Requests == nil {
		o.Requests = &preview.Requests{}
	}
	docs := o.Requests.Docs*o.Requests.PerSecond + r.Docs*r.PerSecond
	o.Requests.PerSecond += r.PerSecond
	o.Requests.UnderWay = max(o.Requests.UnderWay, r.UnderWay)
	if o.Requests.PerSecond > 0 {
		o.Requests.Docs = docs / o.Requests.PerSecond
	}
}

// unknown notes what the replay cannot tell.
func (p *previewed) unknown(series []*preview.Series, before, after preview.Values) {
	say := func(format string, args ...any) { p.Unknown = append(p.Unknown, fmt.Sprintf(format, args...)) }
	say("what was in less than %s is seen as if it had come evenly in that time", preview.Step)
	if t := after.Throttle; before.Throttle != t {
		busiest := 0.0
		for _, s := range series {
			busiest = max(busiest, s.Busiest())
		}
		if t.LinesPerSecond == 0 && t.BytesPerSecond == 0 || t.LinesPerSecond > busiest || t.BytesPerSecond > 0 && t.LinesPerSecond == 0 {
			say("whether the sink takes more than the %s lines/s that one process was seen to pass at most: it is replayed as if it took everything", number(busiest))
		}
		if len(series) > 1 {
			say("a limit is for each process by itself: %d of them may pass %d times as much together", len(series), len(series))
		}
		if t.By != "all" {
			say("how the lines are divided by %s: one limit over all of them is replayed, which holds back more", t.By)
		}
		if t.Burst != before.Throttle.Burst {
			say("what throttle.burst does, which is less than that")
		}
	}
	if before.Batch != after.Batch {
		reckoned := 0.0
		for _, s := range series {
			reckoned += s.Batched(before.Batch).PerSecond
		}
		say("what makes requests go out earlier: with the values in force the same reckoning gives %s requests/s, and %s were recorded", number(reckoned), number(p.Recorded.Requests.PerSecond))
		say("whether Elasticsearch takes requests of another size as fast, and the size of bodies beyond the records' bytes (%d bytes for each document are assumed)", 300)
		if after.Batch.InFlight != before.Batch.InFlight {
			say("what more or fewer requests under way do to how long each takes")
		}
	}
	if before.Retry != after.Retry || before.Breaker != after.Breaker {
		if p.Recorded.Outages.Count == 0 {
			say("anything about an outage, since there was none: no %s in which attempts failed and no line passed", preview.Step)
		} else {
			say("when within %s an outage began and ended, what failed beside lines that passed, jitter, and whom another's success wakes earlier", preview.Step)
		}
	}
	if before.Poison != after.Poison {
		if p.Recorded.Refusals == (preview.Refusals{}) {
			say("anything about refusals, since there were none")
		} else {
			say("whether what would have waited would have been taken in the end, and what waited already for that reason")
		}
	}
}

func number(f float64) string {
	if f < 10 && f != math.Trunc(f) {
		return fmt.Sprintf("%.1f", f)
	}
	return humanize.Comma(int64(math.Round(f)))
}

func lasts(d time.Duration) string {
	if d >= 1000*time.Hour {
		return "more than 1000h"
	}
	return config.Duration(d.Truncate(time.Second / 10)).String()
}

const mostProcesses = 5

func (p *previewed) print(out io.Writer, before, after preview.Values) {
	var names []string
	for _, one := range p.Processes[:min(len(p.Processes), mostProcesses)] {
		names = append(names, oneLine(one.Node))
	}
	if more := len(p.Processes) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	fmt.Fprintf(out, "%s %s from %s to %s (%s), as recorded by %s\n\n", p.Kind, oneLine(p.Name),
		p.From.Local().Format(time.TimeOnly), p.To.Local().Format(time.TimeOnly), lasts(p.To.Sub(p.From)), strings.Join(names, ", "))
	t := newTable(out, "", "RECORDED", "WITH THE CHANGE")
	row := func(name string, was, would any) { t.AppendRow([]any{name, was, would}) }
	was, would := &p.Recorded, &p.Changed
	row("lines", number(was.Flow.Lines), number(would.Flow.Lines))
	row("most lines/s of 10 s", number(was.Flow.Busiest), number(would.Flow.Busiest))
	row("most lines that waited", number(was.Flow.Backlog), number(would.Flow.Backlog))
	row("lines that wait at the end", number(was.Flow.BacklogAtEnd), number(would.Flow.BacklogAtEnd))
	row("longest delay", lasts(was.Flow.Delay), lasts(would.Flow.Delay))
	if before.Batch != after.Batch {
		row("requests/s", number(was.Requests.PerSecond), number(would.Requests.PerSecond))
		row("documents in each", number(was.Requests.Docs), number(would.Requests.Docs))
		row("requests under way", fmt.Sprintf("%.1f of %d", was.Requests.UnderWay, before.Batch.InFlight), fmt.Sprintf("%.1f of %d", would.Requests.UnderWay, after.Batch.InFlight))
		row("longest wait for company", before.Batch.MaxWait, after.Batch.MaxWait)
	}
	if was.Outages.Count > 0 && (before.Retry != after.Retry || before.Breaker != after.Breaker) {
		row(fmt.Sprintf("attempts in outages (%d, up to %s)", was.Outages.Count, lasts(was.Outages.Longest)), was.Outages.Attempts, would.Outages.Attempts)
		if p.Kind == "route" {
			row("outages that open the breaker", was.Outages.Opened, would.Outages.Opened)
		}
		row("longest wait after one", lasts(was.Outages.Idle), lasts(would.Outages.Idle))
		row("outages after which lines were given up", was.Outages.GivenUp, would.Outages.GivenUp)
	}
	if before.Poison != after.Poison {
		row("letters in the poison topic", number(float64(was.Refusals.Poisoned)), number(float64(would.Refusals.Poisoned)))
		row("refused and dropped", number(float64(was.Refusals.Dropped)), number(float64(would.Refusals.Dropped)))
		row("refused and waiting", number(float64(was.Refusals.Waiting)), number(float64(would.Refusals.Waiting)))
		row("time in which refused lines wait", lasts(was.Refusals.Held), lasts(would.Refusals.Held))
	}
	t.Render()
	if len(p.Processes) > 1 && before.Throttle != after.Throttle {
		fmt.Fprintln(out)
		t := newTable(out, "NODE", "LINES", "WAIT AT THE END", "LONGEST DELAY", "WITH THE CHANGE", "WAIT AT THE END", "LONGEST DELAY")
		for _, one := range p.Processes[:min(len(p.Processes), mostProcesses)] {
			t.AppendRow([]any{
				oneLine(one.Node), number(one.Recorded.Lines), number(one.Recorded.BacklogAtEnd), lasts(one.Recorded.Delay),
				number(one.Changed.Lines), number(one.Changed.BacklogAtEnd), lasts(one.Changed.Delay),
			})
		}
		t.Render()
	}
	if n := len(p.Silent); n > 0 {
		fmt.Fprintf(out, "\nof %d that read %s nothing is recorded\n", n, oneLine(p.Document))
	}
	fmt.Fprintln(out, "\nIt cannot tell:")
	for _, u := range p.Unknown {
		fmt.Fprintln(out, "-", u)
	}
}
