package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

func newTune() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tune",
		Short: "Change a throttle, retry, breaker, poison or batch value of one input or route while it runs",
		Long: `Change values of one input or route while it runs, or show those in force. What is
changed is the document in etcd that defines it, and in its text nothing but the
value: comments and order stay.`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(newTuneKind("input"), newTuneKind("route"))
	return cmd
}

// tuneFlags are those of `tune input` and `tune route`.
type tuneFlags struct {
	changeFlags
	kind           string
	document, node string
	preview        bool
}

func newTuneKind(kind string) *cobra.Command {
	t := tuneFlags{kind: kind}
	what := map[string]string{"input": "an input", "route": "a route"}[kind]
	cmd := &cobra.Command{
		Use:   kind + " NAME [KEY=VALUE...]",
		Short: "Tune " + what + ", or show what can be tuned of it",
		Long: `Without KEY=VALUE, show the values in force, their defaults, and what can be tuned.
With some, change them in the document that defines the ` + kind + `, show the difference,
and put it as 'logferry config put' does. KEY= takes the key out of the document,
so that its default counts.

With --preview nothing is changed: what the processes recorded in the last quarter
of an hour is replayed with the new values.`,
		Example: map[string]string{
			"input": `  logferry tune input nginx
  logferry tune input nginx retry.max_backoff=10s throttle.by=path -m 'the broker is slow' --wait`,
			"route": `  logferry tune route web throttle.lines_per_second=5000 --preview
  logferry tune route web throttle.lines_per_second=5000 --wait
  logferry tune route web throttle.lines_per_second=`,
		}[kind],
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, fmt.Errorf("write it as: %s", cmd.UseLine()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd, args[0], args[1:]) },
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&t.preview, "preview", false, "change nothing; say what the values would have meant in the last minutes")
	if kind == "input" {
		cmd.Flags().StringVar(&t.document, "document", "", "the document, when several define the input")
		cmd.Flags().StringVar(&t.node, "node", "", "the document agent/nodes/NODE; in a preview, this process alone")
	} else {
		cmd.Flags().StringVar(&t.node, "node", "", "in a preview, this process alone")
	}
	return cmd
}

func (t *tuneFlags) run(cmd *cobra.Command, name string, args []string) error {
	var settings []config.Setting
	for _, arg := range args {
		s, err := config.ParseSetting(arg)
		if err != nil {
			return usage(cmd, err)
		}
		settings = append(settings, s)
	}
	if t.preview && len(settings) == 0 {
		return usage(cmd, errors.New("--preview wants values: KEY=VALUE"))
	}
	if t.kind == "input" && t.node != "" && t.document == "" && !t.preview {
		t.document = "agent/nodes/" + t.node
	}
	if t.document != "" {
		if err := config.CheckDocument(t.document); err != nil {
			return usage(cmd, err)
		}
	}
	base, store, err := t.open(cmd)
	if err != nil {
		return err
	}
	f := &found{tuneFlags: t, cmd: cmd, base: base, store: store, name: name}
	defer f.end()
	if err := f.find(cmd.Context()); err != nil {
		return err
	}
	if len(settings) == 0 {
		return f.show(cmd.OutOrStdout())
	}
	document, err := f.one()
	if err != nil {
		return err
	}
	doc := f.docs[document]
	data, err := config.Tune(base, document, document, doc.Data, t.kind, name, settings)
	if err != nil {
		var invalid *config.Errors
		if errors.As(err, &invalid) {
			return err
		}
		return usageError{err}
	}
	if t.preview {
		return f.replay(document, settings, data)
	}
	if t.message == "" {
		t.message = "tune " + t.kind + " " + name + " " + strings.Join(args, " ")
	}
	change := &changing{&t.changeFlags, cmd, base, store, document, doc}
	return change.put(data, "tuned")
}

// found is an input or route, with the documents that define it.
type found struct {
	*tuneFlags
	cmd   *cobra.Command
	base  *config.Config
	store *etcd.Store
	name  string

	docs    map[string]*config.Document // all that could
	entries map[string]any              // *config.Input or *config.Route, by document
	names   map[string]bool             // of all inputs or routes
}

func (f *found) end() { _ = f.store.Close() } // nothing is under way any more

