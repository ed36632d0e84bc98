//go:build real

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/app/oracle"
)

// realWorld is a host with a real Kafka and a real Elasticsearch.
type realWorld struct {
	t                     *testing.T
	dir, brokers, elastic string
	suffix                string // makes topics and indices this test's own
}

func newRealWorld(t *testing.T) *realWorld {
	t.Helper()
	w := &realWorld{
		t: t, dir: t.TempDir(),
		brokers: os.Getenv("KAFKA_BROKERS"), elastic: os.Getenv("ELASTICSEARCH_URL"),
		suffix: fmt.Sprintf("_%d", time.Now().UnixNano()),
	}
	t.Cleanup(w.showLogs)
	require.NotEmpty(t, w.brokers, "KAFKA_BROKERS names a real Kafka")
	require.NotEmpty(t, w.elastic, "ELASTICSEARCH_URL names a real Elasticsearch")
	return w
}

func quietLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// config writes a config file of sections that all share, and more.
func (w *realWorld) config(name, more string) string {
	w.t.Helper()
	return w.configFor(name, w.elastic, more)
}

// configFor is config for an Elasticsearch at another address.
func (w *realWorld) configFor(name, elastic, more string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(w.t, os.WriteFile(path, fmt.Appendf(nil, `
node: host-1
data_dir: %s
admin: {listen: ''}
kafka: {brokers: [%s]}
elasticsearch: {addresses: [%s]}
%s`, filepath.Join(w.dir, "data-"+name), w.brokers, elastic, more), 0o600))
	return path
}

