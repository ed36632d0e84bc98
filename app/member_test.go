package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMembersNameStaysAndIsNotShared(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	log := slog.New(slog.DiscardHandler)
	first := openMember(dir, log)
	require.Regexp(t, memberName, first.name)
	second := openMember(dir, log)
	require.Empty(t, second.name, "the first one has it")
	second.close()
	other := openMember(filepath.Join(dir, "other"), log)
	require.Regexp(t, memberName, other.name)
	require.NotEqual(t, first.name, other.name)
	other.close()
	first.close()

	again := openMember(dir, log)
	require.Equal(t, first.name, again.name)
	again.close()
	for _, damaged := range []string{"", first.name[:12], first.name + first.name, "\x00"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, memberFile), []byte(damaged), 0o600))
		renamed := openMember(dir, log)
		require.Regexp(t, memberName, renamed.name)
		require.NotEqual(t, first.name, renamed.name)
		text, err := os.ReadFile(filepath.Join(dir, memberFile))
		require.NoError(t, err)
		require.Equal(t, renamed.name, string(text))
		renamed.close()
	}
}

func TestAMemberGoesWithoutANameWhereNoneCanBeKept(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	m := openMember(filepath.Join(dir, "file"), slog.New(slog.DiscardHandler))
	require.Empty(t, m.name)
	m.close()
}
