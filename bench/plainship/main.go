// Plainship is the limit that the agent is measured against: it reads a file
// in chunks and produces one record a line over franz-go, idempotent, acks
// from all. It follows nothing, remembers nothing, and ends at SIGTERM. Each
// record has no header, or with -headers the four that an agent gives it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Four chunks in flight cover a broker's answer time, as in the agent.
const (
	chunkSize = 512 << 10
	inFlight  = 4
)

func main() {
	brokers := flag.String("broker", "127.0.0.1:9092", "address of the broker")
	topic := flag.String("topic", "plain", "topic")
	compression := flag.String("compression", "none", "none, lz4 or zstd")
	headers := flag.Bool("headers", false, "give each record an agent's headers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *brokers, *topic, *compression, *headers, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// The measurer reads our peak of memory before it ends us.
	<-ctx.Done()
}

func codec(name string) kgo.CompressionCodec {
	switch name {
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	return kgo.NoCompression()
}

// chunk is a buffer and the records that alias it. It is free when all of its
// records are acknowledged.
type chunk struct {
	buf     []byte
	records []kgo.Record
	headers []kgo.RecordHeader
	places  []byte // of the records in the file, in decimal
	pending atomic.Int64
}

type shipper struct {
	client *kgo.Client
	topic  string
	free   chan *chunk
	failed atomic.Pointer[error]
	// with headers
	fixed []kgo.RecordHeader
	place int64
}

func run(ctx context.Context, broker, topic, compression string, headers bool, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker),
		kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(codec(compression)),
		kgo.MaxBufferedRecords(1<<20),
		kgo.ProducerLinger(0),
	)
	if err != nil {
		return err
	}
	defer client.Close()

	s := &shipper{client: client, topic: topic, free: make(chan *chunk, inFlight)}
	if headers {
		s.fixed = []kgo.RecordHeader{
			{Key: "lf-node", Value: []byte("bench")},
			{Key: "lf-path", Value: []byte(path)},
			{Key: "lf-file", Value: []byte("fe00-98aae1-f9ac0fdc92.1")},
			{Key: "lf-pos"},
		}
	}
	for range inFlight {
		s.free <- &chunk{buf: make([]byte, chunkSize)}
	}
	if err := s.ship(ctx, f); err != nil {
		return err
	}
	for range inFlight {
		<-s.free
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// ship reads to the end of the file. A line that does not end is not shipped.
func (s *shipper) ship(ctx context.Context, f io.Reader) error {
	var rest []byte
	for {
		c := <-s.free
		kept := copy(c.buf, rest)
		n, err := io.ReadFull(f, c.buf[kept:])
		data := c.buf[:kept+n]
		end := bytes.LastIndexByte(data, '\n') + 1
		rest = append(rest[:0], data[end:]...)
		s.produce(ctx, c, data[:end])
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		case len(rest) == len(c.buf):
			return errors.New("a line is longer than the buffer")
		}
	}
}

func (s *shipper) produce(ctx context.Context, c *chunk, data []byte) {
	lines := bytes.Count(data, []byte{'\n'})
	if cap(c.records) < lines {
		c.records = make([]kgo.Record, lines)
	}
	c.records = c.records[:lines]
	if n := lines * len(s.fixed); cap(c.headers) < n {
		c.headers = make([]kgo.RecordHeader, n)
	}
	c.places = c.places[:0]
	// One more than the lines, so that the chunk is not free while we produce it.
	c.pending.Store(int64(lines) + 1)
	now := time.Now()
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			s.failed.CompareAndSwap(nil, &err)
		}
		s.settle(c)
	}
	for i := range c.records {
		end := bytes.IndexByte(data, '\n')
		c.records[i] = kgo.Record{Topic: s.topic, Value: data[:end:end], Timestamp: now}
		if s.fixed != nil {
			c.records[i].Headers = s.headers(c, i, end)
		}
		s.client.Produce(ctx, &c.records[i], done)
		data = data[end+1:]
	}
	s.settle(c)
}

// headers returns those of a chunk's record number i, a line of some bytes.
func (s *shipper) headers(c *chunk, i, bytes int) []kgo.RecordHeader {
	n := len(s.fixed)
	h := c.headers[i*n : (i+1)*n : (i+1)*n]
	copy(h, s.fixed)
	from := len(c.places)
	c.places = strconv.AppendInt(c.places, s.place, 10)
	h[n-1].Value = c.places[from:len(c.places):len(c.places)]
	s.place += int64(bytes) + 1
	return h
}

func (s *shipper) settle(c *chunk) {
	if c.pending.Add(-1) == 0 {
		s.free <- c
	}
}
