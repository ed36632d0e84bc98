package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Run `go generate ./config` when this fails.
func TestPageIsUpToDate(t *testing.T) {
	want, err := generate("../..")
	require.NoError(t, err)
	got, err := os.ReadFile("../../../docs/configuration.md")
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func TestEveryKeyIsExplained(t *testing.T) {
	page, err := generate("../..")
	require.NoError(t, err)
	for line := range strings.Lines(page) {
		require.False(t, strings.HasSuffix(line, "|  |\n"), "no comment: %s", line)
	}
	require.Contains(t, page, "| `max_line_bytes` | size | `1MiB` |")
}
