package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/logferry/logferry/config"
)

const (
	clientID    = "logferry"
	dialTimeout = 5 * time.Second
	// A lost broker is asked again within this time, so that the first line
	// after an outage does not wait for the end of a long pause.
	maxRetryPause = 2 * time.Second
)

// NewClient returns a client of the brokers of cfg with its TLS and login. It
// connects when it is first used. The caller closes it. The options of the
// caller come after, and so win over, those of the connection.
func NewClient(cfg config.Kafka, opts ...kgo.Opt) (*kgo.Client, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("make kafka client: no brokers")
	}
	all := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID(clientID),
		kgo.DialTimeout(dialTimeout),
		kgo.RetryBackoffFn(retryPause),
		kgo.DisableClientMetrics(),
	}
	if cfg.TLS != nil {
		if _, err := clientTLS(cfg.TLS); err != nil {
			return nil, fmt.Errorf("make kafka client: %w", err)
		}
		all = append(all, kgo.Dialer(tlsDialer(cfg.TLS)))
	}
	if cfg.SASL != nil {
		m, err := mechanism(cfg.SASL)
		if err != nil {
			return nil, fmt.Errorf("make kafka client: %w", err)
		}
		all = append(all, kgo.SASL(m))
	}
	cl, err := kgo.NewClient(append(all, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	return cl, nil
}

// Ping asks one broker for the cluster's metadata and says why that failed: no
// connection, TLS, login, or a broker that does not answer before ctx ends.
func Ping(ctx context.Context, cfg config.Kafka) error {
	var cond conditions
	cl, err := NewClient(cfg, kgo.RequestRetries(1), kgo.RetryTimeout(dialTimeout),
		kgo.WithHooks(watch{slog.New(slog.DiscardHandler), &cond}))
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	_, err = req.RequestWith(ctx, cl)
	switch err = cond.explain(err); {
	case err == nil:
		return nil
	case cfg.SASL != nil && errors.Is(err, io.EOF):
		err = fmt.Errorf("the broker hung up at the login, which may mean a wrong user or password: %w", err)
	}
	return fmt.Errorf("reach kafka at %s: %w", strings.Join(cfg.Brokers, ", "), err)
}

// retryPause is 100ms doubled for each failure, with a fifth taken off or put
// on at random so that many agents do not come back in step.
func retryPause(fails int) time.Duration {
	d := maxRetryPause
	if fails < 6 {
		d = min(d, 100*time.Millisecond<<max(fails-1, 0))
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

func mechanism(s *config.SASL) (sasl.Mechanism, error) {
	switch strings.ToUpper(s.Mechanism) {
	case "PLAIN":
		return plain.Auth{User: s.Username, Pass: string(s.Password)}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.Username, Pass: string(s.Password)}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.Username, Pass: string(s.Password)}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("sasl mechanism %q is not known", s.Mechanism)
}

func compression(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4", "":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("compression %q is not known", name)
}

// watch says once when a broker cannot be reached, and once when it can again.
type watch struct {
	log  *slog.Logger
	cond *conditions
}

func (w watch) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	addr := net.JoinHostPort(m.Host, fmt.Sprint(m.Port))
	switch {
	case err == nil:
		w.cond.connected(nil)
		if w.cond.clear("connect " + addr) {
			w.log.Info("kafka broker is reached again", "broker", addr)
		}
	case errors.Is(err, context.Canceled):
	default:
		w.cond.connected(fmt.Errorf("connect to kafka broker %s: %w", addr, err))
		if w.cond.raise("connect " + addr) {
			w.log.Warn("kafka broker cannot be reached, trying until it can", "broker", addr, "error", err)
		}
	}
}

// kafkaCode returns the error of Kafka's protocol that err holds, or nil.
func kafkaCode(err error) *kerr.Error {
	var k *kerr.Error
	errors.As(err, &k)
	return k
}
