package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
)

// pickCanary returns the canary of a document, or, without a name, the only one.
func pickCanary(cmd *cobra.Command, store *etcd.Store, document string) (etcd.Canary, error) {
	list, err := store.Canaries(cmd.Context())
	if err != nil {
		return etcd.Canary{}, err
	}
	var names []string
	for _, c := range list {
		if c.Document == document || document == "" && len(list) == 1 {
			return c, nil
		}
		names = append(names, c.Document)
	}
	switch {
	case len(list) == 0:
		return etcd.Canary{}, errors.New("there is no canary; 'logferry config canary' shows what became of the last ones")
	case document == "":
		return etcd.Canary{}, usage(cmd, fmt.Errorf("there are canaries of several documents; name one with --document: %s", oneLine(strings.Join(names, ", "))))
	}
	return etcd.Canary{}, fmt.Errorf("there is no canary of %s, but of: %s", document, oneLine(strings.Join(names, ", ")))
}

// makeRoom takes away a canary whose time has ended while no transfer was there to do it.
func (c *changing) makeRoom() error {
	list, err := c.store.Canaries(c.cmd.Context())
	if err != nil {
		return err
	}
	for _, canary := range list {
		if canary.Document != c.document {
			continue
		}
		now := time.Now()
		if canary.Err != nil || now.Before(canary.Config.Until) {
			return &etcd.CanaryError{Document: c.document}
		}
		o := outcome(canary, etcd.Ended, "its time ended, and nobody promoted it", author(c.author))
		if err := c.store.EndCanary(c.cmd.Context(), o); err != nil && !errors.Is(err, etcd.ErrNoCanary) {
			return err
		}
	}
	return nil
}

// noteCanary says that the document that was just put is not in force everywhere.
func (c *changing) noteCanary() {
	list, err := c.store.Canaries(c.cmd.Context())
	if err != nil {
		return // a note is not worth an error
	}
	for _, canary := range list {
		if canary.Document == c.document {
			fmt.Fprintf(c.cmd.ErrOrStderr(), "note: there is a canary of %s from an earlier revision: those who run it go on with it, and it cannot be promoted any more\n", c.document)
		}
	}
}

func outcome(c etcd.Canary, how, reason, by string) etcd.Outcome {
	o := etcd.Outcome{Document: c.Document, Revision: c.Revision, How: how, Reason: reason, By: by, At: time.Now().UTC().Truncate(time.Second)}
	if c.Config != nil {
		o.Author, o.Message, o.Begun = c.Config.Author, c.Config.Message, c.Config.Begun
	}
	return o
}

func (c *canaryFlags) cancelCanary(cmd *cobra.Command) error {
	base, store, err := c.open(cmd)
	if err != nil {
		return err
	}
	defer store.Close()
	canary, err := pickCanary(cmd, store, c.document)
	if err != nil {
		return err
	}
	o := outcome(canary, etcd.Cancelled, c.message, author(c.author))
	if err := store.EndCanary(cmd.Context(), o); err != nil {
		return err
	}
	if *c.output == "text" {
		fmt.Fprintf(cmd.OutOrStdout(), "the canary of %s at revision %d was taken back\n", oneLine(o.Document), o.Revision)
	}
	if c.wait {
		change := &changing{changeFlags: &c.changeFlags, cmd: cmd, base: base, store: store, document: canary.Document}
		_, err = change.follow(func(members []etcd.Member) *waited { return withoutCanary(members, base.Etcd, canary.Document) })
	}
	if *c.output == "json" {
		return errors.Join(printJSON(cmd.OutOrStdout(), o), err)
	}
	return err
}

// withoutCanary counts who runs no canary any more as having applied that.
func withoutCanary(members []etcd.Member, e *config.Etcd, document string) *waited {
	w := newWaited()
	for _, m := range readFleet(members) {
		if m.State == "gone" || m.State == "stopped" || m.Role != config.RoleOf(document) {
			continue
		}
		if p := (answerer{m.Role, m.Name}); m.RunsCanary(e.Key(document)) {
			w.Unanswered = append(w.Unanswered, p)
		} else {
			w.Applied = append(w.Applied, p)
		}
	}
	return w
}

