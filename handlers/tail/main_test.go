package tail

import (
	"testing"

	"go.uber.org/goleak"
)

// leaks are what others leave behind in a process.
var leaks []goleak.Option

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, leaks...) }
