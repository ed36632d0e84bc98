package index

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/logferry/logferry/handlers/logs"
)

// maxReason bounds the sentence of a refusal, in bytes.
const maxReason = 1024

// maxAnswerDepth is beyond any answer of Elasticsearch.
const maxAnswerDepth = 32

// verdict is what an answer says of one document.
type verdict uint8

const (
	// stored: the document is in the index.
	stored verdict = iota
	// conflict: the id exists, so an earlier attempt stored the document.
	conflict
	// retry: this document was not taken, for a reason that passes.
	retry
	// hold: documents like this are refused, whatever is in them.
	hold
	// refused: this document is refused for its own sake.
	refused
)

// item is what an answer says of one document, as far as it failed.
type item struct {
	status       int
	failureStore string
	kind, reason string
}

// verdict classifies the answer to a create.
func (it *item) verdict() verdict {
	switch {
	case it.failureStore == "used":
		return refused // kept by Elasticsearch, but not in the index
	case it.status == 200 || it.status == 201:
		if it.kind == "" && it.reason == "" {
			return stored
		}
		return retry // contradicts itself
	case it.kind == "cluster_block_exception":
		return hold // 403, or 429 since 7.7: read-only, closed for writes, disk full
	case it.status == http.StatusConflict:
		if it.kind == "" || strings.Contains(it.kind, "version_conflict") {
			return conflict
		}
		return retry
	case it.status == http.StatusTooManyRequests, it.status == http.StatusRequestTimeout, it.status >= 500:
		return retry
	case it.status == http.StatusUnauthorized, it.status == http.StatusForbidden, it.status == http.StatusNotFound:
		return hold // credentials, privileges, licence, index missing with auto-create off
	case it.status >= 400:
		if it.aboutEverybody() {
			return hold
		}
		return refused
	}
	return retry
}

// aboutEverybody finds those answers with status 400 that speak of the index
// or the cluster and not of the document.
func (it *item) aboutEverybody() bool {
	switch it.kind {
	case "index_closed_exception":
		return true
	case "validation_exception":
		return strings.Contains(it.reason, "shards open")
	case "illegal_argument_exception":
		return strings.HasPrefix(it.reason, "no write index is defined") ||
			strings.HasPrefix(it.reason, "pipeline with id [")
	}
	return false
}

// busy says whether the sink has too much to do. A 503 of an item says that a
// shard is missing.
func (it *item) busy() bool { return it.status == http.StatusTooManyRequests }

func busyStatus(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable ||
		status == http.StatusGatewayTimeout || status == http.StatusRequestTimeout
}

// refusal gives what the poison queue keeps of a refused document.
func (it *item) refusal(index string) *logs.Refusal {
	kind := it.kind
	if it.failureStore == "used" && kind == "" {
		kind = "failure_store"
	}
	return &logs.Refusal{Index: index, Status: it.status, Type: kind, Reason: clip(it.reason, maxReason)}
}

// err says why a document was not taken, for a retry.
func (it *item) err(index string) error {
	return fmt.Errorf("index %q: %s", index, it.text())
}

// text gives status, type and reason on one line.
func (it *item) text() string {
	text := it.kind
	if it.reason != "" {
		text += ": " + clip(it.reason, maxReason)
	}
	if text == "" {
		text = http.StatusText(it.status)
	}
	return fmt.Sprintf("status %d: %s", it.status, text)
}

var errUnreadable = errors.New("the answer cannot be read")

var (
	allStoredHead = []byte(`"errors":false,"items":[`)
	itemCreated   = []byte(`{"create":{"status":201}}`)
)

// maxTook is the most bytes before allStoredHead: servers that take no notice
// of the filter say first how long they took.
const maxTook = 32

// parseAnswer calls visit for each document that the answer to n documents
// does not call newly stored. When it returns an error, the answer says
// nothing about any document, whatever visit was told: it is no JSON, was cut,
// or speaks of more or fewer documents than were sent.
func parseAnswer(body []byte, n int, visit func(i int, it item)) error {
	if allCreated(body, n) {
		return nil
	}
	var s shape
	if s.scan(body, maxAnswerDepth, 1<<30) != isObject {
		return fmt.Errorf("%w: %s", errUnreadable, snippet(body))
	}
	items := gjson.GetBytes(body, "items")
	if !items.IsArray() {
		return fmt.Errorf("%w: it has no items: %s", errUnreadable, snippet(body))
	}
	list := []byte(items.Raw)
	count := 0
	for i := spaces(list, 1); i < len(list) && list[i] != ']'; count++ {
		end := i + len(itemCreated)
		if !bytes.HasPrefix(list[i:], itemCreated) {
			end = skipValue(list, i)
			if it := readItem(list[i:end]); count < n && it.verdict() != stored {
				visit(count, it)
			}
		}
		if i = spaces(list, end); i < len(list) && list[i] == ',' {
			i = spaces(list, i+1)
		}
	}
	if count != n {
		return fmt.Errorf("%w: it has %d items for %d documents", errUnreadable, count, n)
	}
	return nil
}

