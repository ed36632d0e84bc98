package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/poison"
)

// picky is an Elasticsearch that refuses documents as told.
type picky struct {
	mu     sync.Mutex
	docs   map[string]map[string]json.RawMessage // index, id
	refuse string                                // documents that hold this
}

func (e *picky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/" {
		fmt.Fprint(w, `{"version":{"number":"8.6.2"},"tagline":"You Know, for Search"}`)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var items []string
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		var action struct {
			Create struct {
				Index string `json:"_index"`
				ID    string `json:"_id"`
			}
		}
		_ = json.Unmarshal(lines.Bytes(), &action)
		lines.Scan()
		docs := e.docs[action.Create.Index]
		switch _, there := docs[action.Create.ID]; {
		case e.refuse != "" && bytes.Contains(lines.Bytes(), []byte(e.refuse)):
			items = append(items, `{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"failed to parse field [n] of type [long] in document with id '`+action.Create.ID+`'"}}}`)
		case there:
			items = append(items, `{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"there"}}}`)
		default:
			if docs == nil {
				docs = map[string]json.RawMessage{}
				e.docs[action.Create.Index] = docs
			}
			docs[action.Create.ID] = bytes.Clone(lines.Bytes())
			items = append(items, `{"create":{"status":201}}`)
		}
	}
	fmt.Fprintf(w, `{"errors":true,"items":[%s]}`, strings.Join(items, ","))
}

func (e *picky) refuses(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refuse = text
}

// find returns the ids and documents of an index that hold text.
func (e *picky) find(index, text string) map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := map[string]string{}
	for id, doc := range e.docs[index] {
		if bytes.Contains(doc, []byte(text)) {
			found[id] = string(doc)
		}
	}
	return found
}

// sick is a host whose Elasticsearch is picky.
type sick struct {
	t       *testing.T
	dir     string
	brokers string
	elastic *picky
	file    string
}

func newSick(t *testing.T) *sick {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(2), kfake.AllowAutoTopicCreation())
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	s := &sick{t: t, dir: t.TempDir(), brokers: cluster.ListenAddrs()[0], elastic: &picky{docs: map[string]map[string]json.RawMessage{}}}
	server := httptest.NewServer(s.elastic)
	t.Cleanup(server.Close)
	s.file = filepath.Join(s.dir, "t.yml")
	write(t, s.file, fmt.Sprintf(`
node: host-1
data_dir: %[1]s/data
admin: {listen: ''}
kafka: {brokers: [%[2]s]}
elasticsearch: {addresses: [%[3]s], compression: none}
agent: {inputs: [{name: a, paths: ['%[1]s/*.log'], topic: web_log}]}
transfer: {routes: [{name: web, topics: [web_log], index: web}]}
`, s.dir, s.brokers, server.URL))
	return s
}

// ask runs a command with the config and wants a status.
func (s *sick) ask(status int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	out, errs, got := run(s.t, s.dir, append(args, "--config", s.file)...)
	require.Equal(s.t, status, got, "%v: %s%s", args, out, errs)
	return out, errs
}

func (s *sick) letters() []poison.Letter {
	s.t.Helper()
	out, _ := s.ask(0, "poison", "ls", "--output", "json")
	var list []poison.Letter
	require.NoError(s.t, json.Unmarshal([]byte(out), &list), out)
	return list
}

func (s *sick) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(s.brokers), kgo.AllowAutoTopicCreation())...)
	require.NoError(s.t, err)
	s.t.Cleanup(cl.Close)
	return cl
}

func (s *sick) committed() kadm.Offsets {
	s.t.Helper()
	offsets, err := kadm.NewClient(s.client()).FetchOffsets(context.Background(), "logferry")
	require.NoError(s.t, err)
	return offsets.Offsets()
}

