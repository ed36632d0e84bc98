// Package broker holds the Kafka broker of `logferry up` and of the self-test.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/logferry/logferry/app/embedded/local"
)

const (
	// One partition keeps a topic in the order it was written, and a broker on
	// this machine has nobody to share the others with.
	partitions = 1

	segmentBytes = 32 << 20
	messageBytes = 16 << 20
)

// Options says where the embedded broker lives.
type Options struct {
	Dir    string // its data directory, made when absent
	Addr   string // "127.0.0.1:port"; port 0 takes any
	Logger *slog.Logger
}

// Broker is a running Kafka broker.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
	unlock  func()

	stop    context.CancelFunc // ends the sweeper
	sweeper sync.WaitGroup
	once    sync.Once
}

// Start starts a broker of one node on o.Dir: topics, records, group
// offsets and producer ids are those of the last run, however that ended. A
// topic that a client asks for is made. Records are kept until every group that
// commits offsets for their partition has read them, see [sweeper].
func Start(o Options) (*Broker, error) {
	unlock, err := local.Lock(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	l, err := local.Listen(o.Addr, false)
	if err != nil {
		unlock()
		return nil, fmt.Errorf("start broker: %w", err)
	}
	addr := l.Addr().String()
	cluster, err := kfake.NewCluster(
		kfake.Ports(l.Addr().(*net.TCPAddr).Port),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return l, nil }),
		kfake.DataDir(filepath.Join(o.Dir, "data")),
		kfake.SyncWrites(),
		kfake.ClusterID("logferry"),
		kfake.DefaultNumPartitions(partitions),
		kfake.BrokerConfigs(map[string]string{
			"message.max.bytes": strconv.Itoa(messageBytes),
			"log.segment.bytes": strconv.Itoa(segmentBytes),
			// The broker's own retention knows no groups, and compacting
			// deletes a log before it writes the new one: a kill between
			// the two would empty the topic. The sweeper does what is needed.
			"log.retention.ms":       "-1",
			"log.retention.bytes":    "-1",
			"log.cleaner.backoff.ms": "9000000000000",
			// Offsets are the positions of `up` itself, which may be off for months.
			"offsets.retention.minutes": "5256000",
		}),
		kfake.WithLogger(kafkaToSlog{o.Logger.With("server", "kafka")}),
	)
	if err != nil {
		l.Close()
		unlock()
		return nil, fmt.Errorf("start broker in %s: %w", o.Dir, err)
	}
	cluster.ControlKey(kmsg.Metadata.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		makeTopics(cluster, req.(*kmsg.MetadataRequest), o.Logger)
		return nil, nil, false
	})
	ctx, stop := context.WithCancel(context.Background())
	b := &Broker{cluster: cluster, addr: addr, unlock: unlock, stop: stop}
	s := &sweeper{addr: addr, logger: o.Logger.With("server", "kafka")}
	b.sweeper.Go(func() { s.run(ctx) })
	return b, nil
}

// makeTopics makes the topics that a client asks for. The broker's own way of
// making them writes none of them down until it is closed, so that after a kill
// their logs would begin anew over the old ones.
func makeTopics(cluster *kfake.Cluster, req *kmsg.MetadataRequest, log *slog.Logger) {
	if !req.AllowAutoTopicCreation {
		return
	}
	for _, t := range req.Topics {
		if t.Topic == nil || *t.Topic == "" || cluster.TopicInfo(*t.Topic) != nil {
			continue
		}
		if err := cluster.CreateTopic(*t.Topic, 0, nil); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			log.Warn("cannot make a topic", "topic", *t.Topic, "error", err)
		}
	}
}

// Addr is the broker's address, "host:port".
func (b *Broker) Addr() string { return b.addr }

// Close stops the broker and waits until everything it holds is on the disk.
// Clients that are still connected are cut off.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.stop()
		b.sweeper.Wait()
		b.cluster.Close()
		b.unlock()
	})
	return nil
}

type kafkaToSlog struct{ logger *slog.Logger }

func (k kafkaToSlog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		k.logger.Error(fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		k.logger.Warn(fmt.Sprintf(format, args...))
	}
}
