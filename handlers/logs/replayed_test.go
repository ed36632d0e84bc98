package logs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlaces(t *testing.T) {
	for _, text := range []string{"web_log/0/0", "a.b-c/2147483647/281474976710655"} {
		p, ok := ParsePlace([]byte(text))
		require.True(t, ok, text)
		require.Equal(t, text, p.String())
	}
	for _, text := range []string{"", "web_log", "web_log/1", "/1/2", "web_log/1/", "web_log//2", "web_log/-1/2", "web_log/1/-2",
		"web_log/2147483648/1", "web_log/1/281474976710656", "web_log/1/2/3", "web_log/+1/2", "web_log/1/2 ", "web_log/x/2"} {
		_, ok := ParsePlace([]byte(text))
		require.False(t, ok, text)
	}
}
