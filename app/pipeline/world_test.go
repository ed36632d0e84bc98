package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/config"
)

// world is one host, one broker and one Elasticsearch.
type world struct {
	t       *testing.T
	dir     string
	brokers []string
	elastic *elastic
	log     *slog.Logger
}

func newWorld(t *testing.T, broker ...kfake.Opt) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.DefaultNumPartitions(2), kfake.AllowAutoTopicCreation(),
	}, broker...)...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	level := slog.LevelError + 4
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	return &world{
		t:       t,
		dir:     t.TempDir(),
		brokers: cluster.ListenAddrs(),
		elastic: newElastic(t),
		log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
}

// file returns a config file: sections that all tests share, and more.
func (w *world) file(name, more string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	text := fmt.Sprintf(`
node: host-1
data_dir: %[1]s/data
shutdown_timeout: 20s
admin: {listen: ""}
kafka: {brokers: [%[2]s]}
elasticsearch: {addresses: [%[3]s], compression: none}
`, w.dir, strings.Join(w.brokers, ","), w.elastic.server.URL)
	w.write(path, text+more)
	return path
}

// write replaces a file at once, as careful people do.
func (w *world) write(path, text string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(w.t, os.Rename(path+".new", path))
}

// append adds lines to a log.
func (w *world) append(name string, lines ...string) {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
}

// numbered returns n lines that all differ.
func numbered(prefix string, from, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("%s %07d", prefix, from+i)
	}
	return lines
}

type service interface{ Run(context.Context) error }

// start runs a service and returns how to stop it.
func (w *world) start(s service, err error) (stop func() error) {
	w.t.Helper()
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	w.t.Cleanup(func() { _ = stop() })
	return stop
}

func (w *world) agent(path string) (stop func() error) {
	w.t.Helper()
	c, err := config.Load(path)
	require.NoError(w.t, err)
	return w.start(app.NewAgent(c, path, w.log))
}

func (w *world) transfer(path string) (stop func() error) {
	w.t.Helper()
	c, err := config.Load(path)
	require.NoError(w.t, err)
	return w.start(app.NewTransfer(c, path, w.log))
}

// patience is how long anything may take before it counts as never.
const patience = 60 * time.Second

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, 20*time.Millisecond, what)
}

// exactly waits until an index holds each of lines once and nothing else.
func (w *world) exactly(index string, lines []string) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%d documents in %s", len(lines), index), func() bool {
		return w.elastic.len(index) >= len(lines)
	})
	counts := w.elastic.counts(index, "message")
	for _, l := range lines {
		require.Equal(w.t, 1, counts[l], "line %q", l)
	}
	require.Len(w.t, counts, len(lines))
}

// records reads all records of a topic, until n are there.
func (w *world) records(topic string, n int) []*kgo.Record {
	w.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond))
	require.NoError(w.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		fetches := client.PollFetches(ctx)
		require.NoError(w.t, ctx.Err(), "%d of %d records in %s", len(all), n, topic)
		fetches.EachRecord(func(r *kgo.Record) { all = append(all, r) })
	}
	return all
}
