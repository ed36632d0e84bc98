package etcd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/logferry/logferry/config"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(beMember); text != "" {
		runMember(text)
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // they wait more than they compute
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// server is an embedded etcd that can stop and come back on the same address.
type server struct {
	t    *testing.T
	dir  string
	addr string
	tls  bool
	ttl  uint // of tokens, in seconds; 0: etcd's own
	etcd *embed.Etcd
	// cutOff ends the streams of clients, for which a stop would wait.
	cutOff context.CancelFunc
}

// endingStream is a stream that also ends with ctx.
type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }

func endWith(ctx context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		own, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return handle(srv, endingStream{stream, own})
	}
}

func newServer(t *testing.T) *server {
	return &server{t: t, dir: t.TempDir(), addr: freeAddr(t)}
}

func startServer(t *testing.T) *server {
	s := newServer(t)
	s.start()
	return s
}

// freeAddr is below the ports that connections get, so that it is still free
// when a server comes back to it.
func freeAddr(t *testing.T) string {
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		defer l.Close()
		return l.Addr().String()
	}
}

func (s *server) start() {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Name, cfg.UnsafeNoFsync, cfg.BcryptCost = s.dir, "test", true, 4
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	client := url.URL{Scheme: "http", Host: s.addr}
	if s.tls {
		client.Scheme, cfg.ClientAutoTLS, cfg.SelfSignedCertValidity = "https", true, 1
	}
	if s.ttl > 0 {
		cfg.AuthTokenTTL = s.ttl
	}
	peer := url.URL{Scheme: "http", Host: freeAddr(s.t)}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	var streams context.Context
	streams, s.cutOff = context.WithCancel(context.Background())
	cfg.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.ChainStreamInterceptor(endWith(streams))}
	etcd, err := embed.StartEtcd(cfg)
	require.NoError(s.t, err)
	<-etcd.Server.ReadyNotify()
	s.etcd = etcd
	s.t.Cleanup(s.stop)
}

func (s *server) stop() {
	if s.etcd != nil {
		s.cutOff()
		s.etcd.Close()
		s.etcd = nil
	}
}

// wipe stops the server and deletes what it knows.
func (s *server) wipe() {
	s.stop()
	require.NoError(s.t, os.RemoveAll(s.dir))
}

func (s *server) config() config.Etcd {
	cfg := config.Default[config.Etcd]()
	cfg.Endpoints = []string{s.addr}
	return cfg
}

// do runs f with a client of its own.
func (s *server) do(f func(ctx context.Context, c *clientv3.Client)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := Client(ctx, s.config())
	require.NoError(s.t, err)
	defer c.Close()
	f(ctx, c)
}

func (s *server) put(keysAndValues ...string) {
	s.t.Helper()
	s.do(func(ctx context.Context, c *clientv3.Client) {
		for i := 0; i < len(keysAndValues); i += 2 {
			_, err := c.Put(ctx, keysAndValues[i], keysAndValues[i+1])
			require.NoError(s.t, err)
		}
	})
}

// publisher keeps the revisions that were published.
type publisher struct {
	mu        sync.Mutex
	revisions []int64
}

func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	if topic != Changed {
		return fmt.Errorf("topic %q", topic)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range messages {
		revision, err := strconv.ParseInt(string(m.Payload), 10, 64)
		if err != nil {
			return err
		}
		p.revisions = append(p.revisions, revision)
	}
	return nil
}

func (p *publisher) Close() error { return nil }

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.revisions)
}

// logged keeps the messages of level warn and above.
type logged struct {
	slog.Handler
	mu    sync.Mutex
	warns []string
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Level >= slog.LevelWarn {
		l.warns = append(l.warns, r.Message)
	}
	return nil
}

func (l *logged) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.warns...)
}

type running struct {
	*Watcher
	t    *testing.T
	pub  *publisher
	log  *logged
	stop func()
}

// testKeys are those of every role at once.
func testKeys(cfg config.Etcd) config.Keys {
	c := config.Config{Node: "n", Labels: map[string]string{"zone": "z"}, Etcd: &cfg}
	keys := c.AgentKeys()
	keys.Transfer = c.TransferKeys().Transfer
	return keys
}

// watch runs a Watcher of node n until the test ends.
func watch(t *testing.T, cfg config.Etcd) *running { return watchOver(t, NewLink(cfg)) }

func watchOver(t *testing.T, link *Link) *running { return watchAsking(t, link, askAlive) }

func watchAsking(t *testing.T, link *Link, each time.Duration) *running {
	r := &running{t: t, pub: &publisher{}, log: &logged{}}
	var err error
	r.Watcher, err = New(link, testKeys(link.cfg), r.pub, slog.New(r.log))
	require.NoError(t, err)
	r.askEach = each
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(r.stop)
	return r
}

// holds waits until the snapshot is as want says.
func (r *running) holds(want func(d config.Docs) bool) {
	r.t.Helper()
	r.within(30*time.Second, want)
}

func (r *running) within(patience time.Duration, want func(d config.Docs) bool) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		s, ok := r.Snapshot()
		return ok && want(s.Docs)
	}, patience, 5*time.Millisecond, "stats: %+v", r.Stats())
}

func is(doc *config.Document, value string) bool { return doc != nil && string(doc.Data) == value }
