package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

func newConfigGet() *cobra.Command {
	var (
		conn     connection
		revision int64
	)
	cmd := &cobra.Command{
		Use:   "get [DOCUMENT]",
		Short: "Print a document, or list all that there are",
		Long: `Print a document, byte for byte unless to a terminal, or, without a name, list the
documents that there are.`,
		Example: `  logferry config get
  logferry config get agent > inputs.yaml
  logferry config get agent --revision 15`,
		Args: documentArgs(0, 1),
	}
	conn.flags(cmd)
	output := outputFlag(cmd)
	cmd.Flags().Int64Var(&revision, "revision", 0, "as it was at this revision")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, store, err := conn.open(cmd)
		if err != nil {
			return err
		}
		defer store.Close()
		if len(args) == 0 {
			return listDocuments(cmd, store, *output)
		}
		r, err := revisionAt(cmd, store, args[0], revision)
		if err != nil {
			return err
		}
		if r.Deleted {
			return fmt.Errorf("there is no %s", strings.TrimPrefix(revisionLabel(args[0], r.Revision), "no "))
		}
		if *output == "json" {
			return printJSON(cmd.OutOrStdout(), documentJSON{args[0], len(r.Data), r, string(r.Data)})
		}
		printText(cmd.OutOrStdout(), string(r.Data))
		return nil
	}
	return cmd
}

// documentJSON is a revision for programs.
type documentJSON struct {
	Document string `json:"document"`
	Bytes    int    `json:"bytes"`
	etcd.Revision
	Text string `json:"data,omitempty"`
}

// revisionAt returns a document at a revision, or, for 0, as it is.
func revisionAt(cmd *cobra.Command, store *etcd.Store, document string, revision int64) (etcd.Revision, error) {
	if revision != 0 {
		return store.Revision(cmd.Context(), document, revision)
	}
	doc, err := store.Get(cmd.Context(), document)
	if err != nil {
		return etcd.Revision{}, err
	}
	if doc == nil {
		return etcd.Revision{Deleted: true}, nil
	}
	history, err := store.History(cmd.Context(), document)
	if err != nil {
		return etcd.Revision{}, err
	}
	for _, r := range history {
		if r.Revision == doc.Revision {
			return r, nil
		}
	}
	return etcd.Revision{Revision: doc.Revision, Data: doc.Data}, nil
}

func listDocuments(cmd *cobra.Command, store *etcd.Store, output string) error {
	names, err := store.Documents(cmd.Context())
	if err != nil {
		return err
	}
	list := []documentJSON{}
	t := newTable(cmd.OutOrStdout(), "DOCUMENT", "REVISION", "BYTES", "WHEN", "AUTHOR", "MESSAGE")
	for _, name := range names {
		r, err := revisionAt(cmd, store, name, 0)
		if err != nil {
			return err
		}
		if r.Deleted {
			continue // since it was listed
		}
		list = append(list, documentJSON{name, len(r.Data), r, ""})
		t.AppendRow([]any{oneLine(name), r.Revision, len(r.Data), when(r.Time), oneLine(r.Author), oneLine(r.Message)})
	}
	if output == "json" {
		return printJSON(cmd.OutOrStdout(), list)
	}
	if len(list) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "there are no documents; put one: logferry config put agent FILE")
		return nil
	}
	t.Render()
	return nil
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func newConfigHistory() *cobra.Command {
	var (
		conn     connection
		canaries bool
	)
	cmd := &cobra.Command{
		Use:   "history DOCUMENT",
		Short: "List the revisions of a document, the newest first",
		Args:  documentArgs(1, 1),
	}
	conn.flags(cmd)
	output := outputFlag(cmd)
	cmd.Flags().BoolVar(&canaries, "canary", false, "of its canaries: when each began and how it ended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, store, err := conn.open(cmd)
		if err != nil {
			return err
		}
		defer store.Close()
		name := args[0]
		if canaries {
			name = etcd.CanaryHistory(name)
		}
		history, err := store.History(cmd.Context(), name)
		if err != nil {
			return err
		}
		if *output == "json" {
			list := []documentJSON{}
			for _, r := range history {
				list = append(list, documentJSON{args[0], len(r.Data), r, ""})
			}
			return printJSON(cmd.OutOrStdout(), list)
		}
		if len(history) == 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "%s has no history\n", args[0])
			return nil
		}
		t := newTable(cmd.OutOrStdout(), "REVISION", "WHEN", "AUTHOR", "BYTES", "MESSAGE")
		for _, r := range history {
			bytes := strconv.Itoa(len(r.Data))
			if r.Deleted && canaries {
				bytes = "ended"
			} else if r.Deleted {
				bytes = "deleted"
			}
			t.AppendRow([]any{r.Revision, when(r.Time), oneLine(r.Author), bytes, oneLine(r.Message)})
		}
		t.Render()
		return nil
	}
	return cmd
}

