package router

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/handlers/tail"
)

// gate is a publisher that keeps which lines it got for which topic, and
// acknowledges nothing of a topic that is shut.
type gate struct {
	mu    sync.Mutex
	lines map[string][]string
	shut  map[string]chan struct{}
}

func (g *gate) Publish(topic string, messages ...*message.Message) error {
	g.mu.Lock()
	shut := g.shut[topic]
	for _, msg := range messages {
		b := logs.BatchOf(msg)
		for i := range b.Lines {
			g.lines[topic] = append(g.lines[topic], string(b.Lines[i].Value))
		}
	}
	g.mu.Unlock()
	for _, msg := range messages {
		if shut != nil {
			select {
			case <-shut:
			case <-msg.Context().Done():
				return msg.Context().Err()
			}
		}
		b := logs.BatchOf(msg)
		for i := range b.Lines {
			b.Settle(i)
		}
	}
	return nil
}

func (g *gate) Close() error { return nil }

func (g *gate) of(topic string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{}, g.lines[topic]...)
}

// TestAnInputThatComesBackWhileItDrains is about one that is taken away and put
// back before what was in flight of it has settled.
func TestAnInputThatComesBackWhileItDrains(t *testing.T) {
	dir := t.TempDir()
	source, err := tail.New(tail.Options{Dir: filepath.Join(dir, "data"), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	said := &strings.Builder{}
	shut := make(chan struct{})
	g := &gate{lines: map[string][]string{}, shut: map[string]chan struct{}{"old": shut}}
	a := NewAgent(AgentOptions{
		Source: source, Publisher: g, Letters: g, EnsurePoison: func(string) error { return nil },
		DrainTimeout: time.Hour, Logger: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	defer a.Stop()
	update := func(topic string) {
		t.Helper()
		c := config.Agent{AllowedTopics: []string{"*"}}
		if topic != "" {
			in := config.Default[config.Input]()
			in.Name, in.Topic, in.Paths = "web", topic, []string{filepath.Join(dir, "web.log")}
			c.Inputs = []config.Input{in}
		}
		require.NoError(t, a.Update(ctx, c))
	}
	file, err := os.Create(filepath.Join(dir, "web.log"))
	require.NoError(t, err)
	defer file.Close()
	write := func(line string) {
		t.Helper()
		_, err := file.WriteString(line + "\n")
		require.NoError(t, err)
	}
	arrives := func(topic string, want ...string) {
		t.Helper()
		require.Eventually(t, func() bool { return len(g.of(topic)) >= len(want) }, soon, time.Millisecond, "%s: %v", topic, want)
		require.Equal(t, want, g.of(topic))
	}

	write("one")
	update("old")
	arrives("old", "one")
	for range 20 {
		update("")
		update("new")
	}
	write("two")
	arrives("new", "two")
	require.Equal(t, []string{"one"}, g.of("old"))
	update("")
	update("newer")
	write("three")
	arrives("newer", "three")

	// Once it has drained it is gone, and can come back as if it were new.
	update("")
	close(shut)
	require.Eventually(t, func() bool { return source.Stats().Batches == 0 }, soon, time.Millisecond)
	write("four")
	update("new")
	arrives("new", "two", "four")
	update("")
	require.Eventually(t, func() bool {
		update("")
		return len(a.retiring) == 0
	}, soon, time.Millisecond, "its pipeline ends")
	require.Empty(t, said.String())
	require.Equal(t, []string{"one"}, g.of("old"))
}
