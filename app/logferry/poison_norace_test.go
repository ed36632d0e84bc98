//go:build !race

package main

// mostMiB is what a command may take.
const mostMiB = 160
