package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// canaries are what `config canary --output json` shows.
type canaries struct {
	Canaries []canaryState `json:"canaries"`
	// Guard is who watches over them; empty: nobody.
	Guard string `json:"guard"`
	// Outcomes are of the last canary of each document.
	Outcomes []etcd.Outcome `json:"outcomes"`
}

// canaryState is one that runs.
type canaryState struct {
	Document string           `json:"document"`
	Revision int64            `json:"revision"`
	Base     int64            `json:"base"`
	Select   *config.Selector `json:"select,omitempty"`
	Rule     *config.Rule     `json:"rule,omitempty"`
	Author   string           `json:"author"`
	Message  string           `json:"message"`
	Begun    time.Time        `json:"begun,omitzero"`
	Until    time.Time        `json:"until,omitzero"`
	// Error says why it cannot be read.
	Error     string             `json:"error,omitempty"`
	Processes []app.CanaryHealth `json:"processes"`
}

func newCanaryState(c etcd.Canary) canaryState {
	s := canaryState{Document: c.Document, Revision: c.Revision, Processes: []app.CanaryHealth{}}
	if c.Err != nil {
		s.Error = c.Err.Error()
		return s
	}
	s.Base, s.Select, s.Rule = c.Config.Base, &c.Config.Select, &c.Config.Rule
	s.Author, s.Message, s.Begun, s.Until = c.Config.Author, c.Config.Message, c.Config.Begun, c.Config.Until
	return s
}

func readCanaries(cmd *cobra.Command, store *etcd.Store, e *config.Etcd, now time.Time) (*canaries, error) {
	list, err := store.Canaries(cmd.Context())
	if err != nil {
		return nil, err
	}
	all := &canaries{Canaries: []canaryState{}, Outcomes: []etcd.Outcome{}}
	for _, c := range list {
		state := newCanaryState(c)
		if c.Err == nil {
			list, err := lookAt(cmd, store, e, c, now)
			if err != nil {
				return nil, err
			}
			state.Processes = append(state.Processes, list...)
		}
		all.Canaries = append(all.Canaries, state)
	}
	if all.Guard, err = store.Guard(cmd.Context()); err != nil {
		return nil, err
	}
	outcomes, err := store.Outcomes(cmd.Context())
	all.Outcomes = append(all.Outcomes, outcomes...)
	return all, err
}

func (c *canaryFlags) showCanaries(cmd *cobra.Command) error {
	base, store, err := c.open(cmd)
	if err != nil {
		return err
	}
	defer store.Close()
	now := time.Now()
	all, err := readCanaries(cmd, store, base.Etcd, now)
	if err != nil {
		return err
	}
	if *c.output == "json" {
		return printJSON(cmd.OutOrStdout(), all)
	}
	out := cmd.OutOrStdout()
	if len(all.Canaries)+len(all.Outcomes) == 0 {
		fmt.Fprintln(out, "there is no canary, and there was none; begin one: logferry config canary FILE --percent 10")
		return nil
	}
	for i := range all.Canaries {
		all.Canaries[i].print(out, now)
		if all.Guard == "" {
			fmt.Fprintln(out, "  nobody watches over it: no transfer is alive, or none has the rights")
		} else {
			fmt.Fprintf(out, "  %s watches over it\n", oneLine(all.Guard))
		}
	}
	for _, o := range all.Outcomes {
		printOutcome(out, &o, now)
	}
	return nil
}

func (s *canaryState) print(out io.Writer, now time.Time) {
	fmt.Fprintln(out, s.headline(now))
	if s.Error != "" {
		return
	}
	t := newTable(out, "  NODE", "STATE", "ERRORS/MIN", "REFUSED", "LAG", "FAILS THE RULE")
	for _, h := range s.Processes {
		t.AppendRow([]any{
			"  " + oneLine(h.Name), h.State,
			fmt.Sprintf("%g, before %g", h.Under.ErrorsPerMinute, h.Before.ErrorsPerMinute),
			fmt.Sprintf("%s, before %s", share(h.Under.RefusedShare), share(h.Before.RefusedShare)),
			fmt.Sprintf("%gs, before %gs", h.Under.LagSeconds, h.Before.LagSeconds),
			oneLine(h.Failed),
		})
	}
	t.Render()
	fmt.Fprintf(out, "  the rule: at most twice what it was before, and %g errors a minute, %s refused, %s of lag more\n", s.Rule.ErrorsPerMinute, share(s.Rule.RefusedShare), s.Rule.Lag)
}

