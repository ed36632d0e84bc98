//go:build real

package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/app/embedded"
)

func TestRealSeedScenario(t *testing.T) {
	w := newRealWorld(t)
	server, err := embedded.StartEtcd(embedded.EtcdOptions{Dir: filepath.Join(w.dir, "etcd"), Addr: "127.0.0.1:0", Logger: quietLogger()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	etcd := "etcd: {endpoints: ['" + server.Endpoint() + "']}\n"
	agent, _ := startProcess(t, w.dir, "agent", "--config", w.config("agent.yml", etcd+"agent: {allowed_paths: ['"+w.dir+"']}\n"))
	transfer, _ := startProcess(t, w.dir, "transfer", "--config", w.config("transfer.yml", etcd))
	web, shop := "web_log"+w.suffix, "shop_log"+w.suffix
	put(t, server.Endpoint(), "/collect_log_conf",
		fmt.Sprintf(`[{"path":"./xx.log","topic":%q},{"path":"./xy.log","topic":%q}]`, web, shop))
	write(t, filepath.Join(w.dir, "xx.log"), `{"time":"123","code":"200","msg":"ok"}`+"\n")
	write(t, filepath.Join(w.dir, "xy.log"), `{"time":"321","code":"500","msg":"not ok"}`+"\n")
	eventually(t, "both documents", func() bool { return w.count(web, "code:200") == 1 && w.count(shop, "code:500") == 1 })
	put(t, server.Endpoint(), "/collect_log_conf", fmt.Sprintf(`[{"path":"./zz.log","topic":%q}]`, web))
	write(t, filepath.Join(w.dir, "zz.log"), "from zz\n")
	eventually(t, "the new tail", func() bool { return w.count(web, "message:zz") == 1 })
	write(t, filepath.Join(w.dir, "xx.log"), "unread\n")
	write(t, filepath.Join(w.dir, "zz.log"), "again\n")
	eventually(t, "the new tail", func() bool { return w.count(web, "message:again") == 1 })
	require.Equal(t, 3, w.count(web, ""))
	require.Equal(t, 0, agent.stop())
	require.Equal(t, 0, transfer.stop())
}

// TestRealPoison refuses one document in a thousand by its mapping.
func TestRealPoison(t *testing.T) {
	w := newRealWorld(t)
	topic := "poison" + w.suffix
	w.ask(http.MethodPut, "/"+topic, `{"mappings":{"properties":{"n":{"type":"long"}}}}`)
	var b strings.Builder
	for i := range 1000 {
		if i == 500 {
			b.WriteString(`{"n":"not a number"}` + "\n")
			continue
		}
		fmt.Fprintf(&b, `{"n":%d}`+"\n", i)
	}
	write(t, filepath.Join(w.dir, "app.log"), b.String())
	agent, _ := startProcess(t, w.dir, "agent", "--config",
		w.config("agent.yml", fmt.Sprintf("agent: {inputs: [{name: a, paths: ['%s/app.log'], topic: %s}]}\n", w.dir, topic)))
	transfer, _ := startProcess(t, w.dir, "transfer", "--config",
		w.config("transfer.yml", fmt.Sprintf("transfer: {routes: [{name: a, topics: [%[1]s], index: %[1]s, group: %[1]s, poison: {topic: %[1]s.letters}}]}\n", topic)))
	eventually(t, "999 documents", func() bool { return w.count(topic, "") == 999 })
	eventually(t, "a letter", func() bool {
		return strings.Contains(transfer.errors.String(), "sent what was refused to the poison topic")
	})
	require.Equal(t, 0, agent.stop())
	require.Equal(t, 0, transfer.stop())
	require.Equal(t, 999, w.count(topic, ""))
}

// TestRealMillionLines appends a million lines of 180 bytes while `up` runs,
// and finds each of them once.
func TestRealMillionLines(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir, "*.log")
	const total, chunk = 1_000_000, 10_000
	for from := 0; from < total; from += chunk {
		var b strings.Builder
		for i := from; i < from+chunk; i++ {
			fmt.Fprintf(&b, "line %07d %s\n", i, strings.Repeat("x", 180-14))
		}
		write(t, filepath.Join(dir, "app.log"), b.String())
	}
	deadline := time.Now().Add(5 * time.Minute)
	for {
		rows, different := p.count(`{index="logs"}`)
		if different == total {
			require.Equal(t, total, rows, "none twice")
			break
		}
		require.True(t, time.Now().Before(deadline), "%d rows, %d lines", rows, different)
		time.Sleep(time.Second)
	}
	require.Equal(t, 0, p.stop())
}
