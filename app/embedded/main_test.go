package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"
)

const (
	// childDir makes the test binary a process that runs the servers in this
	// directory until it is killed.
	childDir   = "LOGFERRY_TEST_SERVERS_IN"
	childLimit = "LOGFERRY_TEST_JOURNAL_LIMIT" // 0: the store's own
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := runServers(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// testLogger shows what a server logs beside the test that made it log.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
