package kafka

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// otherProcess starts a broker in another process.
func otherProcess(b *testing.B) config.Kafka {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envBroker+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		require.NoError(b, in.Close())
		require.NoError(b, cmd.Wait())
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	return config.Kafka{Brokers: []string{strings.TrimSpace(addr)}, Compression: "none"}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const (
	benchLine  = 180
	benchLines = 512 << 10 / (benchLine + 1)
)

func benchBatch(file int) *logs.Batch {
	b := batchOf(fmt.Sprint("00fc01-1a2b3c4d5e6f-", file))
	b.Origin.Path = "/var/log/nginx/access.log"
	buf := []byte(strings.Repeat("x", benchLine*benchLines))
	for i := range benchLines {
		b.Lines = append(b.Lines, logs.Line{Value: buf[i*benchLine : (i+1)*benchLine], Pos: int64(1<<30 + i*(benchLine+1))})
	}
	b.Read = time.Now()
	return b
}

// inFlight runs send for n batches, four at a time, and reports CPU by line.
func inFlight(b *testing.B, send func(batch *logs.Batch)) {
	b.ReportAllocs()
	batches := make(chan *logs.Batch, 4)
	for i := range 4 {
		batches <- benchBatch(i)
	}
	var wg sync.WaitGroup
	b.ResetTimer()
	start := cpu()
	for b.Loop() {
		batch := <-batches
		wg.Go(func() {
			batch.Reset()
			send(batch)
			batches <- batch
		})
	}
	wg.Wait()
	used := cpu() - start
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N*benchLines), "cpu-ns/line")
	b.ReportMetric(float64(b.N*benchLines)/b.Elapsed().Seconds(), "lines/s")
}

func BenchmarkPublish(b *testing.B) {
	for _, codec := range []string{"none", "lz4", "zstd"} {
		b.Run(codec, func(b *testing.B) {
			cfg := otherProcess(b)
			cfg.Compression = codec
			p := newPublisher(b, cfg)
			inFlight(b, func(batch *logs.Batch) {
				if err := p.Publish("bench", batchMessage(context.Background(), batch)); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkPlain is the limit: the client with nothing around it, one record a
// line, without and with headers.
func BenchmarkPlain(b *testing.B) {
	for _, headers := range []int{0, 4} {
		b.Run(fmt.Sprint("headers=", headers), func(b *testing.B) {
			cl, err := NewClient(otherProcess(b), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
				kgo.MaxBufferedRecords(1<<30))
			require.NoError(b, err)
			defer cl.Close()
			hs := []kgo.RecordHeader{
				{Key: "lf-node", Value: []byte("web-1")}, {Key: "lf-path", Value: []byte("/var/log/nginx/access.log")},
				{Key: "lf-file", Value: []byte("00fc01-1a2b3c4d5e6f")}, {Key: "lf-pos", Value: []byte("1073741824")},
			}[:headers]
			var slabs sync.Pool
			slabs.New = func() any { s := make([]kgo.Record, benchLines); return &s }
			inFlight(b, func(batch *logs.Batch) {
				s := slabs.Get().(*[]kgo.Record)
				defer slabs.Put(s)
				var wg sync.WaitGroup
				wg.Add(benchLines)
				promise := func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
					wg.Done()
				}
				for i := range batch.Lines {
					r := &(*s)[i]
					*r = kgo.Record{Topic: "bench", Key: batch.Key, Value: batch.Lines[i].Value, Headers: hs, Timestamp: batch.Read}
					cl.Produce(context.Background(), r, promise)
				}
				wg.Wait()
			})
		})
	}
}
