package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/app/selftest"
)

func TestSelftestAgent(t *testing.T) {
	dir := t.TempDir()
	stdout, stderr, status := run(t, dir, "selftest", "agent", "--dir", dir, "--duration", "4s", "--kill-every", "300ms", "--output", "json")
	var r selftest.Report
	require.NoError(t, json.Unmarshal([]byte(stdout), &r), "%s%s", stdout, stderr)
	require.Equal(t, 0, status, "%s%s", stdout, stderr)
	require.Positive(t, r.Kills)
	require.Positive(t, r.Written)
	require.Zero(t, r.Lost+r.Corrupted)
	require.Equal(t, r.Written, r.Arrived+r.RaceLost+r.CutUnread)
	require.NoDirExists(t, r.Dir)

	_, stderr, status = run(t, dir, "selftest", "agent")
	require.Equal(t, exitUsage, status)
	require.Contains(t, stderr, "--dir")
}
