package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// changeFlags are those of the commands that write.
type changeFlags struct {
	connection
	author, message string
	expect          int64
	yes             bool
	wait            bool
	patience        time.Duration
	output          *string
}

func (c *changeFlags) flags(cmd *cobra.Command) {
	c.connection.flags(cmd)
	c.output = outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&c.author, "author", "", "who changes it (default you, on this host)")
	f.StringVarP(&c.message, "message", "m", "", "why")
	f.Int64Var(&c.expect, "expect", -1, "write only if the document is at this revision; 0: if there is none")
	f.BoolVarP(&c.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&c.wait, "wait", false, "wait until every live process that reads the document has applied or rejected it; exit with 1 if any rejected")
	f.DurationVar(&c.patience, "wait-timeout", 5*time.Minute, "how long --wait waits; 0: for ever")
}

// changing is one change under way.
type changing struct {
	*changeFlags
	cmd      *cobra.Command
	base     *config.Config
	store    *etcd.Store
	document string
	current  *config.Document // nil: there is none
}

// begin connects and reads the document as it is.
func (c *changeFlags) begin(cmd *cobra.Command, document string) (*changing, error) {
	base, store, err := c.open(cmd)
	if err != nil {
		return nil, err
	}
	current, err := store.Get(cmd.Context(), document)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &changing{c, cmd, base, store, document, current}, nil
}

func (c *changing) end() { _ = c.store.Close() } // nothing is under way any more

func (c *changing) data() []byte {
	if c.current == nil {
		return nil
	}
	return c.current.Data
}

func (c *changing) revision() int64 {
	if c.current == nil {
		return 0
	}
	return c.current.Revision
}

// changed is what --output json prints.
type changed struct {
	Document string `json:"document"`
	// Revision is the document's now, Previous the one before.
	Revision int64   `json:"revision"`
	Previous int64   `json:"previous"`
	Changed  bool    `json:"changed"`
	Diff     string  `json:"diff"`
	Wait     *waited `json:"wait,omitempty"`
}

// put shows the difference, asks, writes, and waits, as the flags say. data is
// nil to delete the document.
func (c *changing) put(data []byte, name string) error {
	if c.expect >= 0 && c.expect != c.revision() {
		return &etcd.ConflictError{Document: c.document, Expected: c.expect, Found: c.revision()}
	}
	result := changed{Document: c.document, Revision: c.revision(), Previous: c.revision()}
	if c.current == nil && data == nil || c.current != nil && data != nil && string(data) == string(c.current.Data) {
		return c.unchanged(result)
	}
	result.Changed = true
	result.Diff = diff(c.label(), name, c.data(), data)
	out := c.cmd.OutOrStdout()
	if *c.output == "text" {
		printText(out, result.Diff)
	}
	verb := "put"
	if data == nil {
		verb = "delete"
	}
	if !c.yes && onTerminal(c.cmd.InOrStdin()) && onTerminal(out) && !confirm(c.cmd, fmt.Sprintf("%s %s?", verb, c.document)) {
		return errAbandoned
	}
	revision, err := c.store.Put(c.cmd.Context(), etcd.Change{
		Document: c.document, Data: data, Delete: data == nil, Expect: c.revision(),
		Author: author(c.author), Message: c.message, Time: time.Now().UTC().Truncate(time.Second),
	})
	if err != nil {
		return err
	}
	result.Revision = revision
	if *c.output == "text" {
		fmt.Fprintf(out, "%s is at revision %d\n", c.document, revision)
	}
	c.noteCanary()
	if c.wait {
		result.Wait, err = c.await(revision)
	}
	if *c.output == "json" {
		return errors.Join(printJSON(out, result), err)
	}
	return err
}

func (c *changing) unchanged(result changed) error {
	if *c.output == "json" {
		return printJSON(c.cmd.OutOrStdout(), result)
	}
	if c.current == nil {
		fmt.Fprintf(c.cmd.OutOrStdout(), "there is no %s; nothing to do\n", c.document)
		return nil
	}
	fmt.Fprintf(c.cmd.OutOrStdout(), "%s is the same as revision %d; nothing to do\n", c.document, c.revision())
	return nil
}

func (c *changing) label() string { return revisionLabel(c.document, c.revision()) }

func revisionLabel(document string, revision int64) string {
	if revision == 0 {
		return "no " + document
	}
	return fmt.Sprintf("%s, revision %d", document, revision)
}

func newConfigPut() *cobra.Command {
	var c changeFlags
	cmd := &cobra.Command{
		Use:   "put DOCUMENT [FILE]",
		Short: "Put a file, or what comes from a pipe, as a document",
		Long: `Check a file, or standard input, show how it differs from the document in etcd,
and put it there. On a terminal it asks before it writes. If somebody else
changes the document in the meantime, nothing is written.`,
		Example: `  logferry config put agent inputs.yaml -m 'nginx too' --wait
  generate-inputs | logferry config put agent/nodes/web-1`,
		Args: documentArgs(1, 2),
	}
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := "-"
		if len(args) > 1 {
			path = args[1]
		}
		data, err := readDocument(cmd, path)
		if err != nil {
			return err
		}
		// What is wrong is said before etcd is asked anything.
		base, err := c.load(cmd)
		if err != nil {
			return err
		}
		if err := config.Validate(base, args[0], fileName(path), data); err != nil {
			return err
		}
		change, err := c.begin(cmd, args[0])
		if err != nil {
			return err
		}
		defer change.end()
		return change.put(data, fileName(path))
	}
	return cmd
}

func newConfigDelete() *cobra.Command {
	var c changeFlags
	cmd := &cobra.Command{
		Use:   "delete DOCUMENT",
		Short: "Take a document away",
		Long: `Take a document away, as if it had never been there. Its history stays: rollback
brings it back.`,
		Args: documentArgs(1, 1),
	}
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := c.begin(cmd, args[0])
		if err != nil {
			return err
		}
		defer change.end()
		return change.put(nil, "no "+args[0])
	}
	return cmd
}

// maxInput is more than any document may have; what is too much is found by
// the check.
const maxInput = 2 << 20

// readDocument reads a file, or standard input for "-". What it returns is not nil.
func readDocument(cmd *cobra.Command, path string) ([]byte, error) {
	in := cmd.InOrStdin()
	if path == "-" && onTerminal(in) {
		return nil, usage(cmd, errors.New("name a file, or pipe the document in"))
	}
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usage(cmd, fmt.Errorf("read %s: %s", path, readable(err)))
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxInput))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", fileName(path), err)
	}
	return data, nil
}

func fileName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

// diff is a unified one, whatever the bytes are.
func diff(from, to string, a, b []byte) string {
	if !isText(a) || !isText(b) {
		return fmt.Sprintf("--- %s\n+++ %s\n%d and %d bytes that are not text differ\n", from, to, len(a), len(b))
	}
	return udiff.Unified(from, to, string(a), string(b))
}

func isText(data []byte) bool { return !strings.ContainsRune(string(data), 0) }

// author is who is said to be, or this user on this host.
func author(said string) string {
	if said != "" {
		return said
	}
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
