package pipeline

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

func (w *world) agentFile() string {
	return w.file("agent.yml", "\nagent: {inputs: [{name: web, paths: ['"+w.dir+"/*.log'], topic: web_log}]}\n")
}

func (w *world) transferFile() string {
	return w.file("transfer.yml", "\ntransfer: {routes: [{name: web, topics: [web_log], index: web}]}\n")
}

func TestALinesWholeWay(t *testing.T) {
	w := newWorld(t)
	w.append("a.log", "plain line", `{"code":"200","msg":"ok"}`, "bad \xff byte", "")
	w.agent(w.agentFile())
	w.transfer(w.transferFile())

	records := w.records("web_log", 4)
	require.Len(t, records, 4)
	require.Equal(t, "bad \xff byte", string(records[2].Value), "bytes are untouched in Kafka")
	headers := map[string]string{}
	for _, h := range records[1].Headers {
		headers[h.Key] = string(h.Value)
	}
	require.Equal(t, "host-1", headers[logs.HeaderNode])
	require.Equal(t, filepath.Join(w.dir, "a.log"), headers[logs.HeaderPath])
	require.Equal(t, "11", headers[logs.HeaderPos])
	require.NotEmpty(t, headers[logs.HeaderFile])
	require.Len(t, headers, 4)

	eventually(t, "4 documents", func() bool { return w.elastic.len("web") == 4 })
	require.Equal(t, map[string]int{"plain line": 1, "bad \uFFFD byte": 1, "": 1, "<nil>": 1}, w.elastic.counts("web", "message"))
	require.Equal(t, map[string]int{"200": 1, "<nil>": 3}, w.elastic.counts("web", "code"))
	require.Equal(t, map[string]int{"host-1": 4}, w.elastic.counts("web", "logferry.node"))
	require.Equal(t, map[string]int{"web_log": 4}, w.elastic.counts("web", "logferry.topic"))
	require.Equal(t, map[string]int{filepath.Join(w.dir, "a.log"): 4}, w.elastic.counts("web", "log.file.path"))
}

func TestNewAndGrowingFilesAndRestarts(t *testing.T) {
	w := newWorld(t)
	agentFile, transferFile := w.agentFile(), w.transferFile()
	lines := numbered("a", 0, 500)
	w.append("a.log", lines...)
	stopAgent, stopTransfer := w.agent(agentFile), w.transfer(transferFile)
	for round := range 4 {
		more := numbered("b", round*1000, 1000)
		lines = append(lines, more...)
		for i, l := range more {
			w.append([]string{"a.log", "b.log", "c.log"}[i%3], l)
		}
		switch round {
		case 0:
			w.exactly("web", lines)
		case 1:
			require.NoError(t, stopAgent())
			stopAgent = w.agent(agentFile)
		case 2:
			require.NoError(t, stopTransfer())
			stopTransfer = w.transfer(transferFile)
		}
	}
	w.exactly("web", lines)
	require.NoError(t, stopAgent())
	require.NoError(t, stopTransfer())
	require.Zero(t, w.elastic.repeats(), "an orderly restart repeats nothing")
	require.Len(t, w.records("web_log", len(lines)), len(lines))
}
