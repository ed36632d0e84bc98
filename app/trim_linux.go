package app

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// TrimStartup gives back the pages of the program's own file that were mapped
// while its packages were initialised: most belong to the embedded servers,
// which an agent or a transfer never runs. They stay in the kernel's cache, and
// what is needed again is mapped at a fault.
//
// A mapping that holds a page of its own, because the dynamic loader wrote into
// it before it was made read-only, is left alone: that page, swapped out or not,
// would be lost.
func TrimStartup() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	var from, to uintptr // of the mapping that the lines are about; 0 when it is none of ours
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasSuffix(line, exe):
			from = 0
			var access string
			_, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access)
			if err != nil || strings.Contains(access, "w") {
				from = 0
			}
		case strings.HasPrefix(line, "Anonymous:"), strings.HasPrefix(line, "Swap:"):
			_, size, _ := strings.Cut(line, ":")
			if strings.TrimSpace(size) != "0 kB" {
				from = 0
			}
		case from > 0 && strings.HasPrefix(line, "VmFlags:"): // the last line of a mapping
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
			from = 0
		}
	}
}
