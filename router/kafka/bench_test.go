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
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// otherProcess starts a broker in another process.
func otherProcess(b *testing.B, kind string) config.Kafka {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envBroker+"="+kind)
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
			cfg := otherProcess(b, "produce")
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
			cl, err := NewClient(otherProcess(b, "produce"), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
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

// benchRecords is a batch of 1,000 records as the agent writes them.
func benchRecords() []byte {
	const n = 1000
	value := []byte(strings.Repeat("x", benchLine))
	var recs []byte
	for i := range n {
		r := kmsg.Record{
			OffsetDelta: int32(i), Key: []byte("00fc01-1a2b3c4d5e6f"), Value: value,
			Headers: []kmsg.Header{
				{Key: logs.HeaderNode, Value: []byte("web-1")}, {Key: logs.HeaderPath, Value: []byte("/var/log/nginx/access.log")},
				{Key: logs.HeaderFile, Value: []byte("00fc01-1a2b3c4d5e6f")}, {Key: logs.HeaderPos, Value: []byte("1073741824")},
			},
		}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		recs = r.AppendTo(recs)
	}
	return sealed(kmsg.RecordBatch{LastOffsetDelta: n - 1, NumRecords: n, Records: recs})
}

// BenchmarkSubscribe acks what comes at once.
func BenchmarkSubscribe(b *testing.B) {
	_, ch := subscribe(b, otherProcess(b, "fetch"), SubscriberOptions{Topics: []string{"bench"}, Budget: NewBudget(64 << 20)})
	b.ReportAllocs()
	var start time.Duration
	total := 0
	for i := 0; b.Loop(); i++ {
		if i == 0 {
			start = cpu()
		}
		m := <-ch
		total += logs.PollOf(m).Len()
		m.Ack()
	}
	reportRecords(b, cpu()-start, total)
}

// BenchmarkPlainPoll is the limit: the client with nothing around it.
func BenchmarkPlainPoll(b *testing.B) {
	cl, err := NewClient(otherProcess(b, "fetch"), kgo.ConsumeTopics("bench"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchPartitionBytes))
	require.NoError(b, err)
	defer cl.Close()
	b.ReportAllocs()
	start, total := cpu(), 0
	for b.Loop() {
		total += cl.PollFetches(context.Background()).NumRecords()
	}
	reportRecords(b, cpu()-start, total)
}

func reportRecords(b *testing.B, used time.Duration, n int) {
	b.ReportMetric(float64(used.Nanoseconds())/float64(n), "cpu-ns/record")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
