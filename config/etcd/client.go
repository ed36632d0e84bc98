// Package etcd reads the live config from etcd and watches it.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/logferry/logferry/config"
)

const (
	// callTimeout bounds one question to etcd, the login among them.
	callTimeout = 5 * time.Second
	// actorTimeout bounds one of a process's own: nobody waits for the answer, and
	// asking again while a fleet connects would make it later for all.
	actorTimeout = 20 * time.Second
	// loginTimeout is for the login of a fleet: etcd spends 60 ms of a core on
	// each, all at once, and ends none that is given up.
	loginTimeout = 2 * time.Minute
	// A server refuses keepalives more often than each 5 s. A connection that
	// is half open is noticed after the sum of both.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	// maxReply has room for the documents of a node with all labels, of at most
	// 1.5 MiB each, and for the reports of a large fleet.
	maxReply = 64 << 20
)

// Client returns a client for the endpoints of cfg; the caller closes it. It
// reads the certificates. Without a username it connects in the background and
// an absent etcd is the error of the first call; with one it logs in, for at
// most 5 s. The client ends with ctx.
func Client(ctx context.Context, cfg config.Etcd) (*clientv3.Client, error) {
	return newClient(ctx, cfg, callTimeout)
}

func newClient(ctx context.Context, cfg config.Etcd, login time.Duration) (*clientv3.Client, error) {
	settings, err := cfg.TLS.Load()
	if err != nil {
		return nil, fmt.Errorf("load etcd.tls: %w", err)
	}
	reconnect := backoff.DefaultConfig
	reconnect.BaseDelay, reconnect.MaxDelay = 100*time.Millisecond, 3*time.Second
	return clientv3.New(clientv3.Config{
		Context:              ctx,
		Endpoints:            cfg.Endpoints,
		Username:             cfg.Username,
		Password:             string(cfg.Password),
		TLS:                  settings,
		DialTimeout:          login,
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveTimeout,
		MaxCallRecvMsgSize:   maxReply,
		DialOptions:          []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: callTimeout})},
		Logger:               zap.NewNop(), // errors come back as values
	})
}

// reach returns why no endpoint takes a connection, or nil. The client itself
// would only say, and only after its timeout, that there was no answer.
func reach(ctx context.Context, cfg config.Etcd) error {
	settings, err := cfg.TLS.Load()
	if err != nil {
		return fmt.Errorf("load etcd.tls: %w", err)
	}
	plain := net.Dialer{Timeout: callTimeout / time.Duration(len(cfg.Endpoints))}
	secure := tls.Dialer{NetDialer: &plain, Config: settings}
	var errs []error
	for _, endpoint := range cfg.Endpoints {
		scheme, address, isURL := strings.Cut(endpoint, "://")
		if !isURL {
			address = endpoint
		}
		dial := plain.DialContext
		if scheme == "https" || !isURL && settings != nil { // as the client does
			dial = secure.DialContext
		}
		conn, err := dial(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// errNoAnswer says that there was a connection.
var errNoAnswer = errors.New("no answer in time; is it an etcd with a leader, and does etcd.tls fit?")

// explain says more about a call that timed out although there was a connection.
func explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w %w", errNoAnswer, err)
	}
	return err
}
