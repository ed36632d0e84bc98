package etcd

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

// A user that may not read yet is refused by name, and reads as soon as it may.
func TestWatcherWaitsForPermission(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.put("/logferry/v1/agent", "a1")
	s.do(func(ctx context.Context, c *clientv3.Client) {
		for _, user := range []string{"root", "ferry"} {
			_, err := c.UserAdd(ctx, user, "pw")
			require.NoError(t, err)
			_, err = c.RoleAdd(ctx, user)
			require.NoError(t, err)
			_, err = c.UserGrantRole(ctx, user, user)
			require.NoError(t, err)
		}
		_, err := c.AuthEnable(ctx)
		require.NoError(t, err)
	})
	cfg := s.config()
	cfg.Username, cfg.Password = "ferry", config.Secret("pw")
	w := watch(t, cfg)
	require.Eventually(t, func() bool { return len(w.log.list()) > 0 }, 15*time.Second, 5*time.Millisecond)
	require.Contains(t, w.Stats().LastError, "permission denied")

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	root := s.config()
	root.Username, root.Password = "root", config.Secret("pw")
	c, err := Client(ctx, root)
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
