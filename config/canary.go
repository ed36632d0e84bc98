package config

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	canaryVersion = 1
	// maxCanary is as long as a person may look away from one.
	maxCanary = 7 * 24 * time.Hour
	// maxUnpacked bounds what packed bytes may hold; etcd takes less than that.
	maxUnpacked = 4 << 20
)

// Canary is another form of a document, given to some of the processes that
// read it, for a time. It is what etcd holds under <prefix>/canary/<document>.
type Canary struct {
	// Version of this format.
	Version int `json:"version"`
	// Document is the name of the document that it stands for, and Base the
	// revision that it was made from, 0 for none.
	Document string `json:"document"`
	Base     int64  `json:"base"`
	// Select says to whom it is given; each process decides that for itself.
	Select Selector `json:"select"`
	// Rule says when it is taken back.
	Rule Rule `json:"rule"`
	// Author and Message are kept with it.
	Author  string `json:"author"`
	Message string `json:"message"`
	// Begun and Until are of the author's clock.
	Begun time.Time `json:"begun"`
	Until time.Time `json:"until"`
	// Gzip are the document's bytes, packed.
	Gzip []byte `json:"gzip"`
}

// Rule bounds what the figures of a process may become under a canary: each
// may be at most twice what it was before on that process, and as much more as
// is said here.
type Rule struct {
	// ErrorsPerMinute are attempts that failed.
	ErrorsPerMinute float64 `json:"errors_per_minute"`
	// RefusedShare is the share of lines or records that were refused for
	// their own sake: poisoned or dropped.
	RefusedShare float64 `json:"refused_share"`
	// Lag is the age of the oldest line that is behind.
	Lag Duration `json:"lag"`
	// NotReady is how long a process that was ready may not be.
	NotReady Duration `json:"not_ready"`
	// Gone is how long a process may be away, or alive without the canary.
	Gone Duration `json:"gone"`
	// PromoteAfter is the least time before it can become the document.
	PromoteAfter Duration `json:"promote_after"`
}

// DefaultRule is the rule of a canary that says nothing else.
func DefaultRule() Rule {
	return Rule{
		ErrorsPerMinute: 10,
		RefusedShare:    0.01,
		Lag:             Duration(time.Minute),
		NotReady:        Duration(10 * time.Second),
		Gone:            Duration(30 * time.Second),
		PromoteAfter:    Duration(time.Minute),
	}
}

// CanaryKey returns the key of the canary of a document.
func (e *Etcd) CanaryKey(document string) string { return e.Key("canary/" + document) }

// CanariedKey returns the key of the document that the canary at a key stands for.
func CanariedKey(key string) string {
	const middle = "/canary/"
	i := strings.LastIndex(key, middle) // no name of a document holds it
	if i < 0 {
		return key
	}
	return key[:i] + "/" + key[i+len(middle):]
}

// CheckCanaried says why there can be no canary of a document, or returns nil.
func CheckCanaried(document string) error {
	switch {
	case document == "seed":
		return errors.New("there is no canary of the seed, which agents and transfers read both; try it as a document agent, or agent/labels/KEY=VALUE, and transfer")
	case strings.HasPrefix(document, "agent/nodes/"):
		return fmt.Errorf("%s is for one node as it is; put it", document)
	}
	return CheckDocument(document)
}

// RoleOf returns who reads a document of which there can be a canary.
func RoleOf(document string) string {
	role, _, _ := strings.Cut(document, "/")
	return role
}

// ParseCanary decodes and checks the canary of a document; key is what errors
// call it. It does not look into the document's bytes. Its error is *Errors.
func ParseCanary(key, document string, data []byte) (*Canary, error) {
	c, err := parseCanary(document, data)
	if err != nil {
		return nil, canaryError(key, err)
	}
	return c, nil
}

func canaryError(key string, err error) error {
	return &Errors{All: []Error{{File: key, Reason: printable("is not a canary: " + err.Error())}}}
}

func parseCanary(document string, data []byte) (*Canary, error) {
	var c Canary
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	var version struct{ Version int }
	if json.Unmarshal(data, &version) == nil && version.Version != canaryVersion {
		return nil, fmt.Errorf("version %d of the format is not known here; this logferry knows %d", version.Version, canaryVersion)
	}
	if err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("more follows it")
	}
	return &c, c.check(document)
}

func (c *Canary) check(document string) error {
	switch {
	case c.Document != document:
		return fmt.Errorf("it is of the document %q", c.Document)
	case c.Base < 0:
		return fmt.Errorf("base is %d", c.Base)
	case !c.Until.After(c.Begun) || c.Until.Sub(c.Begun) > maxCanary:
		return fmt.Errorf("it is from %s until %s; write a time of at most %s", c.Begun.Format(time.RFC3339), c.Until.Format(time.RFC3339), Duration(maxCanary))
	}
	if err := CheckCanaried(document); err != nil {
		return err
	}
	if err := c.Rule.check(); err != nil {
		return err
	}
	return c.Select.check()
}

func (r *Rule) check() error {
	if r.ErrorsPerMinute < 0 || r.RefusedShare < 0 || r.RefusedShare > 1 {
		return errors.New("a rule allows no less than 0 errors a minute, and a share between 0 and 1 of refused lines")
	}
	if min(r.Lag, r.NotReady, r.Gone, r.PromoteAfter) < 0 {
		return errors.New("a rule has no negative times")
	}
	return nil
}

// NewCanary returns c with the document's bytes, or what is wrong with it.
func NewCanary(c Canary, data []byte) (*Canary, error) {
	c.Version, c.Gzip = canaryVersion, Pack(data)
	return &c, c.check(c.Document)
}

// Data returns the document's bytes.
func (c *Canary) Data() ([]byte, error) { return Unpack(c.Gzip) }

// Pack compresses.
func Pack(data []byte) []byte {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(data) // a buffer takes everything
	_ = w.Close()
	return packed.Bytes()
}

// Unpack returns what Pack was given; of anything larger than etcd takes, the beginning.
func Unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxUnpacked))
}
