package pipeline

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/app"
	"github.com/logferry/logferry/handlers/logs"
)

func TestOneBadDocumentGoesToPoisonAndTheOthersOn(t *testing.T) {
	w := newWorld(t)
	w.elastic.item = func(_ string, doc map[string]any) (int, string, string) {
		if text, _ := doc["message"].(string); strings.HasSuffix(text, "0000500") {
			return 400, "document_parsing_exception", "no room for 500"
		}
		return 0, "", ""
	}
	lines := numbered("p", 0, 1000)
	w.append("a.log", lines...)
	w.agent(w.agentFile())
	w.transfer(w.transferFile())

	w.exactly("web", append(lines[:500:500], lines[501:]...))
	letters := w.records("logferry.poison", 1)
	require.Len(t, letters, 1)
	require.Equal(t, lines[500], string(letters[0].Value))
	headers := map[string]string{}
	for _, h := range letters[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	require.Contains(t, headers[logs.PoisonReason], "no room for 500")
	require.Equal(t, "web_log", headers[logs.PoisonTopic])
	require.Equal(t, "web", headers[logs.PoisonIndex])
	require.Equal(t, "400", headers[logs.PoisonStatus])
	require.Equal(t, "document_parsing_exception", headers[logs.PoisonType])
	require.Equal(t, "host-1", headers[logs.HeaderNode], "the original's headers are kept")
	for _, key := range []string{logs.PoisonPartition, logs.PoisonOffset, logs.PoisonTime, logs.PoisonKey, logs.PoisonHandler, logs.PoisonSubscriber} {
		require.Contains(t, headers, key)
	}
}

func TestAnOutageIsWaitedFor(t *testing.T) {
	for name, status := range map[string]int{"503": 503, "401": 401, "429": 429} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			healthy := time.Now().Add(2 * time.Second)
			w.elastic.fail(func() int {
				if time.Now().Before(healthy) {
					return status
				}
				return 0
			})
			lines := numbered("o", 0, 3000)
			w.append("a.log", lines...)
			w.agent(w.agentFile())
			w.transfer(w.file("transfer.yml", `
transfer:
  routes:
    - {name: web, topics: [web_log], index: web, breaker: {open_for: 500ms}, retry: {max_backoff: 500ms}}
`))
			w.exactly("web", lines)
		})
	}
}

func TestThrottledLinesWait(t *testing.T) {
	w := newWorld(t)
	lines := numbered("t", 0, 300)
	w.append("a.log", lines...)
	start := time.Now()
	w.agent(w.file("agent.yml", `
agent: {inputs: [{name: web, paths: ['`+w.dir+`/*.log'], topic: web_log, throttle: {lines_per_second: 200}}]}
`))
	w.transfer(w.transferFile())
	w.exactly("web", lines)
	require.Greater(t, time.Since(start), time.Second)
}

func TestAStopWithTheSinkAwayEndsAndLosesNothing(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Bool
	w.elastic.fail(func() int {
		asked.Store(true)
		return 503
	})
	lines := numbered("s", 0, 1000)
	w.append("a.log", lines...)
	stopAgent := w.agent(w.agentFile())
	transferFile := w.transferFile()
	stopTransfer := w.transfer(transferFile)
	eventually(t, "a request", asked.Load)
	require.NoError(t, stopAgent())
	require.ErrorIs(t, stopTransfer(), app.ErrUnsettled)
	w.elastic.fail(nil)
	w.transfer(transferFile)
	w.exactly("web", lines)
}
