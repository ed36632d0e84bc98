package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

// enableAuth makes the users root and ferry, each with a role of its name.
func (s *server) enableAuth() {
	s.do(func(ctx context.Context, c *clientv3.Client) { require.NoError(s.t, enableAuth(ctx, c)) })
}

// enableAuth may be called again when it failed.
func enableAuth(ctx context.Context, c *clientv3.Client) error {
	for _, user := range []string{"root", "ferry"} {
		if _, err := c.UserAdd(ctx, user, "pw"); err != nil && !errors.Is(err, rpctypes.ErrUserAlreadyExist) {
			return err
		}
		if _, err := c.RoleAdd(ctx, user); err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
			return err
		}
		if _, err := c.UserGrantRole(ctx, user, user); err != nil {
			return err
		}
	}
	_, err := c.AuthEnable(ctx)
	return err
}

func (s *server) as(user string) config.Etcd {
	cfg := s.config()
	cfg.Username, cfg.Password = user, config.Secret("pw")
	return cfg
}

// Tokens that expire are renewed, also by a watch that nothing came through.
func TestTokensExpire(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.ttl = 1
	s.start()
	s.put(agentKey, "a1")
	s.enableAuth()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	c, err := Client(ctx, s.as("root"))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.RoleGrantPermission(ctx, "ferry", "/", "0", clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)

	w := watch(t, s.as("ferry"))
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a1") })
	set := reporter(t, s.as("ferry"), "n", "one")
	store := openStore(t, s.as("ferry"))
	fleetIs(t, store, "agent n alive one")
	for i := range 2 {
		time.Sleep(2500 * time.Millisecond)
		value := fmt.Sprint("a", i)
		_, err = c.Put(ctx, agentKey, value)
		require.NoError(t, err)
		w.holds(func(d config.Docs) bool { return is(d.Agent, value) })
		set(value)
		fleetIs(t, store, "agent n alive "+value)
	}
	require.Empty(t, w.log.list())
}

// A process that may not report is no worse off, and says so once.
func TestReporterWithoutPermission(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.enableAuth()
	log := &logged{}
	r := NewReporter(NewLink(s.as("ferry")), "agent", "n", func(Words) []byte { return []byte("x") }, nil, slog.New(log))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	require.Eventually(t, func() bool { return len(log.list()) > 0 }, 30*time.Second, 5*time.Millisecond)
	time.Sleep(3 * firstPause)
	cancel()
	require.NoError(t, <-done)
	require.Len(t, log.list(), 1)
}

// A user that may not read yet is refused by name, and reads as soon as it may.
func TestWatcherWaitsForPermission(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put("/logferry/v1/agent", "a1")
	s.enableAuth()
	w := watch(t, s.as("ferry"))
	require.Eventually(t, func() bool { return len(w.log.list()) > 0 }, 15*time.Second, 5*time.Millisecond)
	require.Contains(t, w.Stats().LastError, "permission denied")

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Client(ctx, s.as("root"))
	require.NoError(t, err)
	defer c.Close()
	for _, key := range w.keys.All() {
		_, err = c.RoleGrantPermission(ctx, "ferry", key, "", clientv3.PermissionType(clientv3.PermRead))
		require.NoError(t, err)
	}
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a1") })

	// Taken back, it keeps what it has.
	_, err = c.RoleRevokePermission(ctx, "ferry", w.keys.Agent, "")
	require.NoError(t, err)
	_, err = c.Put(ctx, "/logferry/v1/transfer", "t1")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !w.Stats().Connected }, 15*time.Second, 5*time.Millisecond)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a1") })
}

// A role that was made before there were canaries is enough for the documents.
func TestWatcherThatMayNotReadCanaries(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put("/logferry/v1/agent", "a1")
	s.enableAuth()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Client(ctx, s.as("root"))
	require.NoError(t, err)
	defer c.Close()
	for _, key := range []string{"/logferry/v1/agent", "/logferry/v1/transfer", "/collect_log_conf"} {
		_, err = c.RoleGrantPermission(ctx, "ferry", key, clientv3.GetPrefixRangeEnd(key), clientv3.PermissionType(clientv3.PermRead))
		require.NoError(t, err)
	}
	w := watch(t, s.as("ferry"))
	require.NotEmpty(t, w.keys.Canaries)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a1") })
	_, err = c.Put(ctx, "/logferry/v1/agent", "a2")
	require.NoError(t, err)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "a2") })
	require.Len(t, w.log.list(), 1)
}

func TestWatcherOverTLS(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.tls = true
	s.start()
	cfg := s.config()
	cfg.Endpoints = []string{"https://" + s.addr}
	w := watch(t, cfg)
	require.Eventually(t, func() bool { return len(w.log.list()) > 0 }, 15*time.Second, 5*time.Millisecond)
	require.Contains(t, w.Stats().LastError, "x509: ", "nobody vouches for the certificate")

	cfg.TLS = &config.TLS{CAFile: filepath.Join(s.dir, "fixtures", "client", "cert.pem")}
	watch(t, cfg).holds(config.Docs.Empty)
}
