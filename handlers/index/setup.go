package index

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/logferry/logferry/config"
)

// SetupOptions say how templates and policies are made.
type SetupOptions struct {
	// AllowedIndices are globs of names that routes may produce.
	AllowedIndices []string
	// Retention is how long data is kept by the lifecycle policy; 0 is for ever.
	Retention time.Duration
	// DryRun changes nothing.
	DryRun bool
}

// SetupAction is one thing that was set up, or why it was not.
type SetupAction struct {
	// Kind is "lifecycle policy" or "index template".
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
	// Result is created, updated, unchanged or skipped; with DryRun, what it
	// would have been.
	Result string `json:"result"`
	// Routes and Patterns are what an index template is for.
	Routes   []string `json:"routes,omitempty"`
	Patterns []string `json:"patterns,omitempty"`
	Note     string   `json:"note,omitempty"`
	// Body is what was sent.
	Body json.RawMessage `json:"body,omitempty"`
}

// What became of one thing.
const (
	created   = "created"
	updated   = "updated"
	unchanged = "unchanged"
	skipped   = "skipped"
)

// Setup gives each family of indices that the routes write an index template,
// and a lifecycle policy where the cluster has any. It leaves alone what it has
// not made, and what is as it should be; a second run changes nothing. What the
// cluster does not know is left out, and said in a note.
func (c *Client) Setup(ctx context.Context, routes []config.Route, o SetupOptions) ([]SetupAction, error) {
	s := setup{client: c, options: o, have: features{onlyText: true, lenient: true, lifecycle: true}, ours: map[string]bool{}}
	list, notes := families(routes, o.AllowedIndices)
	for _, f := range list {
		s.ours[f.name] = true
	}
	if err := s.policies(ctx, list); err != nil {
		return s.done, err
	}
	for _, r := range routes {
		if note := notes[r.Name]; note != "" {
			s.done = append(s.done, SetupAction{Kind: "index template", Result: skipped, Routes: []string{r.Name}, Note: note})
		}
	}
	for _, f := range list {
		if err := s.family(ctx, f); err != nil {
			return s.done, err
		}
	}
	return s.done, nil
}

type setup struct {
	client  *Client
	options SetupOptions
	have    features
	ours    map[string]bool // names of templates that this run is about
	done    []SetupAction
}

// policyOf returns the policy's name for f, "" for none: an index that is not
// renewed by itself cannot be rolled over, and one without a date would be
// deleted while it is written.
func (s *setup) policyOf(f *family) string {
	switch {
	case f.stream:
		return policyStreams
	case f.dated && s.options.Retention > 0:
		return policyIndices
	}
	return ""
}