// TestAPoisonedLineIsMendedAndReplayed goes the whole way: a bad document, its
// letter, the mended index, the replay, and the document under its own id.
func TestAPoisonedLineIsMendedAndReplayed(t *testing.T) {
	s := newSick(t)
	s.elastic.refuses("bad")
	write(t, filepath.Join(s.dir, "a.log"), "{\"n\":1}\n{\"n\":\"bad \x1b[2J\"}\nbad \xff \x1b]0;x\x07 text\n{\"n\":2}\n")
	cl := s.client()
	require.NoError(t, cl.ProduceSync(context.Background(), &kgo.Record{Topic: "web_log", Partition: 1, Key: []byte("k\x00"), Value: []byte("bad, from elsewhere"),
		Headers: []kgo.RecordHeader{{Key: "dup", Value: []byte("1")}, {Key: "dup", Value: []byte("\xff")}}}).FirstErr())
	agent, _ := startProcess(t, s.dir, "agent", "--config", s.file)
	transfer, _ := startProcess(t, s.dir, "transfer", "--config", s.file)
	eventually(t, "good documents and letters", func() bool { return len(s.elastic.find("web", "")) == 2 && len(s.letters()) == 3 })
	refused := map[string]string{} // value to id
	for _, l := range s.letters() {
		_, after, _ := strings.Cut(l.Reason, "with id '")
		id, _, _ := strings.Cut(after, "'")
		refused[string(l.Value)] = id
		require.Equal(t, "web_log", l.Topic)
		require.Equal(t, "web", l.Route())
	}

	out, _ := s.ask(0, "poison", "ls")
	require.Equal(t, 4, strings.Count(out, "\n"), out)
	require.Contains(t, out, `{"n":"bad \x1b[2J"}`)
	require.NotContains(t, out, "\x1b")
	require.NotContains(t, out, "\xff")
	out, _ = s.ask(0, "poison", "ls", "--group")
	require.Contains(t, out, "failed to parse field [n] of type [long] in document with id '…'")
	require.Equal(t, 2, strings.Count(out, "\n"), out)
	foreign := s.letters()
	out, _ = s.ask(0, "poison", "ls", "--contains", "elsewhere", "--output", "json")
	require.NoError(t, json.Unmarshal([]byte(out), &foreign))
	require.Len(t, foreign, 1)
	out, _ = s.ask(0, "poison", "show", foreign[0].ID)
	require.Contains(t, out, "dup: 1\n")
	require.Contains(t, out, `dup: \xff`)
	require.Contains(t, out, `key          k\x00`)
	out, _ = s.ask(0, "poison", "stats", "--output", "json")
	var stats poison.Stats
	require.NoError(t, json.Unmarshal([]byte(out), &stats))
	require.EqualValues(t, 3, stats.Letters)
	require.Equal(t, []poison.Count{{Name: "web_log", Letters: 3}}, stats.Topics)

	out, _ = s.ask(0, "poison", "replay", "--route", "web", "--dry-run")
	require.Contains(t, out, "3 letters would be replayed")
	require.Len(t, s.letters(), 3)

	// A replay before the index is mended comes back.
	s.ask(0, "poison", "replay", foreign[0].ID)
	eventually(t, "the letter again", func() bool { return len(s.letters()) == 3 })

	s.elastic.refuses("")
	out, _ = s.ask(0, "poison", "replay", "--index", "w*", "--rate", "100")
	require.Contains(t, out, "3 letters replayed")
	require.Empty(t, s.letters())
	eventually(t, "all documents", func() bool { return len(s.elastic.find("web", "")) == 5 })
	for value, id := range refused {
		require.Contains(t, s.elastic.find("web", "bad"), id, "%q has the id of its first time", value)
	}
	require.Equal(t, 0, agent.stop())
	require.Equal(t, 0, transfer.stop())

	out, _ = s.ask(0, "poison", "ls")
	require.Equal(t, "No letters.\n", out)
	out, _ = s.ask(0, "poison", "ls", "--output", "json", "--limit", "0")
	require.JSONEq(t, `[]`, out)
	_, errs := s.ask(1, "poison", "replay", "gone")
	require.Contains(t, errs, "no such letter: gone")
}

