package broker

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func startBroker(t *testing.T, dir string) *Broker {
	t.Helper()
	b, err := Start(Options{Dir: dir, Addr: "127.0.0.1:0", Logger: testLogger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func kafkaClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.AllowAutoTopicCreation())...)
	require.NoError(t, err)
	return c
}

// fillBroker writes n records to topic t, reads half of them in group g and
// commits, and keeps three letters in the compacted topic c.
func fillBroker(ctx context.Context, t *testing.T, addr string, n int) {
	t.Helper()
	c := kafkaClient(t, addr)
	defer c.Close()
	for i := range n {
		c.Produce(ctx, &kgo.Record{Topic: "t", Value: fmt.Appendf(nil, "line %d", i)}, nil)
	}
	require.NoError(t, c.Flush(ctx))
	admin := kadm.NewClient(c)
	compact := "compact"
	_, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"cleanup.policy": &compact}, "c")
	require.NoError(t, err)
	for _, key := range []string{"a", "b", "a", "c"} {
		require.NoError(t, c.ProduceSync(ctx, &kgo.Record{Topic: "c", Key: []byte(key), Value: []byte("v")}).FirstErr())
	}
	offsets := make(kadm.Offsets)
	offsets.AddOffset("t", 0, int64(n/2), -1)
	require.NoError(t, admin.CommitAllOffsets(ctx, "g", offsets))
}

func requireBrokerHolds(ctx context.Context, t *testing.T, addr string, n int) {
	t.Helper()
	c := kafkaClient(t, addr, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit())
	defer c.Close()
	for i := n / 2; i < n; {
		for _, r := range c.PollFetches(ctx).Records() {
			require.Equal(t, fmt.Sprintf("line %d", i), string(r.Value))
			i++
		}
		require.NoError(t, ctx.Err())
	}
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, "t", "c")
	require.NoError(t, err)
	end, _ := ends.Lookup("t", 0)
	require.EqualValues(t, n, end.Offset)
	end, _ = ends.Lookup("c", 0)
	require.EqualValues(t, 4, end.Offset)
	configs, err := kadm.NewClient(c).DescribeTopicConfigs(ctx, "c")
	require.NoError(t, err)
	rc, err := configs.On("c", nil)
	require.NoError(t, err)
	policy := ""
	for _, kv := range rc.Configs {
		if kv.Key == "cleanup.policy" {
			policy = kv.MaybeValue()
		}
	}
	require.Equal(t, "compact", policy)
}

func TestBrokerGoesOnWhereItStopped(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	b := startBroker(t, dir)
	_, err := Start(Options{Dir: dir, Addr: "127.0.0.1:0", Logger: testLogger(t)})
	require.ErrorContains(t, err, "in use")
	fillBroker(ctx, t, b.Addr(), 1000)
	require.NoError(t, b.Close())
	for range 2 {
		b = startBroker(t, dir)
		requireBrokerHolds(ctx, t, b.Addr(), 1000)
		require.NoError(t, b.Close())
	}
}

func TestSweeperKeepsWhatIsNotRead(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	b := startBroker(t, t.TempDir())
	const n = 20_000
	fillBroker(ctx, t, b.Addr(), n) // group g has read half of t
	c := kafkaClient(t, b.Addr())
	defer c.Close()
	require.NoError(t, c.ProduceSync(ctx, &kgo.Record{Topic: "nobody", Value: make([]byte, 10_000)}).FirstErr())
	admin := kadm.NewClient(c)
	s := &sweeper{addr: b.Addr(), logger: testLogger(t)}
	start := func(topic string) int64 {
		t.Helper()
		starts, err := admin.ListStartOffsets(ctx, "t", "c", "nobody")
		require.NoError(t, err)
		at, ok := starts.Lookup(topic, 0)
		require.True(t, ok)
		return at.Offset
	}
	require.NoError(t, s.sweep(ctx, admin, 1<<30))
	require.EqualValues(t, 0, start("t"))
	require.NoError(t, s.sweep(ctx, admin, 1))
	require.EqualValues(t, n/2, start("t"))
	require.EqualValues(t, 0, start("c"), "compacted")
	require.EqualValues(t, 0, start("nobody"), "never read")
	requireBrokerHolds(ctx, t, b.Addr(), n)
}

func TestAKilledBrokerGoesOn(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	addr, kill := startChild(t, dir)
	fillBroker(ctx, t, addr, 1000)
	kill()
	addr, _ = startChild(t, dir)
	requireBrokerHolds(ctx, t, addr, 1000)
}

// startChild starts a broker in a process of its own. kill ends it with SIGKILL
// and waits until it is gone.
func startChild(t *testing.T, dir string) (addr string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	addr, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(addr), kill
}
