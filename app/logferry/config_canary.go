package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// canaryFlags are those of `config canary`.
type canaryFlags struct {
	changeFlags
	document string
	cancel   bool
	lasts    time.Duration
	selector config.Selector
	labels   []string
	rule     config.Rule
	// durations and the share of the rule, as flags have them
	lag, notReady, gone, promoteAfter time.Duration
	refusedPercent                    float64
}

func newConfigCanary() *cobra.Command {
	var c canaryFlags
	cmd := &cobra.Command{
		Use:   "canary [FILE]",
		Short: "Give a document to some processes first; it is taken back by itself when they fare worse",
		Long: `Check a file, show how it differs from the document in etcd, and give it to some
of the processes that read the document, for a time. All others keep the
document. Without FILE, show the canaries that there are, and what became of
the last ones.

The canary, its rule and its end are in etcd, and the transfers watch over it:
this command and its terminal can be gone. It is taken back when a process
under it rejects it, is gone, restarts again and again, is not ready, or has
more errors, refused lines or lag than the rule allows: twice what that process
had before, and as much more as the --allow flags say. It is taken back when
its time ends, too. 'logferry config promote' makes it the document instead.`,
		Example: `  logferry config canary inputs.yaml --nodes web-1,web-2 -m 'nginx too' --wait
  logferry config canary routes.yaml --document transfer --percent 10 --for 1h
  logferry config canary inputs.yaml --label tier=web
  logferry config canary
  logferry config canary --cancel`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(cmd, fmt.Errorf("write it as: %s", cmd.UseLine()))
			}
			return nil
		},
	}
	c.flags(cmd)
	f, rule := cmd.Flags(), config.DefaultRule()
	f.StringVar(&c.document, "document", "", "agent, agent/labels/KEY=VALUE or transfer (default agent)")
	f.StringSliceVar(&c.selector.Nodes, "nodes", nil, "to these nodes")
	f.Float64Var(&c.selector.Percent, "percent", 0, "to this share of the nodes, and one at least")
	f.StringSliceVar(&c.labels, "label", nil, "to the nodes with this label, KEY=VALUE; several must all hold")
	f.DurationVar(&c.lasts, "for", 10*time.Minute, "for how long, 168h at most")
	f.BoolVar(&c.cancel, "cancel", false, "take the canary back")
	f.Float64Var(&c.rule.ErrorsPerMinute, "allow-errors", rule.ErrorsPerMinute, "failed attempts a minute more than twice those before")
	f.Float64Var(&c.refusedPercent, "allow-refused", rule.RefusedShare*100, "percent of lines poisoned or dropped, more than twice those before")
	f.DurationVar(&c.lag, "allow-lag", rule.Lag.D(), "age of the oldest line that is behind, more than twice that before")
	f.DurationVar(&c.notReady, "allow-not-ready", rule.NotReady.D(), "how long a process that was ready may not be")
	f.DurationVar(&c.gone, "allow-gone", rule.Gone.D(), "how long a process may be gone, or not take the canary")
	f.DurationVar(&c.promoteAfter, "promote-after", rule.PromoteAfter.D(), "the least time before it can be promoted")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if c.document != "" {
			if err := config.CheckCanaried(c.document); err != nil {
				return usage(cmd, err)
			}
		}
		switch {
		case c.cancel && len(args) > 0:
			return usage(cmd, errors.New("--cancel takes no file"))
		case c.cancel:
			return c.cancelCanary(cmd)
		case len(args) > 0:
			return c.beginCanary(cmd, args[0])
		case len(c.selector.Nodes)+len(c.labels) > 0 || c.selector.Percent != 0:
			return usage(cmd, errors.New("name the file that the selected processes get, or - for standard input"))
		}
		return c.showCanaries(cmd)
	}
	return cmd
}

// begun is what --output json prints of a new canary.
type begun struct {
	Document string `json:"document"`
	// Revision is the canary's, Base that of the document.
	Revision int64     `json:"revision"`
	Base     int64     `json:"base"`
	Nodes    []string  `json:"nodes"`
	Until    time.Time `json:"until"`
	Diff     string    `json:"diff"`
	// Guarded says that a transfer lives that watches over it.
	Guarded bool    `json:"guarded"`
	Wait    *waited `json:"wait,omitempty"`
}

