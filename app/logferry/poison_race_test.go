//go:build race

package main

// mostMiB is what a command may take: the race detector doubles what there is.
const mostMiB = 400
