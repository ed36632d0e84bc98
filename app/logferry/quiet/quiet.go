// Package quiet keeps libraries from writing to standard error while they are
// initialised: the metrics library of the embedded log store complains there,
// at every start of every command, about hosts without pressure figures.
//
// It imports so little that Go initialises it before that library: packages
// are initialised in the order of their import paths as soon as all that they
// import is.
package quiet

import (
	"io"
	"log"
)

func init() { log.SetOutput(io.Discard) }

// Restore lets the standard logger write to w. The main function calls it
// first.
func Restore(w io.Writer) { log.SetOutput(w) }