func newConfigPromote() *cobra.Command {
	var (
		c        changeFlags
		document string
	)
	cmd := &cobra.Command{
		Use:   "promote",
		Short: "Make a canary the document of all",
		Long: `Make a canary the document, byte for byte, in one transaction that also takes the
canary away. It is refused before every process that was given the canary runs
it and --promote-after has passed, when one of them fails the rule now, and when
the document was changed since the canary began.`,
		Example: `  logferry config promote --wait
  logferry config promote --document transfer`,
		Args: noArgs,
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&document, "document", "", "whose canary, when there are several")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		base, store, err := c.open(cmd)
		if err != nil {
			return err
		}
		defer store.Close()
		canary, err := pickCanary(cmd, store, document)
		if err != nil {
			return err
		}
		if canary.Err != nil {
			return canary.Err
		}
		current, err := store.Get(cmd.Context(), canary.Document)
		if err != nil {
			return err
		}
		change := &changing{&c, cmd, base, store, canary.Document, current}
		return change.promote(canary)
	}
	return cmd
}

func (c *changing) promote(canary etcd.Canary) error {
	if c.expect >= 0 && c.expect != c.revision() {
		return &etcd.ConflictError{Document: c.document, Expected: c.expect, Found: c.revision()}
	}
	if canary.Config.Base != c.revision() {
		return fmt.Errorf("%w; take the canary back and begin another", &etcd.ConflictError{Document: c.document, Expected: canary.Config.Base, Found: c.revision()})
	}
	if err := c.evidence(canary); err != nil {
		return err
	}
	data, err := canary.Config.Data()
	if err != nil {
		return fmt.Errorf("read the canary: %w", err)
	}
	label := fmt.Sprintf("canary of %s, revision %d", c.document, canary.Revision)
	if err := config.Validate(c.base, c.document, label, data); err != nil {
		return err
	}
	result := changed{Document: c.document, Previous: c.revision(), Changed: true, Diff: diff(c.label(), label, c.data(), data)}
	out := c.cmd.OutOrStdout()
	if *c.output == "text" {
		printText(out, result.Diff)
	}
	if !c.yes && onTerminal(c.cmd.InOrStdin()) && onTerminal(out) && !confirm(c.cmd, fmt.Sprintf("promote it to %s?", c.document)) {
		return errAbandoned
	}
	message := c.message
	if message == "" {
		message = canary.Config.Message
	}
	message = strings.TrimSpace(fmt.Sprintf("%s (canary at revision %d by %s)", message, canary.Revision, canary.Config.Author))
	o := outcome(canary, etcd.Promoted, c.message, author(c.author))
	if result.Revision, err = c.store.Promote(c.cmd.Context(), canary, message, o); err != nil {
		return err
	}
	if *c.output == "text" {
		fmt.Fprintf(out, "%s is at revision %d\n", c.document, result.Revision)
	}
	if c.wait {
		result.Wait, err = c.await(result.Revision)
	}
	if *c.output == "json" {
		return errors.Join(printJSON(out, result), err)
	}
	return err
}

// evidence says why there is not enough of it for a promotion, or returns nil.
func (c *changing) evidence(canary etcd.Canary) error {
	now := time.Now()
	list, err := lookAt(c.cmd, c.store, c.base.Etcd, canary, now)
	if err != nil {
		return err
	}
	var missing []string
	for _, h := range list {
		if h.Failed != "" {
			return fmt.Errorf("the canary fails its rule: %s: %s", oneLine(h.Name), oneLine(h.Failed))
		}
		if h.State != app.CanaryRunning {
			missing = append(missing, fmt.Sprintf("%s (%s)", h.Name, h.State))
		}
	}
	switch left := canary.Config.Begun.Add(canary.Config.Rule.PromoteAfter.D()).Sub(now); {
	case len(list) == 0:
		return errors.New("it is not known who was given the canary: it was put by another program; take it back, or put the file as the document")
	case len(missing) > 0:
		return fmt.Errorf("not all that were given the canary run it: %s", oneLine(some(missing)))
	case left > 0:
		return fmt.Errorf("the canary is too young to say anything; promote it in %s (--promote-after was %s)", left.Round(time.Second), canary.Config.Rule.PromoteAfter)
	case !now.Before(canary.Config.Until):
		return errors.New("the canary's time has ended; begin another")
	}
	return nil
}

// lookAt returns how the processes of a canary are.
func lookAt(cmd *cobra.Command, store *etcd.Store, e *config.Etcd, c etcd.Canary, now time.Time) ([]app.CanaryHealth, error) {
	subjects, err := store.Subjects(cmd.Context(), c)
	if errors.Is(err, etcd.ErrNoCanary) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(subjects))
	for i, s := range subjects {
		names[i] = s.Name
	}
	members, err := store.Members(cmd.Context(), config.RoleOf(c.Document), names)
	if err != nil {
		return nil, err
	}
	return app.NewCanaryJudge(e).Look(c, subjects, members, now), nil
}
