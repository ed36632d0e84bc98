package kafka

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

// Lines that no ordinary batch has room for take a connection of their own, and
// must neither overtake nor be overtaken there.
func TestPublisherKeepsOrderAroundLargeLines(t *testing.T) {
	c, cfg := broker(t)
	require.NoError(t, c.CreateTopic("large", 1, map[string]string{"max.message.bytes": "9000000"}))
	p := newPublisher(t, cfg)
	large := strings.Repeat("L", 2<<20)
	batches := [][]string{
		{"a"}, {large}, {large}, {"b"}, {"c", large}, {"d"}, {large, "e"}, {"f"}, {large}, {"g"}, {"h", large, "i"}, {"j"},
	}
	for range 3 {
		var wg sync.WaitGroup
		var turn *logs.Turn
		n := 0
		for _, values := range batches {
			b := batchOf("k", values...)
			for i := range b.Lines {
				b.Lines[i].Pos = int64(n)
				n++
			}
			turn = logs.NewTurn(turn)
			b.Turn = turn
			wg.Go(func() {
				if err := p.Publish("large", batchMessage(context.Background(), b)); err != nil {
					t.Error(err)
				}
				b.Turn.Settled()
			})
		}
		wg.Wait()
	}
	for i, r := range read(t, cfg, "large", 3*16) {
		require.Equal(t, itoa(i%16), header(r, "lf-pos"))
	}
}
