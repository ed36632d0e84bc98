package selftest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The embedded servers' libraries start some as they are initialised.
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}
