package tail

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// More files than may be open, empty ones and others: all are known at once,
// each line comes once, and it is said once that there are too many.
func TestManyMoreFilesThanMayBeOpen(t *testing.T) {
	r := newRig(t)
	said := r.listen()
	r.o.MaxOpenFiles = 32
	r.inputs = []config.Input{r.input("in", "*.log")}
	var want []string
	for i := range 1000 {
		line := ""
		if i%10 == 0 {
			line = "old " + itoa(uint64(i)) + "\n"
			want = append(want, strings.TrimSpace(line))
		}
		r.write(itoa(uint64(i))+".log", line)
	}
	r.start()
	r.waitFor(func() bool { return r.src.Stats().Files == 1000 })
	r.wait(want...)
	for round := range 3 {
		for i := round; i < 1000; i += 7 {
			name := itoa(uint64(i)) + ".log"
			if i%14 == 0 {
				r.rename(name, name+".1")
			}
			line := itoa(uint64(round)) + " new " + name
			r.write(name, line+"\n")
			want = append(want, line)
		}
		r.waitFor(func() bool { return len(r.texts()) >= len(want) })
		require.LessOrEqual(t, r.src.Stats().Open, 32)
	}
	require.ElementsMatch(t, want, r.texts())
	require.LessOrEqual(t, strings.Count(said.String(), "more files want to be open"), 1)
	r.oneID()
}
