package embedded

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func etcdClient(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
	require.NoError(t, err)
	return c
}

func TestEtcdGoesOnWhereItStopped(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	for i := range 2 {
		start := time.Now()
		e, err := StartEtcd(EtcdOptions{Dir: dir, Addr: "127.0.0.1:0", Logger: testLogger(t)})
		require.NoError(t, err)
		c := etcdClient(t, e.Endpoint())
		if i == 0 {
			_, err = c.Put(ctx, "k", "v")
			require.NoError(t, err)
		}
		t.Logf("start %d: %v until the first write", i, time.Since(start))
		got, err := c.Get(ctx, "k")
		require.NoError(t, err)
		require.Len(t, got.Kvs, 1)
		require.Equal(t, "v", string(got.Kvs[0].Value))
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	}
}

func TestEtcdCutsWatchersOff(t *testing.T) {
	ctx := context.Background()
	e, err := StartEtcd(EtcdOptions{Dir: t.TempDir(), Addr: "127.0.0.1:0", Logger: testLogger(t)})
	require.NoError(t, err)
	c := etcdClient(t, e.Endpoint())
	defer c.Close()
	watch := c.Watch(ctx, "k")
	_, err = c.Put(ctx, "k", "v")
	require.NoError(t, err)
	require.Len(t, (<-watch).Events, 1)
	start := time.Now()
	require.NoError(t, e.Close())
	t.Logf("closed in %v", time.Since(start))
	_, err = StartEtcd(EtcdOptions{Dir: t.TempDir(), Addr: "127.0.0.1", Logger: testLogger(t)})
	require.ErrorContains(t, err, "127.0.0.1")
}