// find reads the documents. A document that is not valid counts only when it is
// the one that was named.
func (f *found) find(ctx context.Context) error {
	f.docs, f.entries, f.names = map[string]*config.Document{}, map[string]any{}, map[string]bool{}
	var err error
	if f.kind == "input" {
		f.docs, err = f.store.Inputs(ctx)
	} else {
		var doc *config.Document
		if doc, err = f.store.Get(ctx, "transfer"); doc != nil {
			f.docs["transfer"] = doc
		}
	}
	if err != nil {
		return err
	}
	var invalid error
	for _, document := range slices.Sorted(maps.Keys(f.docs)) {
		entries, err := config.Entries(f.base, document, f.docs[document].Data, f.kind)
		if err != nil {
			if invalid == nil || document == f.document {
				invalid = err
			}
			continue
		}
		for name := range entries {
			f.names[name] = true
		}
		if e := entries[f.name]; e != nil && (f.document == "" || f.document == document) {
			f.entries[document] = e
		}
	}
	if len(f.entries) > 0 {
		return nil
	}
	return cmp.Or(invalid, f.absent(ctx))
}

// absent says why there is none, and what to do.
func (f *found) absent(ctx context.Context) error {
	if f.document != "" && f.names[f.name] {
		return usageError{fmt.Errorf("%s does not define %s %q; copy it there with 'logferry config edit %[1]s', or leave the document out to tune it where it is", f.document, f.kind, f.name)}
	}
	seeded, err := f.seeded(ctx)
	if err != nil {
		return err
	}
	section := map[string]string{"input": "agent", "route": "transfer"}[f.kind]
	switch {
	case seeded[f.name]:
		return usageError{fmt.Errorf("%s %q comes from the seed, which holds paths and topics alone: define it, under a name of its own, in the document %s with 'logferry config edit %[3]s', and take it out of the seed with 'logferry config edit seed'", f.kind, f.name, section)}
	case config.Local(f.base, f.kind)[f.name] != nil:
		if f.docs[section] != nil {
			return usageError{fmt.Errorf("%s %q is in %s, and the document %s stands in for that; add it there with 'logferry config edit %[4]s'", f.kind, f.name, f.file, section)}
		}
		return usageError{fmt.Errorf("%s %q is in %s alone, and is changed there; or put the content of that file's section %s as the document %[4]s, which all %[4]ss read instead: logferry config put %[4]s FILE", f.kind, f.name, f.file, section)}
	}
	for name := range seeded {
		f.names[name] = true
	}
	if len(f.names) == 0 {
		return usageError{fmt.Errorf("no document in etcd defines any %s; put one with 'logferry config put %s FILE'. What is in the file of a service is changed there", f.kind, section)}
	}
	names := slices.Sorted(maps.Keys(f.names))
	more := ""
	if len(names) > maxNames {
		names, more = names[:maxNames], fmt.Sprintf(" and %d more", len(f.names)-maxNames)
	}
	return usageError{fmt.Errorf("there is no %s %q; there are %s%s", f.kind, f.name, strings.Join(names, ", "), more)}
}

const maxNames = 30

// seeded are the names that the seed makes.
func (f *found) seeded(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	seed, err := f.store.Get(ctx, "seed")
	if err != nil || seed == nil {
		return names, err
	}
	c, err := config.Effective(f.base, config.Docs{Seed: seed, Transfer: f.docs["transfer"]})
	if err != nil {
		return names, nil //nolint:nilerr // a seed that is not valid makes nothing
	}
	if f.kind == "input" {
		for _, in := range c.Agent.Inputs {
			names[in.Name] = true
		}
	} else {
		for _, r := range c.Transfer.Routes {
			names[r.Name] = true
		}
	}
	for name := range config.Local(f.base, f.kind) {
		delete(names, name)
	}
	for name := range f.names {
		delete(names, name)
	}
	return names, nil
}

// one is the document to change.
func (f *found) one() (string, error) {
	documents := slices.Sorted(maps.Keys(f.entries))
	if len(documents) > 1 {
		return "", usageError{fmt.Errorf("%s %q is in %s, each for the hosts that read it; name one with --document", f.kind, f.name, strings.Join(documents, ", "))}
	}
	return documents[0], nil
}

// shown is what --output json prints of one document.
type shown struct {
	Document string           `json:"document"`
	Revision int64            `json:"revision"`
	Name     string           `json:"name"`
	Values   []config.Tunable `json:"values"`
}

func (f *found) show(out io.Writer) error {
	list := []shown{}
	for _, document := range slices.Sorted(maps.Keys(f.entries)) {
		list = append(list, shown{document, f.docs[document].Revision, f.name, config.Tunables(f.entries[document])})
	}
	if *f.output == "json" {
		return printJSON(out, list)
	}
	for i, s := range list {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s %s in %s, revision %d\n\n", f.kind, oneLine(f.name), oneLine(s.Document), s.Revision)
		t := newTable(out, "KEY", "VALUE", "DEFAULT", "EXPECTS")
		for _, v := range s.Values {
			other := ""
			if v.Value != v.Default {
				other = v.Default
			}
			t.AppendRow([]any{v.Key, oneLine(v.Value), other, v.Expects})
		}
		t.Render()
	}
	return nil
}
