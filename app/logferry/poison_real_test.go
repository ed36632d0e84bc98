//go:build real

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/handlers/poison"
)

// TestRealLettersAreReplayed mends a real index, replays letters out of a real
// compacted topic, and fills the index again from a range of a real topic.
func TestRealLettersAreReplayed(t *testing.T) {
	w := newRealWorld(t)
	topic, letters := "mend"+w.suffix, "mend"+w.suffix+".letters"
	w.ask(http.MethodPut, "/"+topic, `{"mappings":{"properties":{"n":{"type":"long"}}}}`)
	var lines strings.Builder
	for i := range 1000 {
		if i%100 == 50 {
			fmt.Fprintf(&lines, `{"n":"not a number %d"}`+"\n", i)
			continue
		}
		fmt.Fprintf(&lines, `{"n":%d}`+"\n", i)
	}
	write(t, filepath.Join(w.dir, "app.log"), lines.String())
	file := w.config("all.yml", fmt.Sprintf(`
agent: {inputs: [{name: a, paths: ['%[2]s/app.log'], topic: %[1]s}]}
transfer: {routes: [{name: a, topics: [%[1]s], index: %[1]s, group: %[1]s, poison: {topic: %[3]s}}]}
`, topic, w.dir, letters))
	agent, _ := startProcess(t, w.dir, "agent", "--config", file)
	transfer, _ := startProcess(t, w.dir, "transfer", "--config", file)
	list := func() (list []poison.Letter) {
		out, errs, status := run(t, w.dir, "poison", "ls", "--config", file, "--output", "json")
		require.Zero(t, status, errs)
		require.NoError(t, json.Unmarshal([]byte(out), &list))
		// The default poison topic is read too, and others write to it.
		return slices.DeleteFunc(list, func(l poison.Letter) bool { return !strings.HasPrefix(l.ID, topic+"-") })
	}
	eventually(t, "990 documents and 10 letters", func() bool { return w.count(topic, "") == 990 && len(list()) == 10 })
	ids := map[string]bool{}
	for _, l := range list() {
		_, after, _ := strings.Cut(l.Reason, "with id '")
		id, _, _ := strings.Cut(after, "'")
		ids[id] = true
	}
	require.Len(t, ids, 10)

	// A new index takes text; the range of the topic fills it again.
	w.ask(http.MethodDelete, "/"+topic, "")
	w.ask(http.MethodPut, "/"+topic, `{"mappings":{"properties":{"n":{"type":"keyword"}}}}`)
	out, errs, status := run(t, w.dir, "poison", "replay", "--config", file, "--all", "--rate", "50")
	require.Zero(t, status, errs)
	require.Contains(t, out, "10 letters replayed")
	require.Empty(t, list())
	eventually(t, "the mended documents", func() bool { return w.count(topic, "") == 10 })
	for id := range ids {
		require.Equal(t, true, w.ask(http.MethodGet, "/"+topic+"/_doc/"+id, "")["found"], id)
	}
	out, errs, status = run(t, w.dir, "replay", "--config", file, "--route", "a", "--from", "1h", "--output", "json")
	require.Zero(t, status, errs)
	require.JSONEq(t, `{"records":1010,"stored":990,"already_there":20,"refused":0,"poisoned":0,"dropped":0,"unreadable":0}`, out)
	require.Equal(t, 1000, w.count(topic, ""))
	require.Equal(t, 0, agent.stop())
	require.Equal(t, 0, transfer.stop())

	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers))
	require.NoError(t, err)
	defer cl.Close()
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(context.Background(), letters)
	require.NoError(t, err)
	require.Len(t, configs, 1)
	for _, c := range configs[0].Configs {
		if c.Key == "cleanup.policy" {
			require.Equal(t, "compact,delete", c.MaybeValue())
		}
	}
}