// start starts a service of many that a test starts: what it says goes to a
// file, the end of which is shown if the test fails.
func (w *realWorld) start(service, file string) *process {
	w.t.Helper()
	said, err := os.OpenFile(filepath.Join(w.dir, service+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	defer said.Close()
	p := &process{t: w.t, cmd: command(w.t, w.dir, service, "--config", file), errors: &safeBuffer{}}
	p.cmd.Stderr = said
	require.NoError(w.t, p.cmd.Start())
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

// showLogs shows, if the test failed, the end of what services said.
func (w *realWorld) showLogs() {
	if !w.t.Failed() {
		return
	}
	for _, service := range []string{"agent", "transfer"} {
		said, _ := os.ReadFile(filepath.Join(w.dir, service+".log"))
		w.t.Logf("%s said:\n...%s", service, said[max(0, len(said)-8000):])
	}
}

// try asks Elasticsearch, which may be away.
func (w *realWorld) try(method, path, body string, answer any) error {
	req, err := http.NewRequest(method, w.elastic+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(answer)
}

func (w *realWorld) ask(method, path, body string) map[string]any {
	w.t.Helper()
	var answer map[string]any
	require.NoError(w.t, w.try(method, path, body, &answer))
	return answer
}

// count returns how many documents an index holds; 0 when it is not there.
func (w *realWorld) count(index, query string) int {
	w.t.Helper()
	n, err := w.tryCount(index, query)
	require.NoError(w.t, err)
	return n
}

func (w *realWorld) tryCount(index, query string) (int, error) {
	var refreshed any
	if err := w.try(http.MethodPost, "/"+index+"/_refresh", "", &refreshed); err != nil {
		return 0, err
	}
	body := ""
	if query != "" {
		body = `{"query":{"query_string":{"query":` + fmt.Sprintf("%q", query) + `}}}`
	}
	var answer struct{ Count int }
	err := w.try(http.MethodPost, "/"+index+"/_count", body, &answer)
	return answer.Count, err
}

// index makes an index of messages that are kept and not analyzed.
func (w *realWorld) index(name string) {
	w.t.Helper()
	answer := w.ask(http.MethodPut, "/"+name, `{
		"settings":{"number_of_replicas":0,"refresh_interval":"5s"},
		"mappings":{"properties":{"message":{"type":"keyword","index":false,"doc_values":false}}}}`)
	require.Equal(w.t, true, answer["acknowledged"], "%v", answer)
}

// topic makes a topic.
func (w *realWorld) topic(name string, partitions int32) {
	w.t.Helper()
	w.admin(func(a *kadm.Client) {
		_, err := a.CreateTopic(context.Background(), partitions, 1, nil, name)
		require.NoError(w.t, err)
	})
}

func (w *realWorld) admin(f func(*kadm.Client)) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers))
	require.NoError(w.t, err)
	defer cl.Close()
	f(kadm.NewClient(cl))
}

// lag returns how many records of a topic a group has not committed.
func (w *realWorld) lag(group, topic string) (lag int64) {
	w.t.Helper()
	w.admin(func(a *kadm.Client) {
		ends, err := a.ListEndOffsets(context.Background(), topic)
		require.NoError(w.t, err)
		committed, err := a.FetchOffsets(context.Background(), group)
		require.NoError(w.t, err)
		ends.Each(func(end kadm.ListedOffset) {
			lag += end.Offset
			if o, ok := committed.Lookup(topic, end.Partition); ok {
				lag -= o.At
			}
		})
	})
	return lag
}

// inTopic shows a tally all records that a topic holds now.
func (w *realWorld) inTopic(tally *oracle.Tally, topic string) oracle.Verdict {
	w.t.Helper()
	left := int64(0)
	w.admin(func(a *kadm.Client) {
		ends, err := a.ListEndOffsets(context.Background(), topic)
		require.NoError(w.t, err)
		require.NoError(w.t, ends.Error())
		ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(8<<20))
	require.NoError(w.t, err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		require.NoError(w.t, ctx.Err(), "%d records are left of %s", left, topic)
		fetches.EachRecord(func(r *kgo.Record) { tally.See(r.Value); left-- })
	}
	return tally.Verdict()
}

// inIndex shows a tally the message of each document of an index.
func (w *realWorld) inIndex(tally *oracle.Tally, index string) oracle.Verdict {
	w.t.Helper()
	w.count(index, "")
	path, body := "/"+index+"/_search?scroll=1m", `{"size":10000,"sort":["_doc"],"_source":["message"]}`
	for {
		var page struct {
			ID   string `json:"_scroll_id"`
			Hits struct {
				Hits []struct {
					Source struct{ Message string } `json:"_source"`
				}
			}
		}
		require.NoError(w.t, w.try(http.MethodPost, path, body, &page))
		require.NotEmpty(w.t, page.ID)
		for _, h := range page.Hits.Hits {
			tally.See([]byte(h.Source.Message))
		}
		path, body = "/_search/scroll", fmt.Sprintf(`{"scroll":"1m","scroll_id":%q}`, page.ID)
		if len(page.Hits.Hits) == 0 {
			w.ask(http.MethodDelete, "/_search/scroll", fmt.Sprintf(`{"scroll_id":%q}`, page.ID))
			return tally.Verdict()
		}
	}
}

// requireExactlyOnce waits until an index holds as many documents as lines are
// owed, or gets no more, and looks at each of them and at each record.
func (w *realWorld) requireExactlyOnce(ledger *oracle.Ledger, topic, index string) (inTopic oracle.Verdict) {
	w.t.Helper()
	owed := ledger.Owed()
	_, err := oracle.Await(context.Background(), 8*time.Second, func(context.Context) (int, error) {
		n, err := w.tryCount(index, "")
		w.t.Logf("%s: %d documents %v", time.Now().Format(time.TimeOnly), n, err)
		return owed - n, err
	})
	require.NoError(w.t, err)
	inTopic = w.inTopic(ledger.Tally(), topic)
	w.t.Logf("topic: %s", inTopic)
	inIndex := w.inIndex(ledger.Tally(), index)
	w.t.Logf("index: %s", inIndex)
	require.NoError(w.t, inTopic.AtLeastOnce())
	require.NoError(w.t, inIndex.ExactlyOnce())
	return inTopic
}

// script is what LOGFERRY_SERVERS names: it starts and stops the real servers.
type script struct {
	w    *realWorld
	path string
}

// servers returns the script of the servers under test. Without one they are
// somebody else's and not killed.
func (w *realWorld) servers() script {
	w.t.Helper()
	s := script{w, os.Getenv("LOGFERRY_SERVERS")}
	if s.path == "" {
		w.t.Skip("LOGFERRY_SERVERS names no script that the servers may be restarted with")
	}
	status, err := exec.Command(s.path, "status").Output()
	require.NoError(w.t, err, "%s", status)
	if !strings.Contains(string(status), w.brokers) || !strings.Contains(string(status), w.elastic) {
		w.t.Skipf("LOGFERRY_SERVERS runs other servers than KAFKA_BROKERS and ELASTICSEARCH_URL:\n%s", status)
	}
	w.t.Cleanup(func() { require.NoError(w.t, s.start("all")) })
	return s
}

func (s script) start(name string) error {
	out, err := exec.Command(s.path, "start", name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("start %s: %w\n%s", name, err, out)
	}
	return nil
}

// crash kills a server and starts it again.
func (s script) crash(name string) error {
	home := os.Getenv("SERVERS_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		home = filepath.Join(user, ".cache", "logferry-servers")
	}
	text, err := os.ReadFile(filepath.Join(home, "run", name, "pid"))
	if err != nil {
		return err
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	for !ended(pid) {
		time.Sleep(5 * time.Millisecond)
	}
	return s.start(name)
}

// ended says whether a process, and each thread of it, is gone, or only waits
// for its parent to notice: until then its ports are taken.
func ended(pid int) bool {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(threads) == 0 {
		return true
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, fields, _ := strings.Cut(string(stat), ") ")
	return len(threads) == 1 && strings.HasPrefix(fields, "Z")
}
