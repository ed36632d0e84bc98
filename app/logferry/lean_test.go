//go:build lean

package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALeanBuildSaysWhatItLacks(t *testing.T) {
	dir := t.TempDir()
	out, errs, status := run(t, dir, "up", "x.log")
	require.Equal(t, 2, status)
	require.Empty(t, out)
	require.Contains(t, errs, "`up` is not in this build")
	require.Contains(t, errs, "go install github.com/logferry/logferry/app/logferry")
	require.NoDirExists(t, filepath.Join(dir, "logferry-data"))
	out, _, _ = run(t, dir, "version")
	require.Contains(t, out, "lean")
}

func TestALeanBuildHasNoServers(t *testing.T) {
	deps, err := exec.Command("go", "list", "-deps", "-tags", "lean", ".").Output()
	require.NoError(t, err)
	require.NotContains(t, string(deps), "VictoriaMetrics")
	require.NotContains(t, string(deps), "etcd/server")
}
