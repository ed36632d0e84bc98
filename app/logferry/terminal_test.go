package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// onPty runs a command on a terminal, types what is to be typed once it asks,
// and returns all that the terminal got.
func onPty(t *testing.T, cmd *exec.Cmd, typed string) (screen string, status int) {
	t.Helper()
	controller, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer controller.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(controller.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(controller.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	require.NoError(t, terminal.Close())
	if typed != "" {
		_, err = io.WriteString(controller, typed)
		require.NoError(t, err)
	}
	var got strings.Builder
	_, _ = io.Copy(&got, controller) // ends with an error when the terminal is gone
	_ = cmd.Wait()
	return got.String(), cmd.ProcessState.ExitCode()
}

func TestATerminalIsAskedAndComesToNoHarm(t *testing.T) {
	g := newGround(t)
	g.file("doc.yml", input("web", "one"))
	put := func(typed string, more ...string) (string, int) {
		return onPty(t, command(t, g.dir, append([]string{"config", "put", "agent", "doc.yml", "--etcd-endpoints", g.endpoint}, more...)...), typed)
	}
	screen, status := put("n\n")
	require.Equal(t, 1, status)
	require.Contains(t, screen, "put agent? [y/N]")
	require.Contains(t, screen, "nothing was changed")
	require.Contains(t, g.ok("get"), "there are no documents")
	screen, status = put("y\n")
	require.Equal(t, 0, status)
	require.Contains(t, screen, "agent is at revision ")
	g.file("doc.yml", input("web", "two"))
	screen, status = put("", "--yes", "--wait")
	require.Equal(t, 0, status)
	require.NotContains(t, screen, "[y/N]")
	require.Contains(t, screen, "applied by 0 of 0", "the progress line")

	// What others have put can steer nothing.
	evil := "# \x1b]0;owned\x07\x1b[2J \u202Egol\u009b31m\r\n"
	g.etcd(func(ctx context.Context, c *clientv3.Client) {
		_, err := c.Put(ctx, "/logferry/v1/agent", evil)
		require.NoError(t, err)
		for _, key := range []string{"/logferry/v1/status/agent/\x1b[2J", "/logferry/v1/last/tr\x07ansfer/x"} {
			_, err = c.Put(ctx, key, `{"version":"\u001b[31m","last_error":"\u001b]0;x\u0007\u202e","breaker":"\u009b"}`)
			require.NoError(t, err)
		}
		_, err = c.Put(ctx, "/logferry/v1/status/agent/n", "\x1bnot json")
		require.NoError(t, err)
	})
	require.Equal(t, evil, g.ok("get", "agent"), "a file gets the exact bytes")
	for _, args := range [][]string{{"config", "get", "agent"}, {"config", "diff", "agent"}, {"config", "history", "agent"}, {"config", "get"}, {"status"}} {
		screen, status = onPty(t, command(t, g.dir, append(args, "--etcd-endpoints", g.endpoint)...), "")
		require.Equal(t, 0, status, screen)
		require.NotContains(t, screen, "\x1b", "%v", args)
		for _, c := range []string{"\x07", "\u202E", "\u009b"} {
			require.NotContains(t, screen, c, "%v", args)
		}
	}
}
