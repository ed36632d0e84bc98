//go:build real

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/app/oracle"
)

// TestRealStorm writes a million lines to files that are rotated and, while it
// does, kills the transfer each second, the agent every few seconds, and Kafka
// and Elasticsearch twice each. It waits for nothing before the next kill.
func TestRealStorm(t *testing.T) {
	w := newRealWorld(t)
	servers := w.servers()
	lines, seconds := 1_000_000, 60
	if testing.Short() {
		lines, seconds = 100_000, 20
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	topic := "storm" + w.suffix
	w.topic(topic, 4)
	w.index(topic)
	ledger := oracle.NewLedger(oracle.Text{Run: "storm", Buffer: 180})
	dir := filepath.Join(w.dir, "logs")
	require.NoError(t, os.Mkdir(dir, 0o700))
	agentFile := w.config("agent.yml", fmt.Sprintf("agent: {inputs: [{name: a, paths: ['%s/app-*.log*'], topic: %s}]}\n", dir, topic))
	transferFile := w.config("transfer.yml", fmt.Sprintf("transfer: {routes: [{name: a, topics: [%[1]s], index: %[1]s, group: %[1]s}]}\n", topic))

	began := time.Now()
	written, enough := make(chan error, 1), make(chan struct{})
	logs := &writer{ledger: ledger, dir: dir, files: 8, rnd: rand.New(rand.NewPCG(seed, 2)), wrote: make(chan struct{}, 1)}
	go func() {
		written <- logs.write(lines, time.Duration(seconds)*time.Second, enough)
	}()
	crashed := make(chan error, 2)
	for _, name := range []string{"kafka", "elasticsearch"} {
		pauses := []time.Duration{time.Duration(rnd.IntN(seconds)) * time.Second / 3, time.Duration(rnd.IntN(seconds)) * time.Second / 3}
		go func() {
			for _, p := range pauses {
				time.Sleep(p)
				if err := servers.crash(name); err != nil {
					crashed <- err
					return
				}
			}
			crashed <- nil
		}()
	}
	agent, transfer := w.start("agent", agentFile), w.start("transfer", transferFile)
	agentKills, transferKills := 0, 0
	agentLives := 1 + rnd.IntN(6)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for left := 2; left > 0 || transferKills < seconds; {
		select {
		case err := <-crashed:
			require.NoError(t, err)
			left--
			continue
		case <-tick.C:
		}
		transfer.kill()
		transfer = w.start("transfer", transferFile)
		transferKills++
		if agentLives--; agentLives == 0 {
			select {
			case <-logs.wrote: // so that something is in flight
			case <-time.After(time.Second):
			}
			agent.kill()
			agent = w.start("agent", agentFile)
			agentLives = 1 + rnd.IntN(6)
			agentKills++
		}
	}
	close(enough)
	t.Logf("agent killed %d times, transfer %d times, in %s; %d documents are there",
		agentKills, transferKills, time.Since(began), w.count(topic, ""))
	require.NoError(t, <-written)
	calm := time.Now()
	inTopic := w.requireExactlyOnce(ledger, topic, topic)
	require.NoError(t, inTopic.Exercised())
	t.Logf("all was there and counted %s after the last fault", time.Since(calm))

	require.Equal(t, 0, agent.stop())
	require.Equal(t, 0, transfer.stop())
}
