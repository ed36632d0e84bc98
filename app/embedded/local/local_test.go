package local

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenMovesOnlyWhenItMay(t *testing.T) {
	taken, err := Listen("127.0.0.1:0", false)
	require.NoError(t, err)
	defer taken.Close()
	_, err = Listen(taken.Addr().String(), false)
	require.ErrorContains(t, err, taken.Addr().String())
	moved, err := Listen(taken.Addr().String(), true)
	require.NoError(t, err)
	defer moved.Close()
	require.Greater(t, moved.Addr().(*net.TCPAddr).Port, taken.Addr().(*net.TCPAddr).Port)
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000"} {
		_, err = Listen(bad, true)
		require.Error(t, err, bad)
	}
}

func TestADirectoryIsForOneProcess(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Lock(dir)
	require.NoError(t, err)
	_, err = Lock(dir)
	require.ErrorContains(t, err, dir+" is in use by another process")
	unlock()
	unlock, err = Lock(dir)
	require.NoError(t, err)
	unlock()
}
