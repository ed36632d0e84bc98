// Package quiet keeps the log of the standard library silent while packages
// are initialized.
//
// VictoriaMetrics' metrics package logs an error from a package variable on
// every machine whose kernel does not count pressure stalls; a program that
// merely links it would begin each run with that line. Packages are initialized
// in the order of their import paths as soon as all that they import is: this
// one imports log alone and goes before all that import net/http, which imports
// log too. Whoever imports this package calls [Over] in an init function.
package quiet

import (
	"io"
	"log"
)

var before = log.Writer()

func init() { log.SetOutput(io.Discard) }

// Over ends the silence.
func Over() { log.SetOutput(before) }
