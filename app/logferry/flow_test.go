package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/logferry/logferry/handlers/logs"
)

// flow is files that are written at a pace, and what Kafka must hold of them.
type flow struct {
	t     *testing.T
	files []*flowFile
	stop  chan struct{}
	wait  sync.WaitGroup
	began time.Time
	lines atomic.Int64
}

type flowFile struct {
	path string
	rate float64 // lines a second

	// what was found of it in Kafka, by the position of a line's first byte
	data  []byte
	found []uint64
	last  map[string]int64 // by topic
	lines int64
}

func newFlow(t *testing.T, dir string, rates map[string]float64) *flow {
	f := &flow{t: t, stop: make(chan struct{})}
	for name, rate := range rates {
		f.files = append(f.files, &flowFile{path: filepath.Join(dir, name), rate: rate, last: map[string]int64{}})
	}
	return f
}

// start begins to write. Each write but the first begins where the one before
// it ended, which most often is inside a line.
func (f *flow) start() {
	f.began = time.Now()
	for _, file := range f.files {
		f.wait.Go(func() {
			if err := f.write(file); err != nil {
				f.t.Error(err)
			}
		})
	}
}

func (f *flow) write(file *flowFile) error {
	out, err := os.OpenFile(file.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	filler := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog. "), 3)
	name := filepath.Base(file.path)
	var pending []byte
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last, owed, number := time.Now(), 0.0, 0
	for stopped := false; !stopped; {
		select {
		case <-tick.C:
		case <-f.stop:
			stopped = true
		}
		now := time.Now()
		owed += min(now.Sub(last).Seconds(), 1) * file.rate // a machine that was stuck for long does not catch up
		last = now
		for ; owed >= 1; owed-- {
			pending = append(append(pending, name...), ' ')
			pending = append(strconv.AppendInt(pending, int64(number), 10), ' ')
			pending = append(append(pending, filler[:number*31%len(filler)]...), '\n')
			number++
			f.lines.Add(1)
		}
		n := len(pending)
		if !stopped && n > 0 {
			n = rand.IntN(n)
		}
		if _, err := out.Write(pending[:n]); err != nil {
			return err
		}
		pending = append(pending[:0], pending[n:]...)
	}
	return nil
}

// end stops the writing and returns how many lines there are.
func (f *flow) end() int64 {
	close(f.stop)
	f.wait.Wait()
	n := f.lines.Load()
	f.t.Logf("%d lines in %s, %.0f lines/s", n, time.Since(f.began).Round(time.Second), float64(n)/time.Since(f.began).Seconds())
	return n
}

// inKafka waits until topics hold as many records as there are lines, and asks
// that they are these lines, each once, and those of one file and one topic in
// the file's order.
func (f *flow) inKafka(broker string, topics ...string) {
	f.t.Helper()
	total := f.lines.Load()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(f.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*patience)
	defer cancel()
	var shipped int64
	for began := time.Now(); shipped < total; time.Sleep(200 * time.Millisecond) {
		ends, err := kadm.NewClient(client).ListEndOffsets(ctx) // of all topics: some may not be there
		require.NoError(f.t, err)
		before := shipped
		shipped = 0
		ends.Each(func(o kadm.ListedOffset) {
			if slices.Contains(topics, o.Topic) {
				shipped += o.Offset
			}
		})
		if shipped > before {
			began = time.Now()
		}
		require.Less(f.t, time.Since(began), patience, "%d of %d lines are in Kafka, and no more come", shipped, total)
	}
	require.Equal(f.t, total, shipped, "each line is one record")

	byPath := map[string]*flowFile{}
	for _, file := range f.files {
		file.open(f.t)
		byPath[file.path] = file
	}
	for read := int64(0); read < total; {
		fetches := client.PollFetches(ctx)
		require.NoError(f.t, ctx.Err(), "%d of %d records were read", read, total)
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			path, pos := origin(r)
			file := byPath[path]
			require.NotNil(f.t, file, "%q", path)
			if err := file.see(r.Topic, pos, r.Value); err != nil {
				f.t.Fatalf("%s at %d in topic %s, offset %d: %s", path, pos, r.Topic, r.Offset, err)
			}
		})
	}
	seen := int64(0)
	for _, file := range f.files {
		seen += file.lines
		require.NoError(f.t, unix.Munmap(file.data))
	}
	require.Equal(f.t, total, seen)
}

func origin(r *kgo.Record) (path string, pos int64) {
	pos = -1
	for _, h := range r.Headers {
		switch h.Key {
		case logs.HeaderPath:
			path = string(h.Value)
		case logs.HeaderPos:
			if n, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil {
				pos = n
			}
		}
	}
	return path, pos
}

func (l *flowFile) open(t *testing.T) {
	t.Helper()
	in, err := os.Open(l.path)
	require.NoError(t, err)
	defer in.Close()
	info, err := in.Stat()
	require.NoError(t, err)
	l.data, err = unix.Mmap(int(in.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	l.found = make([]uint64, len(l.data)/64+1)
}

// see takes note of a record, or says why it must not be there.
func (l *flowFile) see(topic string, pos int64, value []byte) error {
	end := pos + int64(len(value))
	switch last, ok := l.last[topic]; {
	case pos < 0 || end >= int64(len(l.data)) || l.data[end] != '\n' || pos > 0 && l.data[pos-1] != '\n' || !bytes.Equal(l.data[pos:end], value):
		return fmt.Errorf("%q is no line of the file", value)
	case l.found[pos/64]&(1<<(pos%64)) != 0:
		return fmt.Errorf("%q is there twice", value)
	case ok && pos < last:
		return fmt.Errorf("%q comes after the line at %d", value, last)
	}
	l.found[pos/64] |= 1 << (pos % 64)
	l.last[topic] = pos
	l.lines++
	return nil
}