func TestLettersAreExportedAndDropped(t *testing.T) {
	s := newSick(t)
	s.elastic.refuses("bad")
	write(t, filepath.Join(s.dir, "a.log"), "bad 1 \xff\nbad 2\nbad 3\n")
	agent, _ := startProcess(t, s.dir, "agent", "--config", s.file)
	transfer, _ := startProcess(t, s.dir, "transfer", "--config", s.file)
	eventually(t, "letters", func() bool { return len(s.letters()) == 3 })
	require.Equal(t, 0, agent.stop())
	require.Equal(t, 0, transfer.stop())

	out, _ := s.ask(0, "poison", "export")
	require.Equal(t, 3, strings.Count(out, "\n"))
	values := map[string]bool{}
	for line := range strings.Lines(out) {
		var l poison.Letter
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		values[string(l.Value)] = true
		require.Len(t, l.Headers, 4)
		require.NotEmpty(t, l.Key)
	}
	require.Equal(t, map[string]bool{"bad 1 \xff": true, "bad 2": true, "bad 3": true}, values)
	s.ask(0, "poison", "export", "--file", "out.ndjson", "--contains", "bad 2")
	text, err := os.ReadFile(filepath.Join(s.dir, "out.ndjson"))
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(text, []byte("\n")))

	list := s.letters()
	_, errs := s.ask(2, "poison", "drop", "--all")
	require.Contains(t, errs, "--yes is needed")
	_, errs = s.ask(2, "poison", "drop", "--yes")
	require.Contains(t, errs, "or say --all")
	out, _ = s.ask(0, "poison", "drop", list[0].ID)
	require.Contains(t, out, "1 letter dropped")
	require.Len(t, s.letters(), 2)
	out, _ = s.ask(0, "poison", "drop", "--all", "--yes", "--output", "json")
	require.JSONEq(t, `{"done":2,"topics":{"web_log":2},"left":0}`, out)
	require.Empty(t, s.letters())
}

func TestATimeRangeIsIndexedAgain(t *testing.T) {
	s := newSick(t)
	start := time.Now().Add(-time.Hour).Truncate(time.Minute)
	var recs []*kgo.Record
	for i := range 120 {
		recs = append(recs, &kgo.Record{Topic: "web_log", Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, `{"n":%d}`, i), Timestamp: start.Add(time.Duration(i/2) * time.Minute)})
	}
	require.NoError(t, s.client().ProduceSync(context.Background(), recs...).FirstErr())
	transfer, _ := startProcess(t, s.dir, "transfer", "--config", s.file)
	eventually(t, "all documents", func() bool { return len(s.elastic.find("web", "")) == 120 })
	require.Equal(t, 0, transfer.stop())
	before := s.committed()
	require.NotEmpty(t, before)

	at := func(minute int) string {
		return start.Add(time.Duration(minute) * time.Minute).UTC().Format(time.RFC3339)
	}
	between := []string{"replay", "--route", "web", "--from", at(10), "--to", at(20)}
	out, _ := s.ask(0, append(between, "--dry-run", "--output", "json")...)
	var plan planJSON
	require.NoError(t, json.Unmarshal([]byte(out), &plan))
	require.EqualValues(t, 20, plan.Records)
	out, _ = s.ask(0, append(between, "--output", "json")...)
	require.JSONEq(t, `{"records":20,"stored":0,"already_there":20,"refused":0,"poisoned":0,"dropped":0,"unreadable":0}`, out)

	first := s.elastic.find("web", "")
	s.elastic.mu.Lock()
	clear(s.elastic.docs["web"])
	s.elastic.mu.Unlock()
	out, _ = s.ask(0, between...)
	require.Contains(t, out, "20 records of route web into web\n  stored         20\n  already there  0\n")
	for id, doc := range s.elastic.find("web", "") {
		require.Equal(t, first[id], doc)
	}

	s.elastic.refuses(`"n":25,`)
	_, errs := s.ask(1, append(between, "--index", "again", "--rate", "1000")...)
	require.Contains(t, errs, "1 record could not be indexed")
	require.Len(t, s.elastic.find("again", ""), 19)
	list := s.letters()
	require.Len(t, list, 1)
	require.Equal(t, "again", list[0].Index)
	out, _ = s.ask(0, "replay", "--route", "web", "--from", "2020-01-01", "--to", "2020-01-02")
	require.Contains(t, out, "0 records")

	require.Equal(t, before, s.committed(), "the route's group is as it was")
	groups, err := kadm.NewClient(s.client()).ListGroups(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"logferry"}, groups.Groups(), "and there is no other")
}

