//go:build real

package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A thousand changes while 200,000 lines a second are written.
func TestRealAThousandChangesWhileLinesFlow(t *testing.T) {
	changes{number: 1000, rate: 200_000, pause: 50 * time.Millisecond, seed: rand.Uint64(), memory: true}.run(t)
}
