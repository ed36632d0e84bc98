package embedded

import (
	"bytes"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// webDocs makes n documents as the transfer sends them, of lines of 180 bytes.
func webDocs(prefix string, from, n int) []byte {
	var b bytes.Buffer
	for i := from; i < from+n; i++ {
		fmt.Fprintf(&b, "{\"create\":{\"_index\":\"web_log\",\"_id\":\"%s%013d000ab12cd34\"}}\n", prefix, i*180)
		fmt.Fprintf(&b, `{"@timestamp":"2026-11-24T13:%02d:%02d.%09dZ","level":"info","status":200,"method":"GET","path":"/api/v1/items/%d","latency_ms":%d,"message":"request served number %d to a client","host":{"name":"web-1"},"log":{"file":{"path":"/var/log/web/access.log"},"offset":%d},"logferry":{"node":"web-1","topic":"web_log"}}`+"\n",
			i/60%60, i%60, i%1000000000, i%1000, i%97, i, i*180)
	}
	return b.Bytes()
}

func BenchmarkBulk(b *testing.B) {
	s := startStore(b, b.TempDir())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	url := s.BulkURL() + "/_bulk?filter_path=errors,items.*.status,items.*.error"
	const docs = 5000
	var next atomic.Int64
	b.SetParallelism(1)
	b.ReportAllocs()
	var bodies [][]byte
	for i := range b.N {
		bodies = append(bodies, webDocs("AAAAAAAAAAA", i*docs, docs))
	}
	b.SetBytes(int64(len(bodies[0])))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := bodies[next.Add(1)-1]
			resp, err := client.Post(url, "application/x-ndjson", bytes.NewReader(body))
			require.NoError(b, err)
			var buf bytes.Buffer
			_, err = buf.ReadFrom(resp.Body)
			require.NoError(b, err)
			resp.Body.Close()
			require.Contains(b, buf.String()[:20], `"errors":false`)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N*docs)/b.Elapsed().Seconds(), "docs/s")
	client.CloseIdleConnections()
	require.Equal(b, b.N*docs, count(b, s, "web_log"))
}
