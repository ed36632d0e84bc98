//go:build race

package main

// The race detector makes everything several times as slow and as large.
const (
	manyLetters = 40_000
	mostMiB     = 400
)
