package app

import (
	"os"
	"runtime/debug"
)

// upMemory is the soft limit of the heap of `up`: six programs in one process
// would otherwise each wait for twice what they need. A million lines a minute
// ago leave it at half a gigabyte without, at the same rate.
const upMemory = 384 << 20

// limitMemory sets the garbage collector's soft limit, unless the environment
// says something of its own (GOMEMLIMIT, GOGC).
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" && os.Getenv("GOGC") == "" {
		debug.SetMemoryLimit(bytes)
	}
}
