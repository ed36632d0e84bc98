package pipeline

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/app/embedded"
)

func TestAChangedFileIsReconciledUnderLoad(t *testing.T) {
	w := newWorld(t)
	agentFile := func(topic string, extra string) {
		w.file("agent.yml", fmt.Sprintf(`
agent:
  inputs:
    - {name: web, paths: ['%[1]s/web*.log'], topic: web_log}
    - {name: shop, paths: ['%[1]s/shop*.log'], topic: %[2]s}
%[3]s`, w.dir, topic, extra))
	}
	agentFile("shop_log", "")
	w.agent(filepath.Join(w.dir, "agent.yml"))
	w.transfer(w.file("transfer.yml", `
transfer: {routes: [{name: all, topics: ['/_log$/'], index: '{topic}'}]}
`))
	web := numbered("web", 0, 100)
	w.append("web.log", web...)
	w.append("shop.log", numbered("shop", 0, 100)...)
	w.exactly("web_log", web)
	w.exactly("shop_log", numbered("shop", 0, 100))

	// A mistake changes nothing.
	w.write(filepath.Join(w.dir, "agent.yml"), "agent: {inputs: 7}")
	web = append(web, numbered("web", 100, 100)...)
	w.append("web.log", web[100:]...)
	w.exactly("web_log", web)

	// Another topic for one input, a new input, while the third goes on.
	agentFile("store_log", fmt.Sprintf("    - {name: new, paths: ['%s/new.log'], topic: new_log}\n", w.dir))
	w.append("new.log", "new 1")
	w.exactly("new_log", []string{"new 1"})
	w.append("shop.log", "to store")
	w.exactly("store_log", []string{"to store"})
	web = append(web, numbered("web", 200, 100)...)
	w.append("web.log", web[200:]...)
	w.exactly("web_log", web)
	require.Zero(t, w.elastic.repeats())

	// What is removed stops; a topic that changes with it says when.
	agentFile("third_log", "")
	eventually(t, "the change", func() bool {
		w.append("shop.log", "ping")
		return w.elastic.len("third_log") > 0
	})
	w.append("new.log", "unread")
	w.append("shop.log", "last")
	eventually(t, "the last line", func() bool { return w.elastic.counts("third_log", "message")["last"] == 1 })
	require.Equal(t, 1, w.elastic.len("new_log"))
}

func TestTheSeedsScenario(t *testing.T) {
	w := newWorld(t)
	server, err := embedded.StartEtcd(embedded.EtcdOptions{Dir: filepath.Join(w.dir, "etcd"), Addr: "127.0.0.1:0", Logger: w.log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Endpoint()}, DialTimeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, etcd.Close()) })
	put := func(value string) {
		_, err := etcd.Put(context.Background(), "/collect_log_conf", value)
		require.NoError(t, err)
	}
	connect := fmt.Sprintf("\netcd: {endpoints: [%s]}\n", server.Endpoint())
	t.Chdir(w.dir)
	w.agent(w.file("agent.yml", connect+"agent: {allowed_paths: ['"+w.dir+"']}\n"))
	w.transfer(w.file("transfer.yml", connect))

	put(`[{"path":"./xx.log","topic":"web_log"},{"path":"./xy.log","topic":"shop_log"}]`)
	w.append("xx.log", `{"time":"123","code":"200","msg":"ok"}`)
	w.append("xy.log", `{"time":"321","code":"500","msg":"not ok"}`)
	eventually(t, "both documents", func() bool { return w.elastic.len("web_log") == 1 && w.elastic.len("shop_log") == 1 })
	require.Equal(t, map[string]int{"ok": 1}, w.elastic.counts("web_log", "msg"))
	require.Equal(t, map[string]int{"123": 1}, w.elastic.counts("web_log", "time"))
	require.Equal(t, map[string]int{"500": 1}, w.elastic.counts("shop_log", "code"))

	// The old tails stop, the new one starts.
	put(`[{"path":"./zz.log","topic":"other_log"}]`)
	w.append("zz.log", "from zz")
	w.exactly("other_log", []string{"from zz"})
	w.append("xx.log", "unread")
	w.append("zz.log", "again")
	w.exactly("other_log", []string{"from zz", "again"})
	require.Equal(t, 1, w.elastic.len("web_log"))

	// What is not valid changes nothing; then it all comes back.
	put(`[{"path":"./zz.log"`)
	put(`[{"path":"./xx.log","topic":"web_log","more":1}]`)
	w.append("zz.log", "still")
	w.exactly("other_log", []string{"from zz", "again", "still"})
	put(`[{"path":"./xx.log","topic":"web_log"}]`)
	eventually(t, "the line that waited", func() bool { return w.elastic.counts("web_log", "message")["unread"] == 1 })
	require.Equal(t, 2, w.elastic.len("web_log"))
	require.Zero(t, w.elastic.repeats())
}

func TestTheLastGoodConfigStandsInForEtcd(t *testing.T) {
	w := newWorld(t)
	options := embedded.EtcdOptions{Dir: filepath.Join(w.dir, "etcd"), Addr: "127.0.0.1:0", Logger: w.log}
	server, err := embedded.StartEtcd(options)
	require.NoError(t, err)
	options.Addr = server.Endpoint()
	put := func(key, value string) {
		etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{options.Addr}, DialTimeout: 5 * time.Second})
		require.NoError(t, err)
		_, err = etcd.Put(context.Background(), key, value)
		require.NoError(t, err)
		require.NoError(t, etcd.Close())
	}
	good := fmt.Sprintf(`{"inputs":[{"name":"a","paths":["%s/a.log"],"topic":"a_log"}]}`, w.dir)
	put("/logferry/v1/agent", good)
	connect := fmt.Sprintf("\netcd: {endpoints: [%s]}\n", options.Addr)
	agentFile := w.file("agent.yml", connect+"agent: {allowed_paths: ['"+w.dir+"']}\n")
	w.transfer(w.file("transfer.yml", "\ntransfer: {routes: [{name: a, topics: [a_log], index: a}]}\n"))

	stop := w.agent(agentFile)
	w.append("a.log", "1")
	w.exactly("a", []string{"1"})
	require.NoError(t, stop())

	// A document that is bad when the agent comes back.
	put("/logferry/v1/agent", `{"inputs": 7}`)
	stop = w.agent(agentFile)
	w.append("a.log", "2")
	w.exactly("a", []string{"1", "2"})
	require.NoError(t, stop())

	// etcd is away.
	require.NoError(t, server.Close())
	stop = w.agent(agentFile)
	w.append("a.log", "3")
	w.exactly("a", []string{"1", "2", "3"})

	// It comes back, and then another document.
	server, err = embedded.StartEtcd(options)
	require.NoError(t, err)
	put("/logferry/v1/agent", fmt.Sprintf(`{"inputs":[{"name":"b","paths":["%s/b.log"],"topic":"a_log"}]}`, w.dir))
	w.append("b.log", "4")
	w.exactly("a", []string{"1", "2", "3", "4"})
	require.NoError(t, stop())
	require.NoError(t, server.Close())

	// It comes back without its data.
	options.Dir = filepath.Join(w.dir, "etcd2")
	server, err = embedded.StartEtcd(options)
	require.NoError(t, err)
	w.agent(agentFile)
	w.append("b.log", "5")
	w.exactly("a", []string{"1", "2", "3", "4", "5"})
	require.NoError(t, server.Close())
}
