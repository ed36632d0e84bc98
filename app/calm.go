package app

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// calmEvery is how often it is looked at how much was done.
	calmEvery = 5 * time.Second
	// busyBytes in that time are work, after which much of the heap is spare;
	// calmBytes are not.
	busyBytes = 4 << 20
	calmBytes = 256 << 10
)

// giveBack returns spare memory to the system each time that work has calmed
// down, the start included. A quiet process collects its garbage every two
// minutes, and keeps for much longer what it had when it was busy: most hosts
// have other uses for it. work returns a growing number of bytes.
func giveBack(work func() uint64) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(calmEvery)
		defer tick.Stop()
		busy, last := true, work()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
			now := work()
			switch did := now - last; {
			case did > busyBytes:
				busy = true
			case busy && did < calmBytes:
				busy = false
				runtime.GC() // what is pooled goes with the second collection
				debug.FreeOSMemory()
				TrimStartup()
			}
			last = now
		}
	}
}