func (s *setup) policies(ctx context.Context, list []*family) error {
	wanted := map[string]bool{}
	for _, f := range list {
		if name := s.policyOf(f); name != "" {
			wanted[name] = true
		}
	}
	for _, name := range []string{policyStreams, policyIndices} {
		if !wanted[name] || !s.have.lifecycle {
			continue
		}
		if err := s.policy(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *setup) policy(ctx context.Context, name string) error {
	const kind = "lifecycle policy"
	path := "/_ilm/policy/" + name
	status, body, err := s.client.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return fmt.Errorf("read lifecycle policy %q: %w", name, err)
	}
	found := gjson.GetBytes(body, name)
	switch {
	case status == http.StatusOK && found.Exists():
	case status == http.StatusNotFound && gjson.GetBytes(body, "error.type").Str == "resource_not_found_exception":
	case lacks(status, body):
		s.have.lifecycle = false
		s.done = append(s.done, SetupAction{Kind: kind, Name: name, Result: skipped, Note: "the cluster has no index lifecycle management"})
		return nil
	default:
		return fmt.Errorf("read lifecycle policy %q: %s", name, describe(status, body))
	}
	content, hash, err := signed(policy(name == policyStreams, s.options.Retention))
	if err != nil {
		return err
	}
	a := SetupAction{Kind: kind, Name: name, Body: content}
	a.Result, a.Note = compare(found.Exists(), found.Get("policy._meta"), hash)
	if (a.Result == created || a.Result == updated) && !s.options.DryRun {
		if err := s.put(ctx, path, []byte(`{"policy":`+string(content)+`}`)); err != nil {
			return fmt.Errorf("write lifecycle policy %q: %w", name, err)
		}
	}
	s.done = append(s.done, a)
	return nil
}

// compare says what is to be done with something that may be there.
func compare(exists bool, meta gjson.Result, hash string) (result, note string) {
	switch {
	case !exists:
		return created, ""
	case meta.Get("managed_by").Str != managedBy:
		return skipped, "it is there, and not made by logferry"
	case meta.Get("hash").Str == hash:
		return unchanged, ""
	}
	return updated, ""
}

func (s *setup) family(ctx context.Context, f *family) error {
	content, hash, note, err := s.fit(ctx, f)
	if err != nil {
		return fmt.Errorf("index template %q: %w", f.name, err)
	}
	path := "/_index_template/" + f.name
	status, body, err := s.client.call(ctx, http.MethodGet, path, nil)
	if err == nil && status != http.StatusOK && status != http.StatusNotFound {
		err = errors.New(describe(status, body))
	}
	if err != nil {
		return fmt.Errorf("read index template %q: %w", f.name, err)
	}
	found := gjson.GetBytes(body, "index_templates.0.index_template")
	a := SetupAction{Kind: "index template", Name: f.name, Routes: f.routes, Patterns: f.patterns, Body: content}
	a.Result, a.Note = compare(found.Exists(), found.Get("_meta"), hash)
	if a.Note == "" {
		a.Note = note
	}
	if (a.Result == created || a.Result == updated) && !s.options.DryRun {
		if err := s.put(ctx, path, content); err != nil {
			return fmt.Errorf("write index template %q: %w", f.name, err)
		}
	}
	s.done = append(s.done, a)
	return nil
}

// fit asks the cluster whether it would take the template, without making it,
// and leaves out what it does not know.
func (s *setup) fit(ctx context.Context, f *family) (content json.RawMessage, hash, note string, err error) {
	for {
		content, hash, err = signed(f.template(s.have, s.policyOf(f)))
		if err != nil {
			return nil, "", "", err
		}
		status, body, err := s.client.call(ctx, http.MethodPost, "/_index_template/_simulate/"+f.name, content)
		switch {
		case err != nil:
			return nil, "", "", err
		case status == http.StatusOK:
			return content, hash, s.note(f, body), nil
		case status != http.StatusBadRequest || !s.leaveOut(body):
			return nil, "", "", refusedBy(status, body)
		}
	}
}

// leaveOut drops the feature that an error speaks of, and says whether there was
// one to drop.
func (s *setup) leaveOut(body []byte) bool {
	for word, have := range map[string]*bool{
		"match_only_text":             &s.have.onlyText,
		"ignore_dynamic_beyond_limit": &s.have.lenient,
		"index.lifecycle":             &s.have.lifecycle,
	} {
		if *have && bytes.Contains(body, []byte(word)) {
			*have = false
			return true
		}
	}
	return false
}

// note says what the cluster lacks, and which other templates are for the same
// indices, as far as the answer to a simulation says so.
func (s *setup) note(f *family, body []byte) string {
	var notes []string
	for word, have := range map[string]bool{
		"match_only_text, so text is used":                           s.have.onlyText,
		"ignore_dynamic_beyond_limit, so more fields are refused":    s.have.lenient,
		"lifecycle management, so old data is not deleted by itself": s.have.lifecycle || s.policyOf(f) == "",
	} {
		if !have {
			notes = append(notes, "no "+word)
		}
	}
	for _, other := range gjson.GetBytes(body, "overlapping.#.name").Array() {
		if !s.ours[other.Str] {
			notes = append(notes, fmt.Sprintf("template %q is for some of the same indices", other.Str))
		}
	}
	slices.Sort(notes)
	return strings.Join(notes, "; ")
}

// lacks says whether an answer means that there is no such part of the API.
func lacks(status int, body []byte) bool {
	reason := gjson.GetBytes(body, "error")
	return status == http.StatusMethodNotAllowed || status == http.StatusGone || status == http.StatusNotImplemented ||
		status == http.StatusBadRequest && strings.Contains(reason.String(), "no handler found") ||
		reason.Get("type").Str == "api_not_available_exception"
}

func (s *setup) put(ctx context.Context, path string, content []byte) error {
	status, body, err := s.client.call(ctx, http.MethodPut, path, content)
	if err == nil && status/100 != 2 {
		err = refusedBy(status, body)
	}
	return err
}

// refusedBy says what an answer says, with the last of its causes, which is
// where Elasticsearch says what is wrong with a template.
func refusedBy(status int, body []byte) error {
	text := describe(status, body)
	cause := gjson.GetBytes(body, "error")
	for next := cause; next.Exists(); next = next.Get("caused_by") {
		cause = next
	}
	if reason := cause.Get("reason").Str; reason != "" && !strings.Contains(text, reason) {
		text += ": " + clip(reason, maxReason)
	}
	return errors.New(text)
}

// call sends a small request, and reads the answer.
func (c *Client) call(ctx context.Context, method, path string, content []byte) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	w := &wire{}
	req := (&http.Request{Method: method, URL: &url.URL{Path: path}, Header: http.Header{}}).
		WithContext(context.WithValue(ctx, wireKey{}, w))
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Body = io.NopCloser(bytes.NewReader(content))
		req.ContentLength = int64(len(content))
	}
	resp, err := c.api.Perform(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", w.where(c), err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, body, err
}
