package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/app/embedded"
)

// handles finds the descriptors by which this process reads a file.
func (w *world) handles(name string) (fds []int) {
	w.t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(w.t, err)
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		require.NoError(w.t, err)
		path, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || path != filepath.Join(w.dir, name) {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_ACCMODE == unix.O_RDONLY {
			fds = append(fds, fd)
		}
	}
	return fds
}

// mark puts a flag on the handle of a file that a handle opened later has not:
// to append, which means nothing to who only reads.
func (w *world) mark(names ...string) {
	w.t.Helper()
	for _, name := range names {
		fds := w.handles(name)
		require.Len(w.t, fds, 1, name)
		_, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETFL, unix.O_APPEND)
		require.NoError(w.t, err)
	}
}

// untouched asks that files are still read by the handles that were marked.
func (w *world) untouched(names ...string) {
	w.t.Helper()
	for _, name := range names {
		fds := w.handles(name)
		require.Len(w.t, fds, 1, name)
		flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0)
		require.NoError(w.t, err)
		require.NotZero(w.t, flags&unix.O_APPEND, "%s was opened again", name)
	}
}

// etcdWorld is a world whose agent follows an etcd; put puts a document of its inputs.
func etcdWorld(t *testing.T) (w *world, put func(document string)) {
	t.Helper()
	w = newWorld(t)
	server, err := embedded.StartEtcd(embedded.EtcdOptions{Dir: filepath.Join(w.dir, "etcd"), Addr: "127.0.0.1:0", Logger: w.log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Endpoint()}, DialTimeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, etcd.Close()) })
	put = func(document string) {
		t.Helper()
		_, err := etcd.Put(context.Background(), "/logferry/v1/agent", document)
		require.NoError(t, err)
	}
	w.agent(w.file("agent.yml", fmt.Sprintf("\netcd: {endpoints: [%s]}\nagent: {allowed_paths: ['%s']}\n", server.Endpoint(), w.dir)))
	w.transfer(w.file("transfer.yml", "\ntransfer: {routes: [{name: all, topics: ['/_log$/'], index: '{topic}'}]}\n"))
	return w, put
}

func TestAChangeTouchesOnlyWhatItNames(t *testing.T) {
	w, put := etcdWorld(t)
	names := []string{"web", "shop", "lab"}
	document := func(shopTopic, shopMore, more string) string {
		return fmt.Sprintf(`
inputs:
  - {name: web, paths: ['%[1]s/web.log'], topic: web_log}
  - {name: shop, paths: ['%[1]s/shop.log'], topic: %[2]s%[3]s}
  - {name: lab, paths: ['%[1]s/lab.log'], topic: lab_log}
%[4]s`, w.dir, shopTopic, shopMore, more)
	}
	put(document("shop_log", "", ""))
	written := map[string][]string{}
	ship := func(index string, name string) {
		t.Helper()
		lines := numbered(name, len(written[name]), 100)
		written[name] = append(written[name], lines...)
		w.append(name+".log", lines...)
		eventually(t, "the lines of "+name, func() bool { return w.elastic.counts(index, "message")[lines[99]] == 1 })
	}
	for _, name := range names {
		ship(name+"_log", name)
	}
	w.mark("web.log", "shop.log", "lab.log")

	steps := map[string]struct {
		document, shopIndex string
		untouched           []string
	}{
		"1 a throttle":  {document("shop_log", ", throttle: {lines_per_second: 5000}", ""), "shop_log", []string{"web.log", "shop.log", "lab.log"}},
		"2 a retry":     {document("shop_log", ", retry: {max_backoff: 3s}", ""), "shop_log", []string{"web.log", "shop.log", "lab.log"}},
		"3 another key": {document("shop_log", ", key: node", ""), "shop_log", []string{"web.log", "shop.log", "lab.log"}},
		"4 another one": {document("shop_log", "", "  - {name: new, paths: ['"+w.dir+"/new.log'], topic: new_log}"), "shop_log", []string{"web.log", "shop.log", "lab.log"}},
		"5 it goes":     {document("shop_log", "", ""), "shop_log", []string{"web.log", "shop.log", "lab.log"}},
		"6 no document": {"inputs: [", "shop_log", []string{"web.log", "shop.log", "lab.log"}},
		"7 other topic": {document("store_log", "", ""), "store_log", []string{"web.log", "lab.log"}},
		"8 a local key": {"allowed_paths: [/]\n" + document("shop_log", "", ""), "store_log", []string{"web.log", "lab.log"}},
		"9 other order": {document("store_log", "", "") + "  - {name: a, paths: ['" + w.dir + "/a.log'], topic: a_log}", "store_log", []string{"web.log", "lab.log"}},
	}
	for i := 1; i <= len(steps); i++ {
		for name, step := range steps {
			if !strings.HasPrefix(name, strconv.Itoa(i)) {
				continue
			}
			put(step.document)
			// What is put can be seen at the lines that come after it has had its time.
			time.Sleep(300 * time.Millisecond)
			ship("web_log", "web")
			ship("lab_log", "lab")
			ship(step.shopIndex, "shop")
			w.untouched(step.untouched...)
		}
	}
	w.exactly("web_log", written["web"])
	w.exactly("lab_log", written["lab"])
	require.Zero(t, w.elastic.repeats())
}

// While lines flow, one random change follows another, every third of them
// not valid.
func TestManyChangesUnderLoad(t *testing.T) {
	w, put := etcdWorld(t)
	var lines []string
	flow := func(n int) {
		more := numbered("flow", len(lines), n)
		lines = append(lines, more...)
		w.append("flow.log", more...)
	}
	random := rand.New(rand.NewPCG(1, 2))
	document := func() string {
		var b strings.Builder
		fmt.Fprintf(&b, "inputs:\n  - {name: flow, paths: ['%s/flow.log'], topic: flow_log, throttle: {lines_per_second: %d}}\n", w.dir, 20_000+random.IntN(80_000))
		for i := range random.IntN(4) {
			fmt.Fprintf(&b, "  - {name: other-%d, paths: ['%s/other-%d.log'], topic: t%d_log, retry: {max_backoff: %ds}}\n", i, w.dir, i, random.IntN(3), 1+random.IntN(9))
		}
		if random.IntN(3) == 0 {
			b.WriteString([]string{"  - {name: flow}", "nonsense: 1", "  - [", "\x00"}[random.IntN(4)])
		}
		return b.String()
	}
	for i := range 4 {
		w.append(fmt.Sprintf("other-%d.log", i), "other")
	}
	put(document())
	flow(100)
	eventually(t, "the first lines", func() bool { return w.elastic.len("flow_log") == 100 })
	w.mark("flow.log")
	for range 100 {
		put(document())
		flow(200)
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
	}
	w.exactly("flow_log", lines)
	w.untouched("flow.log")
	require.Zero(t, w.elastic.repeats())
}
