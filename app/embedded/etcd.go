package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"google.golang.org/grpc"

	"github.com/logferry/logferry/app/embedded/local"
)

const (
	// One member alone wins its election by waiting a few ticks: with these the
	// start takes 150 ms, with etcd's own a second.
	etcdTickMs     = 50
	etcdElectionMs = 250

	// etcd allocates a log segment ahead; its own 64 MB are for clusters.
	etcdLogSegment = 4 << 20

	// What `config history` can look back on: one revision per change, and one
	// per status report and lease of each service.
	etcdKeepRevisions = "100000"
	etcdQuota         = 512 << 20

	etcdStartTimeout = 30 * time.Second
)

// EtcdOptions says where the embedded etcd lives.
type EtcdOptions struct {
	Dir    string // its data directory, made when absent
	Addr   string // client address, a loopback "host:port"; port 0 takes any
	Logger *slog.Logger
}

// Etcd is a running etcd of one member.
type Etcd struct {
	server   *embed.Etcd
	endpoint string
	running  *atomic.Bool       // what it logs is worth reading
	cutOff   context.CancelFunc // ends the streams of clients
	unlock   func()
}

// StartEtcd starts etcd on o.Dir and returns when it takes writes. What it logs
// from warning upwards goes to o.Logger. A folder that another process uses is
// an error at once; etcd itself would wait for ever.
func StartEtcd(o EtcdOptions) (e *Etcd, err error) {
	unlock, err := local.Lock(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	addr, err := local.FreeAddr(o.Addr, false)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	wal.SegmentSizeBytes = etcdLogSegment
	running := new(atomic.Bool)
	cfg := etcdConfig(o, addr)
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapToSlog(o.Logger.With("server", "etcd"), running))
	streams, cutOff := context.WithCancel(context.Background())
	cfg.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.ChainStreamInterceptor(endWith(streams))}
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		cutOff()
		return nil, fmt.Errorf("start etcd in %s: %w", o.Dir, err)
	}
	timeout := time.NewTimer(etcdStartTimeout)
	defer timeout.Stop()
	select {
	case <-server.Server.ReadyNotify():
		running.Store(true)
		return &Etcd{server: server, endpoint: addr, running: running, cutOff: cutOff, unlock: unlock}, nil
	case err = <-server.Err():
	case <-server.Server.StopNotify():
		err = fmt.Errorf("it stopped by itself")
	case <-timeout.C:
		err = fmt.Errorf("not ready after %v", etcdStartTimeout)
	}
	cutOff()
	server.Close()
	return nil, fmt.Errorf("start etcd in %s: %w", o.Dir, err)
}

// Endpoint is the client address, "host:port".
func (e *Etcd) Endpoint() string { return e.endpoint }

// Close stops etcd and waits until its files are closed. Clients that are still
// connected are cut off.
func (e *Etcd) Close() error {
	e.running.Store(false)
	e.cutOff()
	e.server.Close()
	e.unlock()
	return nil
}

// endWith ends streams with ctx: a client that watches would otherwise hold up
// Close for the five seconds that etcd gives it.
func endWith(ctx context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		own, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return handle(srv, endingStream{stream, own})
	}
}

type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }

func etcdConfig(o EtcdOptions, addr string) *embed.Config {
	host, _, _ := net.SplitHostPort(addr)
	client := url.URL{Scheme: "http", Host: addr}
	// The member's own peer address is written into its data at the first start
	// and never dialled. Port 0 keeps it true at every start.
	peer := url.URL{Scheme: "http", Host: net.JoinHostPort(host, "0")}

	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "logferry", o.Dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs, cfg.ElectionMs = etcdTickMs, etcdElectionMs
	cfg.MaxSnapFiles, cfg.MaxWalFiles = 2, 2
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModeRevision, etcdKeepRevisions
	cfg.QuotaBackendBytes = etcdQuota
	cfg.HostWhitelist = map[string]struct{}{"127.0.0.1": {}, "localhost": {}, "::1": {}}
	cfg.EnableGRPCGateway = false // the JSON gateway would answer any web page
	return cfg
}
