package middleware

import (
	"errors"

	"github.com/logferry/logferry/handlers/logs"
)

// refusals splits err: the failures that are permanent, and the kind of the
// rest, the gravest of Unavailable and Transient. An error that names no item
// and is permanent is a refusal of all that is pending: then all is true in
// the one failure with index -1.
func refusals(err error) (refused []logs.Failure, rest logs.Kind) {
	var batch *logs.BatchError
	if !errors.As(err, &batch) || len(batch.Failures()) == 0 {
		kind := logs.KindOf(err)
		if kind == logs.Permanent {
			return []logs.Failure{{Index: everything, Err: err}}, logs.Transient
		}
		return nil, kind
	}
	rest = logs.Transient
	for _, f := range batch.Failures() {
		switch logs.KindOf(f.Err) {
		case logs.Permanent:
			refused = append(refused, f)
		case logs.Unavailable:
			rest = logs.Unavailable
		}
	}
	return refused, rest
}

// everything is the index of a failure that is about all that is pending.
const everything = -1

// ofPart says whether err speaks of one part of the sink.
func ofPart(err error) bool {
	var held *logs.HeldError
	return errors.As(err, &held)
}

// onlyParts says whether all that failed waits for parts of the sink, so that
// the success of others tells nothing.
func onlyParts(err error) bool {
	var batch *logs.BatchError
	if !errors.As(err, &batch) || len(batch.Failures()) == 0 {
		return ofPart(err)
	}
	for _, f := range batch.Failures() {
		if !ofPart(f.Err) {
			return false
		}
	}
	return true
}
