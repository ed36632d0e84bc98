package tail

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// A record of the default limit must fit a broker of the default limit, with
// its key and headers, also when its bytes do not compress.
func TestTheDefaultLineLimitFitsADefaultBroker(t *testing.T) {
	for set, want := range map[config.Size]int{
		0: 1_000_000, 1 << 20: 1_000_000, 1_000_001: 1_000_000, 1_000_000: 1_000_000, 4096: 4096, 5 << 20: 5 << 20,
	} {
		require.Equal(t, want, (&input{cfg: config.Input{MaxLineBytes: set}}).limits().maxLine, "%d", set)
	}
}
