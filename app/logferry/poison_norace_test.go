//go:build !race

package main

const (
	// manyLetters are 120 MB of values.
	manyLetters = 200_000
	// mostMiB is what a command may take to read them.
	mostMiB = 160
)
