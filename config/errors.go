package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong in a file or document.
type Error struct {
	// File is the file's name or the document's key in etcd.
	File string `json:"file"`
	// Line counts from 1; 0 when no line is to blame.
	Line int `json:"line"`
	// Key is the path of keys, such as agent.inputs[0].topic; empty when the whole is to blame.
	Key string `json:"key"`
	// Reason says what is wrong and, where there is one, what to write instead.
	Reason string `json:"reason"`
}

// Error writes file:line: key: reason, without what is not known.
func (e Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, e.Line)
	}
	if e.Key != "" {
		s += ": " + e.Key
	}
	return s + ": " + e.Reason
}

// maxErrors are kept of a document; a person who has seen so many will fix the
// cause of the others too.
const maxErrors = 100

// Errors is everything that is wrong. It is what every function of this
// package returns for a config that is not valid.
type Errors struct {
	// All is sorted by file, line and key, and holds at most 100 of a document.
	All []Error
}

// Error prints one per line.
func (e *Errors) Error() string {
	lines := make([]string, len(e.All))
	for i, one := range e.All {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// add takes the errors of err, which is nil or *Errors.
func (e *Errors) add(err error) {
	if more, ok := err.(*Errors); ok {
		e.All = append(e.All, more.All...)
	}
}

// orNil returns e, sorted and without repeats, or nil when it is empty.
func (e *Errors) orNil() error {
	if len(e.All) == 0 {
		return nil
	}
	slices.SortStableFunc(e.All, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	e.All = slices.Compact(e.All)
	return e
}
