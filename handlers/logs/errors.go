package logs

import (
	"context"
	"errors"
	"fmt"
)

// Kind says what an error asks for.
type Kind uint8

const (
	// Transient errors may pass: the stage is asked again. Every error of
	// unknown kind is transient.
	Transient Kind = iota
	// Unavailable errors say that a sink refuses or cannot be reached,
	// whatever it is given: the batch waits for as long as it takes, and
	// give_up_after does not apply.
	Unavailable
	// Permanent errors are a verdict about this line or record: it goes to
	// the poison queue.
	Permanent
	// Stopped errors come from a context that ended: nothing was decided.
	Stopped
)

type kindError struct {
	kind Kind
	err  error
}

func (e *kindError) Error() string { return e.err.Error() }
func (e *kindError) Unwrap() error { return e.err }

// AsPermanent marks err as a verdict about one line or record.
func AsPermanent(err error) error { return &kindError{Permanent, err} }

// AsUnavailable marks err as a refusal of everybody.
func AsUnavailable(err error) error { return &kindError{Unavailable, err} }

// HeldError says that one part of a sink, such as one index, refuses whatever it
// is given, while others may take theirs. It is unavailable, but no sign that
// the sink is: whoever counts failures of the sink leaves it out.
type HeldError struct {
	// Part names what refuses, for people.
	Part string
	// Err is the sink's reason.
	Err error
}

// Error gives part and reason.
func (e *HeldError) Error() string { return e.Part + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *HeldError) Unwrap() error { return e.Err }

// KindOf returns the kind of err. A mark wins over a context's error that it
// wraps: a request that ran into its own deadline is not a stop.
func KindOf(err error) Kind {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return Permanent
	}
	var held *HeldError
	if errors.As(err, &held) {
		return Unavailable
	}
	var k *kindError
	if errors.As(err, &k) {
		return k.kind
	}
	if errors.Is(err, context.Canceled) {
		return Stopped
	}
	return Transient
}

// Failure is one line or record that failed, by its index in the batch.
type Failure struct {
	Index int
	Err   error
}

// BatchError lists what failed of a batch. What it does not list is settled or,
// as Settled says, was not tried; unless it lists nothing: then all that is
// pending failed.
type BatchError struct {
	// Cause is the first reason, for people.
	Cause    error
	failures []Failure
}

// NewBatchError returns an error without failures: all that is pending failed.
func NewBatchError(cause error) *BatchError { return &BatchError{Cause: cause} }

// Failed adds item i. Items may come in any order, each once.
func (e *BatchError) Failed(i int, err error) *BatchError {
	if e.Cause == nil {
		e.Cause = err
	}
	e.failures = append(e.failures, Failure{i, err})
	return e
}

// Failures returns the items that failed; the slice is the error's own.
func (e *BatchError) Failures() []Failure { return e.failures }

// Error names the number of failures and the first reason.
func (e *BatchError) Error() string {
	if len(e.failures) == 0 {
		return e.Cause.Error()
	}
	return fmt.Sprintf("%d failed, the first: %v", len(e.failures), e.Cause)
}

// Unwrap returns the cause.
func (e *BatchError) Unwrap() error { return e.Cause }

// Refusal is a verdict about one line or record, with what the poison queue
// keeps of it. It is permanent.
type Refusal struct {
	// Index is where the document was to go; empty when the refusal is Kafka's.
	Index string
	// Status is the sink's status code, 0 when there was none.
	Status int
	// Type is the sink's word for the error, such as document_parsing_exception.
	Type string
	// Reason is the sink's sentence, capped by whoever made the refusal.
	Reason string
}

// Error gives type and reason.
func (r *Refusal) Error() string {
	if r.Type == "" {
		return r.Reason
	}
	return r.Type + ": " + r.Reason
}
