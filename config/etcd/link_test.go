package etcd

import (
	"bufio"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// connections are those of this process to an address.
func connections(t *testing.T, addr string) (n int) {
	t.Helper()
	_, port, _ := strings.Cut(addr, ":")
	f, err := os.Open("/proc/self/net/tcp")
	require.NoError(t, err)
	defer f.Close()
	remote := "0100007F:" + hex(t, port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if f[2] == remote && f[3] == "01" { // established
			n++
		}
	}
	return n
}

func hex(t *testing.T, port string) string {
	t.Helper()
	n := 0
	for _, r := range port {
		n = 10*n + int(r-'0')
	}
	const digits = "0123456789ABCDEF"
	return string([]byte{digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15]})
}

// A process's watcher and reporter have one connection, through faults too, and
// leave none behind.
func TestAProcessHasOneConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := openStore(t, s.config())
	link := NewLink(s.config())
	w := watchOver(t, link)
	set, stop := startReporterOver(t, link, "n", "one")
	one := func() bool { return connections(t, s.addr) == 2 } // the store's is the other
	fleetIs(t, store, "agent n alive one")
	w.holds(config.Docs.Empty)
	require.Eventually(t, one, 30*time.Second, 5*time.Millisecond)

	s.stop()
	s.start()
	set("two")
	fleetIs(t, store, "agent n alive two")
	s.put(agentKey, "a")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a") })
	require.Eventually(t, one, 30*time.Second, 5*time.Millisecond)

	// Whoever finds that it does not work any more has it made anew for both.
	line, err := link.take(context.Background())
	require.NoError(t, err)
	link.giveUp(line, errSilent)
	link.leave(line)
	set("three")
	fleetIs(t, store, "agent n alive three")
	s.put(agentKey, "b")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "b") })
	require.Eventually(t, one, 30*time.Second, 5*time.Millisecond)

	w.stop()
	set("four")
	fleetIs(t, store, "agent n alive four")
	stop()
	fleetIs(t, store, "agent n gone four stopped")
	require.Eventually(t, func() bool { return connections(t, s.addr) == 1 }, 30*time.Second, 5*time.Millisecond)
	require.Nil(t, link.line)
}
