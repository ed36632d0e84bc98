package app

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTrimStartupGivesPagesBackAndLosesNone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it does something on Linux alone")
	}
	filePages := func() (kib int) {
		status, err := os.ReadFile("/proc/self/status")
		require.NoError(t, err)
		_, err = fmt.Sscan(string(regexp.MustCompile(`RssFile:\s+(\d+)`).FindSubmatch(status)[1]), &kib)
		require.NoError(t, err)
		return kib
	}
	var before, after int
	for range 3 { // what runs comes back, so that the last is as the first
		before = filePages()
		TrimStartup()
		after = filePages()
	}
	require.LessOrEqual(t, after, before)
	require.NotZero(t, after)
}