func newConfigDiff() *cobra.Command {
	var conn connection
	cmd := &cobra.Command{
		Use:   "diff DOCUMENT [A [B]]",
		Short: "Show how two revisions of a document, or a file and the document, differ",
		Long: `Show how a document differs between A and B. Each is a revision or a file. Without
B, A is compared with the document as it is; without A, its last change is shown.`,
		Example: `  logferry config diff agent
  logferry config diff agent 12 15
  logferry config diff agent inputs.yaml`,
		Args: documentArgs(1, 3),
	}
	conn.flags(cmd)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, store, err := conn.open(cmd)
		if err != nil {
			return err
		}
		defer store.Close()
		a, b, err := sides(cmd, store, args[0], args[1:])
		if err != nil {
			return err
		}
		text := diff(a.name, b.name, a.data, b.data)
		if *output == "json" {
			return printJSON(cmd.OutOrStdout(), map[string]string{"document": args[0], "a": a.name, "b": b.name, "diff": text})
		}
		printText(cmd.OutOrStdout(), text)
		return nil
	}
	return cmd
}

// side is one side of a comparison.
type side struct {
	name string
	data []byte
}

func sides(cmd *cobra.Command, store *etcd.Store, document string, args []string) (a, b side, err error) {
	if len(args) == 0 {
		history, err := store.History(cmd.Context(), document)
		if err != nil {
			return a, b, err
		}
		if len(history) == 0 {
			return a, b, fmt.Errorf("%s has no history", document)
		}
		b = sideOf(document, history[0])
		a = side{name: "no " + document}
		if len(history) > 1 {
			a = sideOf(document, history[1])
		}
		return a, b, nil
	}
	if a, err = sideAt(cmd, store, document, args[0]); err != nil {
		return a, b, err
	}
	if len(args) > 1 {
		b, err = sideAt(cmd, store, document, args[1])
		return a, b, err
	}
	current, err := revisionAt(cmd, store, document, 0)
	if _, isRevision := parseRevision(args[0]); !isRevision {
		// A file is what could be put: the change that it would be.
		return sideOf(document, current), a, err
	}
	return a, sideOf(document, current), err
}

func sideAt(cmd *cobra.Command, store *etcd.Store, document, arg string) (side, error) {
	if revision, ok := parseRevision(arg); ok {
		r, err := store.Revision(cmd.Context(), document, revision)
		return sideOf(document, r), err
	}
	data, err := readDocument(cmd, arg)
	return side{fileName(arg), data}, err
}

func sideOf(document string, r etcd.Revision) side {
	if r.Deleted {
		return side{"no " + document, nil}
	}
	return side{revisionLabel(document, r.Revision), r.Data}
}

func parseRevision(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0
}

func newConfigRollback() *cobra.Command {
	var c changeFlags
	cmd := &cobra.Command{
		Use:   "rollback DOCUMENT REVISION",
		Short: "Put a document as it was at a revision",
		Long: `Put a document, byte for byte, as it was at a revision of its history. That is a
new revision: what it replaces stays in the history.`,
		Args: documentArgs(2, 2),
	}
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		revision, ok := parseRevision(args[1])
		if !ok {
			return usage(cmd, fmt.Errorf("%q is not a revision; see 'logferry config history %s'", args[1], args[0]))
		}
		change, err := c.begin(cmd, args[0])
		if err != nil {
			return err
		}
		defer change.end()
		r, err := change.store.Revision(cmd.Context(), args[0], revision)
		if err != nil {
			return err
		}
		if c.message == "" {
			c.message = fmt.Sprintf("rollback to %d", revision)
		}
		label := revisionLabel(args[0], revision)
		if r.Deleted {
			return change.put(nil, "no "+args[0])
		}
		if err := config.Validate(change.base, args[0], label, r.Data); err != nil {
			return err
		}
		if r.Data == nil {
			r.Data = []byte{}
		}
		return change.put(r.Data, label)
	}
	return cmd
}
