// Plainindex is the limit that the transfer is measured against: it consumes a
// topic from its start and posts bodies of 5,000 documents, four at once, each
// document with create, an _id and two fields put in front of its own. It
// reads no verdict but the request's, commits nothing, and ends at SIGTERM.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

const (
	docsInBody = 5000
	inFlight   = 4
)

func main() {
	broker := flag.String("broker", "127.0.0.1:9092", "address of the broker")
	topic := flag.String("topic", "plain", "topic")
	index := flag.String("index", "plain", "index")
	sink := flag.String("elasticsearch", "http://127.0.0.1:9200", "URL of the sink")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *broker, *topic, *index, *sink); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// poster posts bodies; each posting goroutine takes a free buffer and gives it
// back when the body is answered.
type poster struct {
	transport *elastictransport.Client
	free      chan *bytes.Buffer
	group     *errgroup.Group
	ctx       context.Context // of the group: a failed post ends the loop
}

func run(ctx context.Context, broker, topic, index, sink string) error {
	u, err := url.Parse(sink)
	if err != nil {
		return err
	}
	transport, err := elastictransport.NewClient(
		elastictransport.WithURLs(u),
		elastictransport.WithDisableRetry(),
		elastictransport.WithTransport(&http.Transport{MaxIdleConnsPerHost: inFlight, DisableCompression: true}),
	)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxPartitionBytes(4<<20),
	)
	if err != nil {
		return err
	}
	defer client.Close()

	group, ctx := errgroup.WithContext(ctx)
	p := &poster{transport: transport, free: make(chan *bytes.Buffer, inFlight), group: group, ctx: ctx}
	for range inFlight {
		p.free <- new(bytes.Buffer)
	}
	p.loop(client, []byte(`{"create":{"_index":"`+index+`","_id":"`))
	return group.Wait()
}

// loop posts a body when it is full, and when nothing more is waiting.
func (p *poster) loop(client *kgo.Client, action []byte) {
	var body *bytes.Buffer
	docs := 0
	flush := func() {
		p.post(body)
		body, docs = nil, 0
	}
	for {
		fetches := client.PollRecords(p.ctx, 0)
		if p.ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		for it := fetches.RecordIter(); !it.Done(); {
			if body == nil {
				select {
				case body = <-p.free:
				case <-p.ctx.Done():
					return
				}
				body.Reset()
			}
			appendDocument(body, action, it.Next())
			if docs++; docs == docsInBody {
				flush()
			}
		}
		if docs > 0 && client.BufferedFetchRecords() == 0 {
			flush()
		}
	}
}

// appendDocument takes a record whose value is a JSON object on one line.
func appendDocument(body *bytes.Buffer, action []byte, r *kgo.Record) {
	body.Write(action)
	b := body.AvailableBuffer()
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, "\"}}\n{\"log.offset\":"...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, `,"logferry.topic":"`...)
	b = append(b, r.Topic...)
	b = append(b, `",`...)
	b = append(b, r.Value[1:]...)
	b = append(b, '\n')
	body.Write(b)
}

func (p *poster) post(body *bytes.Buffer) {
	p.group.Go(func() error {
		request := esapi.BulkRequest{
			Body:       bytes.NewReader(body.Bytes()),
			FilterPath: []string{"errors", "items.*.error", "items.*.status"},
		}
		response, err := request.Do(p.ctx, p.transport)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		if response.IsError() {
			return fmt.Errorf("bulk: %s", response.Status())
		}
		p.free <- body
		return nil
	})
}