// TestManyLettersTakeLittleMemory reads many of them.
func TestManyLettersTakeLittleMemory(t *testing.T) {
	s := newSick(t)
	cl := s.client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	value := bytes.Repeat([]byte("x"), 500)
	for i := range manyLetters {
		cl.Produce(context.Background(), &kgo.Record{Topic: "logferry.poison", Key: fmt.Appendf(nil, "web_log-0-%d", i), Value: value, Headers: []kgo.RecordHeader{
			{Key: "reason_poisoned", Value: fmt.Appendf(nil, "line %d is bad", i)}, {Key: "topic_poisoned", Value: []byte("web_log")},
			{Key: "time_poisoned", Value: []byte("2026-03-01T12:00:00Z")}, {Key: "index_poisoned", Value: []byte("web")},
		}}, nil)
	}
	require.NoError(t, cl.Flush(context.Background()))
	for _, args := range [][]string{{"stats"}, {"ls", "--limit", "0"}, {"ls", "--limit", "50"}} {
		cmd := command(t, s.dir, append(append([]string{"poison"}, args...), "--config", s.file)...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		start := time.Now()
		require.NoError(t, cmd.Start())
		rss := peak(cmd.Process.Pid)
		require.NoError(t, cmd.Wait(), "%.2000s", out.String())
		t.Logf("%v: %d MiB, %v, %d bytes", args, rss, time.Since(start).Round(time.Millisecond), out.Len())
		require.Less(t, rss, mostMiB, "MiB of memory")
		switch {
		case args[0] == "stats":
			require.Contains(t, out.String(), letters(manyLetters))
			require.Contains(t, out.String(), "line N is bad")
		case args[2] == "0":
			require.Equal(t, manyLetters, strings.Count(out.String(), "web_log-0-"))
		default:
			require.Contains(t, out.String(), "The newest 50 of "+letters(manyLetters))
		}
	}
}

// peak follows a process to its end and returns the most MiB that it had.
func peak(pid int) (mib int) {
	for ; ; time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, after, found := bytes.Cut(text, []byte("VmHWM:"))
		if err != nil || !found {
			return mib
		}
		kib := 0
		_, _ = fmt.Sscan(string(after), &kib)
		mib = max(mib, kib>>10)
	}
}

func TestWrongCallsOfPoisonAndReplay(t *testing.T) {
	s := newSick(t)
	for _, c := range []struct {
		says string
		args []string
	}{
		{"--config FILE is needed", []string{"poison", "ls"}},
		{"unknown command \"lst\"", []string{"poison", "lst"}},
		{"show takes the ID", []string{"poison", "show", "--config", s.file}},
		{"or say --all", []string{"poison", "replay", "--config", s.file}},
		{"--rate is 0 or more", []string{"poison", "replay", "a", "--rate", "-1", "--config", s.file}},
		{"--limit is 0 or more", []string{"poison", "ls", "--limit", "-1", "--config", s.file}},
		{"is no time", []string{"poison", "ls", "--since", "tomorrow", "--config", s.file}},
		{"--output is text or json", []string{"poison", "stats", "--output", "xml", "--config", s.file}},
		{"--route ROUTE is needed", []string{"replay", "--from", "1h", "--config", s.file}},
		{"--from T is needed", []string{"replay", "--route", "web", "--config", s.file}},
		{"--from is not before --to", []string{"replay", "--route", "web", "--from", "1h", "--to", "2h", "--config", s.file}},
		{"no route \"wbe\"; the routes are web", []string{"replay", "--route", "wbe", "--from", "1h", "--config", s.file}},
		{"index name", []string{"replay", "--route", "web", "--from", "1h", "--index", "a b", "--config", s.file}},
	} {
		out, errs, status := run(t, s.dir, c.args...)
		require.Equal(t, 2, status, "%v: %s", c.args, errs)
		require.Contains(t, errs, c.says)
		require.Empty(t, out)
	}
	write(t, filepath.Join(s.dir, "away.yml"), "kafka: {brokers: ['127.0.0.1:1']}\n")
	for _, args := range [][]string{{"poison", "ls"}, {"poison", "export"}, {"poison", "drop", "a"}} {
		_, errs, status := run(t, s.dir, append(args, "--config", "away.yml")...)
		require.Equal(t, 1, status)
		require.Contains(t, errs, "127.0.0.1:1")
		require.Contains(t, errs, "connection refused")
	}
}