// allCreated recognises the answer that comes nearly always.
func allCreated(body []byte, n int) bool {
	at := bytes.Index(body[:min(len(body), maxTook+len(allStoredHead))], allStoredHead)
	if at < 0 || !isTook(body[:at]) {
		return false
	}
	rest := body[at+len(allStoredHead):]
	if len(rest) < n*(len(itemCreated)+1)+1 {
		return false
	}
	for i := range n {
		if i > 0 {
			if rest[0] != ',' {
				return false
			}
			rest = rest[1:]
		}
		if len(rest) < len(itemCreated) || string(rest[:len(itemCreated)]) != string(itemCreated) {
			return false
		}
		rest = rest[len(itemCreated):]
	}
	return string(bytes.TrimSpace(rest)) == "]}"
}

// isTook says whether head is the beginning of an object that holds nothing, or
// how long the request took.
func isTook(head []byte) bool {
	digits, ok := bytes.CutPrefix(head, []byte(`{"took":`))
	if !ok {
		return string(head) == "{"
	}
	n := skipDigits(digits, 0)
	return n > 0 && string(digits[n:]) == ","
}

// readItem reads {"create":{...}}; the zero item is one that says nothing.
func readItem(b []byte) item {
	var it item
	gjson.ParseBytes(b).ForEach(func(_, action gjson.Result) bool {
		action.ForEach(func(key, value gjson.Result) bool {
			switch key.Str {
			case "status":
				it.status = int(value.Int())
			case "failure_store":
				it.failureStore = value.Str
			case "error":
				it.kind, it.reason = readError(value)
			}
			return true
		})
		return false
	})
	return it
}

// readError reads an error object, or the bare sentence that some servers send.
func readError(value gjson.Result) (kind, reason string) {
	if !value.IsObject() {
		return "", value.String()
	}
	kind, reason = value.Get("type").Str, value.Get("reason").Str
	if cause := value.Get("caused_by.reason").Str; cause != "" && !strings.Contains(reason, cause) {
		reason += ": " + cause
	}
	return kind, reason
}

// busyError says that the sink asks for a pause.
type busyError struct {
	err   error
	after time.Duration
}

func (e *busyError) Error() string { return e.err.Error() }
func (e *busyError) Unwrap() error { return e.err }

// RetryAfter returns how long the sink asks to wait; a retry finds it by
// errors.As on interface{ RetryAfter() time.Duration }.
func (e *busyError) RetryAfter() time.Duration { return e.after }

// whole is what an answer with another status than 200 says of its request.
type whole uint8

const (
	wholeFailed whole = iota // everything is in the error
	wholeSplit               // too much, or one of the documents cannot be read
)

// judge classifies an answer whose status is not 200.
func judge(a *answer) (whole, error) {
	err := fmt.Errorf("post _bulk to %s: %s", a.where, describe(a.status, a.body))
	switch {
	case a.status == http.StatusRequestEntityTooLarge, a.status == http.StatusBadRequest:
		return wholeSplit, err
	case a.status == http.StatusTooManyRequests, a.status == http.StatusRequestTimeout, a.status >= 500:
		if a.retryAfter > 0 {
			return wholeFailed, &busyError{err, a.retryAfter}
		}
		return wholeFailed, err
	case a.status/100 == 2:
		return wholeFailed, err
	}
	return wholeFailed, logs.AsUnavailable(err)
}

// describe says what a status and a body mean, on one short line.
func describe(status int, body []byte) string {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	kind, reason := wholeReason(body)
	switch {
	case kind != "":
		return text + ": " + kind + ": " + reason
	case reason != "":
		return text + ": " + reason
	}
	return text
}

// wholeReason reads the error of an answer that speaks of the request.
func wholeReason(body []byte) (kind, reason string) {
	var s shape
	if s.scan(body, maxAnswerDepth, 10_000) == isObject {
		kind, reason = readError(gjson.GetBytes(body, "error"))
		if reason != "" {
			return kind, clip(reason, maxReason)
		}
	}
	return "", snippet(body)
}

// snippet shows the beginning of what is no answer, without control characters.
func snippet(body []byte) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(body[:min(len(body), 400)]), "?"))
	return clip(strings.Join(strings.Fields(text), " "), 200)
}

// clip cuts s to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "..."
	for n -= len(mark); n > 0 && !utf8.RuneStart(s[n]); n-- {
	}
	return s[:n] + mark
}
