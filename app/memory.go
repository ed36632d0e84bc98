package app

import (
	"os"
	"runtime"
	"runtime/debug"
)

// UseOneCore keeps a process that is an agent and nothing else to one core,
// unless the environment says something of its own (GOMAXPROCS). One ships more
// than any host writes, and less is spent on waking and on memory that moves
// between cores: 0.42 µs a line instead of 0.45, and 4 MiB less.
func UseOneCore() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// transferGC lets the heap of a transfer grow to three times what lives before
// it is collected: for a 180-byte document 1.06 to 1.18 µs instead of 1.23 to
// 1.49, for a peak of 105 to 131 MiB instead of 71 to 99.
const transferGC = 200

// TradeMemoryForTime sets the garbage collector for a process that is a
// transfer and nothing else, unless the environment says something of its own.
func TradeMemoryForTime() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(transferGC)
	}
}