// headline is a canary on one line.
func (s *canaryState) headline(now time.Time) string {
	if s.Error != "" {
		return fmt.Sprintf("canary of %s at revision %d: %s; take it away: logferry config canary --cancel --document %[1]s", oneLine(s.Document), s.Revision, oneLine(s.Error))
	}
	line := fmt.Sprintf("canary of %s at revision %d, from %d, by %s, %s, ", oneLine(s.Document), s.Revision, s.Base, oneLine(s.Author), s.Select)
	if left := s.Until.Sub(now); left > 0 {
		line += "ends in " + left.Round(time.Second).String()
	} else {
		line += "its time has ended"
	}
	if s.Message != "" {
		line += ": " + oneLine(s.Message)
	}
	return line
}

func share(f float64) string { return fmt.Sprintf("%.3g%%", f*100) }

func printOutcome(out io.Writer, o *etcd.Outcome, now time.Time) {
	line := fmt.Sprintf("the last canary of %s, at revision %d by %s, was %s %s by %s", oneLine(o.Document), o.Revision, oneLine(o.Author), oneLine(o.How), ago(now, o.At), oneLine(o.By))
	fmt.Fprintln(out, line+oneLine(because(o)))
}

// because is what an outcome says beside how a canary ended.
func because(o *etcd.Outcome) string {
	var words string
	if o.Node != "" {
		words = ": " + o.Node
	}
	if o.Reason != "" {
		words += ": " + o.Reason
	}
	return words
}

// recent is how long what became of a canary is worth a line of the status.
const recent = 24 * time.Hour

// printCanaries prints a line for each canary, and for each that ended lately.
func printCanaries(cmd *cobra.Command, store *etcd.Store) error {
	list, err := store.Canaries(cmd.Context())
	if err != nil {
		return err
	}
	outcomes, err := store.Outcomes(cmd.Context())
	if err != nil {
		return err
	}
	out, now := cmd.OutOrStdout(), time.Now()
	for _, c := range list {
		state := newCanaryState(c)
		fmt.Fprintln(out, state.headline(now))
	}
	for _, o := range outcomes {
		if now.Sub(o.At) < recent {
			printOutcome(out, &o, now)
		}
	}
	return nil
}

// awaitCanary follows those that were given a canary until each has answered.
func (c *changing) awaitCanary(revision int64, names []string) (*waited, error) {
	key, role := c.base.Etcd.Key(c.document), config.RoleOf(c.document)
	answers := map[string]rejected{} // an answer counts although the canary is taken back then
	var ended error
	w, err := c.follow(func(members []etcd.Member) *waited {
		fleet := map[string]member{}
		for _, m := range readFleet(members) {
			if m.Role == role && m.State != "gone" && m.State != "stopped" {
				fleet[m.Name] = m
			}
		}
		w := newWaited()
		for _, name := range names {
			p := answerer{role, name}
			if m, alive := fleet[name]; alive {
				switch m.CanaryState(key, revision) {
				case app.CanaryRunning:
					answers[name] = rejected{answerer: p}
				case app.CanaryRejected:
					answers[name] = rejected{p, m.Report.Config.Error}
				}
			}
			switch answer, ok := answers[name]; {
			case !ok:
				w.Unanswered = append(w.Unanswered, p)
			case answer.Error != "":
				w.Rejected = append(w.Rejected, answer)
			default:
				w.Applied = append(w.Applied, p)
			}
		}
		if len(w.Unanswered) > 0 {
			if ended = c.canaryEnded(revision); ended != nil {
				return &waited{Applied: w.Applied, Rejected: w.Rejected, Unanswered: []answerer{}}
			}
		}
		return w
	})
	return w, errors.Join(err, ended)
}

// canaryEnded says that a canary has ended, and how.
func (c *changing) canaryEnded(revision int64) error {
	outcomes, err := c.store.Outcomes(c.cmd.Context())
	if err != nil {
		return nil // there is another look at the next report
	}
	for _, o := range outcomes {
		if o.Document == c.document && o.Revision == revision {
			return fmt.Errorf("the canary was %s", oneLine(o.How+because(&o)))
		}
	}
	return nil
}
