package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesAreWordsOfTheirSet(t *testing.T) {
	for _, name := range []string{"a", "web_log", "A.b-9", ".", strings.Repeat("x", 249)} {
		require.True(t, topicName.MatchString(name), name)
	}
	for _, name := range []string{"", "a b", "ä", "a/b", "a\n", "\n", "*", "a\x00", "a\xff", strings.Repeat("x", 250)} {
		require.False(t, topicName.MatchString(name), name)
	}
	require.True(t, entryName.MatchString("a/b"))
	require.True(t, wildcards.MatchString("a*?"))
	require.False(t, labelWord.MatchString(strings.Repeat("x", 101)))
}
