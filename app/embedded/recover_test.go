package embedded

import (
	"fmt"
	"os"
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

// A kill may come when rows are in files and the streams they belong to are not.
func TestRecoversStreams(t *testing.T) {
	dir := t.TempDir()
	s := startStore(t, dir)
	docs := []string{
		action("i", "1"), `{"message":"a","log":{"file":{"path":"/a"}}}`,
		action("i", "2"), `{"message":"b","log":{"file":{"path":"/b"}}}`,
		action("j", "1"), `{"message":"c","@timestamp":"2020-01-02T03:04:05Z"}`,
	}
	require.False(t, bulk(t, s, docs...).Errors)
	journal, err := os.ReadFile(filepath.Join(dir, "journal"))
	require.NoError(t, err)
	require.NoError(t, s.Close())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "journal"), journal, 0o600))
	lists, err := filepath.Glob(filepath.Join(dir, "logs", "partitions", "*", "indexdb", "parts.json"))
	require.NoError(t, err)
	require.Len(t, lists, 2)
	for _, list := range lists {
		require.NoError(t, os.WriteFile(list, []byte("[]"), 0o600))
	}

	s = startStore(t, dir)
	require.Len(t, search(t, s, `*`), 3)
	require.Len(t, search(t, s, `{index="i"}`), 2)
	require.Len(t, search(t, s, `{log.file.path="/b"}`), 1)
	require.Len(t, search(t, s, `{index="j"} c`), 1)
	require.Equal(t, []int{409, 409, 409}, ptr(bulk(t, s, docs...)).statuses())
}
