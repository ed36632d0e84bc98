package embedded

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A journal of several processes may have more field names than one of them
// would have taken.
func TestRecoversMoreFieldsThanItTakes(t *testing.T) {
	dir := t.TempDir()
	var sent int
	for life := range 3 {
		addrs, kill := startChild(t, dir, 0)
		for i := range 9 {
			var fields []string
			for f := range 100 {
				fields = append(fields, fmt.Sprintf(`"f_%d_%d_%d":%d`, life, i, f, f))
			}
			body := action("wide", fmt.Sprintf("%d-%d", life, i)) + "\n{" + strings.Join(fields, ",") + "}\n"
			status, answer := post(t, addrs.Bulk+"/_bulk?filter_path=errors", "application/x-ndjson", strings.NewReader(body))
			require.Equal(t, 200, status)
			require.Equal(t, `{"errors":false}`, string(answer))
			sent++
		}
		kill()
	}
	s := startStore(t, filepath.Join(dir, "store"))
	require.Equal(t, sent, count(t, s, "wide"))
	require.Len(t, search(t, s, `{index="wide"} f_0_0_99:99`), 1)
	require.Len(t, search(t, s, `{index="wide"} f_2_8_1:1`), 1)
}