// beginCanary checks and shows, asks, writes, and waits, as the flags say.
func (c *canaryFlags) beginCanary(cmd *cobra.Command, path string) error {
	if c.document == "" {
		c.document = "agent"
	}
	if err := c.readFlags(cmd); err != nil {
		return err
	}
	data, err := readDocument(cmd, path)
	if err != nil {
		return err
	}
	base, err := c.load(cmd)
	if err != nil {
		return err
	}
	if err := config.Validate(base, c.document, fileName(path), data); err != nil {
		return err
	}
	change, err := c.begin(cmd, c.document)
	if err != nil {
		return err
	}
	defer change.end()
	if c.expect >= 0 && c.expect != change.revision() {
		return &etcd.ConflictError{Document: c.document, Expected: c.expect, Found: change.revision()}
	}
	if change.current != nil && string(change.current.Data) == string(data) {
		return fmt.Errorf("%s is the same as revision %d of %s: there is nothing to try", fileName(path), change.revision(), c.document)
	}
	if err := change.makeRoom(); err != nil {
		return err
	}
	subjects, live, guarded, err := c.choose(change)
	if err != nil {
		return err
	}
	result := begun{Document: c.document, Base: change.revision(), Diff: diff(change.label(), fileName(path), change.data(), data), Guarded: guarded}
	for _, s := range subjects {
		result.Nodes = append(result.Nodes, s.Name)
	}
	if *c.output == "text" {
		printText(cmd.OutOrStdout(), result.Diff)
	}
	question := fmt.Sprintf("give it to %d of %d for %s?", len(subjects), live, config.Duration(c.lasts))
	if !c.yes && onTerminal(cmd.InOrStdin()) && onTerminal(cmd.OutOrStdout()) && !confirm(cmd, question) {
		return errAbandoned
	}
	now := time.Now().UTC().Truncate(time.Second)
	canary, err := config.NewCanary(config.Canary{
		Document: c.document, Base: change.revision(), Select: c.selector, Rule: c.rule,
		Author: author(c.author), Message: c.message, Begun: now, Until: now.Add(c.lasts),
	}, data)
	if err != nil {
		return usage(cmd, err)
	}
	if result.Revision, err = change.store.BeginCanary(cmd.Context(), canary, subjects); err != nil {
		return err
	}
	result.Until = canary.Until
	if *c.output == "text" {
		fmt.Fprintf(cmd.OutOrStdout(), "canary of %s at revision %d, for %d of %d (%s), until %s\n", c.document, result.Revision,
			len(subjects), live, oneLine(some(result.Nodes)), when(canary.Until))
		if !guarded {
			fmt.Fprintln(cmd.ErrOrStderr(), "no transfer is alive to watch over it: it ends at its time, but its rule is not enforced")
		}
	}
	if c.wait {
		result.Wait, err = change.awaitCanary(result.Revision, result.Nodes)
	}
	if *c.output == "json" {
		return errors.Join(printJSON(cmd.OutOrStdout(), result), err)
	}
	return err
}

// readFlags turns flags into a selector and a rule.
func (c *canaryFlags) readFlags(cmd *cobra.Command) error {
	for _, label := range c.labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok {
			return usage(cmd, fmt.Errorf("%q is not a label; write KEY=VALUE", label))
		}
		if c.selector.Labels == nil {
			c.selector.Labels = map[string]string{}
		}
		c.selector.Labels[key] = value
	}
	if cmd.Flags().Changed("percent") && c.selector.Percent <= 0 {
		return usage(cmd, fmt.Errorf("%g is not a percentage from 0.01 to 100", c.selector.Percent))
	}
	c.rule.RefusedShare = c.refusedPercent / 100
	c.rule.Lag, c.rule.NotReady = config.Duration(c.lag), config.Duration(c.notReady)
	c.rule.Gone, c.rule.PromoteAfter = config.Duration(c.gone), config.Duration(c.promoteAfter)
	// All but what etcd has to say, before etcd is asked.
	begun := time.Now()
	_, err := config.NewCanary(config.Canary{Document: c.document, Select: c.selector, Rule: c.rule, Begun: begun, Until: begun.Add(c.lasts)}, nil)
	if err != nil {
		return usage(cmd, err)
	}
	return nil
}

// maxSubjects bounds what is kept of the processes as they were before: 300
// bytes each are well below what etcd takes.
const maxSubjects = 2000

// choose returns the live processes that are selected, how many there are to
// select from, and whether a transfer lives to watch over them.
func (c *canaryFlags) choose(change *changing) (subjects []etcd.Subject, live int, guarded bool, err error) {
	members, err := change.store.Fleet(change.cmd.Context())
	if err != nil {
		return nil, 0, false, err
	}
	key := change.base.Etcd.CanaryKey(c.document)
	var there []member
	for _, m := range readFleet(members) {
		alive := m.State == "ready" || m.State == "waiting"
		guarded = guarded || alive && m.Role == "transfer"
		if alive && slices.Contains(m.Keys, key) {
			there = append(there, m)
		}
	}
	if c.selector.Percent > 0 {
		others := c.selector
		others.Percent = 0
		var nodes []string
		for _, m := range there {
			if others.Selects(m.Node, m.Labels) {
				nodes = append(nodes, m.Node)
			}
		}
		c.selector.Spread(nodes)
	}
	missing := slices.Clone(c.selector.Nodes)
	for _, m := range there {
		missing = slices.DeleteFunc(missing, func(node string) bool { return node == m.Node })
		if c.selector.Selects(m.Node, m.Labels) {
			subjects = append(subjects, app.NewSubject(m.Name, &m.Report))
		}
	}
	switch {
	case len(there) == 0:
		return nil, 0, false, fmt.Errorf("no live process reads %s: there is nobody to give it to", c.document)
	case len(missing) > 0 || len(subjects) == 0:
		wrong := "nobody alive is selected by " + c.selector.String()
		if len(missing) > 0 {
			wrong = "not alive, or not a reader of " + c.document + ": " + strings.Join(missing, ", ")
		}
		return nil, 0, false, usage(change.cmd, fmt.Errorf("%s\nthose who read it are: %s", wrong, oneLine(describe(there))))
	case len(subjects) > maxSubjects:
		return nil, 0, false, usage(change.cmd, fmt.Errorf("%d processes are selected, and %d at most can be compared with what they were; add --percent", len(subjects), maxSubjects))
	}
	return subjects, len(there), guarded, nil
}

// describe names processes with their labels.
func describe(members []member) string {
	var names []string
	for _, m := range members {
		name := m.Name
		if len(m.Labels) > 0 {
			var labels []string
			for key, value := range m.Labels {
				labels = append(labels, key+"="+value)
			}
			slices.Sort(labels)
			name += " (" + strings.Join(labels, ", ") + ")"
		}
		names = append(names, name)
	}
	return some(names)
}

// some names up to ten.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
