package etcd

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/logferry/logferry/config"
)

// proxy is what `etcd grpc-proxy` is, in front of a server.
func (s *server) proxy() config.Etcd {
	ctx, cancel := context.WithCancel(context.Background())
	client, err := clientv3.New(clientv3.Config{Context: ctx, Endpoints: []string{s.addr}, Logger: zap.NewNop()})
	require.NoError(s.t, err)
	kv, kvDone := grpcproxy.NewKvProxy(client)
	watches, watchesDone := grpcproxy.NewWatchProxy(ctx, zap.NewNop(), client)
	leases, leasesDone := grpcproxy.NewLeaseProxy(ctx, client)
	front := grpc.NewServer()
	pb.RegisterKVServer(front, kv)
	pb.RegisterWatchServer(front, watches)
	pb.RegisterLeaseServer(front, leases)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	served := make(chan error, 1)
	go func() { served <- front.Serve(l) }()
	s.t.Cleanup(func() {
		front.Stop()
		require.NoError(s.t, <-served)
		cancel()
		<-kvDone
		<-watchesDone
		<-leasesDone
		_ = client.Close()
	})
	cfg := s.config()
	cfg.Endpoints = []string{l.Addr().String()}
	return cfg
}

// etcd's proxy joins the watches of many, and does not answer when it is asked
// whether they live. That is no reason to connect anew each half minute.
func TestWatcherAndReporterBehindAProxy(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put(agentKey, "a1")
	cfg := s.proxy()
	watchers := make([]*running, 3)
	for i := range watchers {
		watchers[i] = watchAsking(t, NewLink(cfg), 50*time.Millisecond)
		watchers[i].holds(func(d config.Docs) bool { return is(d.Agent, "a1") })
	}
	set := reporter(t, cfg, "n", "one")
	store := openStore(t, cfg)
	fleetIs(t, store, "agent n alive one")
	time.Sleep(500 * time.Millisecond)
	s.put(agentKey, "a2", "/logferry/v1/agent/nodes/n", "n1")
	set("two")
	for _, w := range watchers {
		w.holds(func(d config.Docs) bool { return is(d.Agent, "a2") && is(d.Node, "n1") })
		require.Zero(t, w.Stats().Reconnects)
	}
	fleetIs(t, store, "agent n alive two")
}
