package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type childAddrs struct{ Etcd, Bulk string }

// runServers is the life of a child: it ends by being killed.
func runServers(dir string) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	e, err := StartEtcd(EtcdOptions{Dir: filepath.Join(dir, "etcd"), Addr: "127.0.0.1:0", Logger: logger})
	if err != nil {
		return err
	}
	limit, err := strconv.ParseInt(os.Getenv(childLimit), 10, 64)
	if err != nil {
		return err
	}
	s, err := StartStore(StoreOptions{
		Dir: filepath.Join(dir, "store"), BulkAddr: "127.0.0.1:0", SearchAddr: "127.0.0.1:0",
		Logger: logger, journalLimit: limit,
	})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(childAddrs{e.Endpoint(), s.BulkURL()}); err != nil {
		return err
	}
	select {}
}

// startChild starts the servers in a process of their own. kill ends it with
// SIGKILL and waits until it is gone.
func startChild(t *testing.T, dir string, journalLimit int) (addrs childAddrs, kill func()) {
	t.Helper()
	cmd := childCommand(dir, journalLimit)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &addrs), string(line))
	return addrs, kill
}

func childCommand(dir string, journalLimit int) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childLimit+"="+strconv.Itoa(journalLimit))
	cmd.Stderr = os.Stderr
	return cmd
}

// killWhileItStarts kills a child at some instant of its recovery.
func killWhileItStarts(t *testing.T, dir string) {
	t.Helper()
	cmd := childCommand(dir, 0)
	require.NoError(t, cmd.Start())
	time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

func killDoc(n int) string {
	// Some lie on another day, some in another index, some in a stream of their own.
	index, when := "kill", "2026-05-06T07:08:09Z"
	if n%10 == 0 {
		when = "2025-05-06T07:08:09Z"
	}
	if n%7 == 0 {
		index = "kill2"
	}
	return fmt.Sprintf("{\"create\":{\"_index\":%q,\"_id\":\"id-%d\"}}\n{\"@timestamp\":%q,\"message\":\"line %d\",\"log\":{\"file\":{\"path\":\"/log/%d\"}}}\n", index, n, when, n, n/2000)
}

// sendUntilKilled sends bulks of 20 documents by two connections, the numbers
// from next on, until the server is gone. It returns those that were answered.
func sendUntilKilled(t *testing.T, url string, next *int) (acked []int) {
	t.Helper()
	var mu sync.Mutex
	var senders sync.WaitGroup
	for range 2 {
		senders.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				time.Sleep(time.Millisecond) // enough, and not more to read back than that
				mu.Lock()
				from := *next
				*next += 20
				mu.Unlock()
				var body strings.Builder
				for n := from; n < from+20; n++ {
					body.WriteString(killDoc(n))
				}
				resp, err := client.Post(url+"/_bulk?filter_path=errors", "application/x-ndjson", strings.NewReader(body.String()))
				if err != nil {
					return
				}
				answer, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					return
				}
				if string(answer) != `{"errors":false}` {
					t.Errorf("answer %s", answer)
				}
				mu.Lock()
				for n := from; n < from+20; n++ {
					acked = append(acked, n)
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	return acked
}

func TestKilledStoreHasEachDocumentOnce(t *testing.T) {
	dir := t.TempDir()
	next := 0
	acked := make(map[int]bool)
	for _, limit := range []int{0, 100 << 10, 0} {
		addrs, kill := startChild(t, dir, limit)
		life := time.Duration(200+rand.IntN(800)) * time.Millisecond
		if limit > 0 {
			life += 1200 * time.Millisecond // the journal is emptied once a second
		}
		timer := time.AfterFunc(life, kill)
		for _, n := range sendUntilKilled(t, addrs.Bulk, &next) {
			acked[n] = true
		}
		timer.Stop()
		kill()
		killWhileItStarts(t, dir)
	}
	t.Logf("%d sent, %d answered", next, len(acked))
	require.NotEmpty(t, acked)

	s := startStore(t, filepath.Join(dir, "store"))
	requireEachOnce(t, s, next, acked)
	// What was not answered is sent again, as the transfer does, and the rest too.
	for from := 0; from < next; from += 5000 {
		var body []string
		for n := from; n < min(from+5000, next); n++ {
			body = append(body, strings.TrimSuffix(killDoc(n), "\n"))
		}
		for i, status := range ptr(bulk(t, s, body...)).statuses() {
			require.Contains(t, []int{201, 409}, status)
			if acked[from+i] {
				require.Equal(t, 409, status, "document %d", from+i)
			}
		}
	}
	all := make(map[int]bool)
	for n := range next {
		all[n] = true
	}
	requireEachOnce(t, s, next, all)
	require.NoError(t, s.Close())
	s = startStore(t, filepath.Join(dir, "store"))
	requireEachOnce(t, s, next, all)
}

// requireEachOnce reads all documents back through their streams.
func requireEachOnce(t *testing.T, s *Store, sent int, want map[int]bool) {
	t.Helper()
	times := make([]int, sent)
	var mu sync.Mutex
	s.logs.flush()
	err := s.logs.query(context.Background(), `{index=~"kill.*"} | fields _id`, 0, maxTime, func(columns [][]string) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range columns[0] {
			n := -1
			if _, err := fmt.Sscanf(id, "id-%d", &n); err != nil || n < 0 || n >= sent {
				t.Errorf("id %q", id)
				return
			}
			times[n]++
		}
	}, "_id")
	require.NoError(t, err)
	lost, repeated := 0, 0
	for n, count := range times {
		if count > 1 {
			repeated++
		}
		if count == 0 && want[n] {
			lost++
		}
	}
	require.Zero(t, lost, "lost")
	require.Zero(t, repeated, "repeated")
}

func TestKilledEtcdGoesOn(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	addrs, kill := startChild(t, dir, 0)
	c := etcdClient(t, addrs.Etcd)
	_, err := c.Put(ctx, "k", "v")
	require.NoError(t, err)
	require.NoError(t, c.Close())
	kill()

	addrs, _ = startChild(t, dir, 0)
	c = etcdClient(t, addrs.Etcd)
	defer c.Close()
	got, err := c.Get(ctx, "k")
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
}
