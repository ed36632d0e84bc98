package kafka

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/logferry/logferry/config"
)

// letterConfig is cfg in sarama's words: acknowledged by all in-sync replicas,
// idempotent, and bounded in time, since sarama knows no context.
func letterConfig(cfg config.Kafka) (*sarama.Config, error) {
	c := sarama.NewConfig()
	c.ClientID = clientID
	c.Version = sarama.V2_8_0_0
	c.Net.DialTimeout = dialTimeout
	c.Net.ReadTimeout = produceTimeout + answerTimeout
	c.Net.WriteTimeout = produceTimeout
	c.Net.MaxOpenRequests = 1
	c.Metadata.Retry.Max = 3
	c.Metadata.Retry.Backoff = 250 * time.Millisecond
	c.Metadata.Timeout = produceTimeout
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Producer.Timeout = produceTimeout
	c.Producer.MaxMessageBytes = letterBytes
	c.Producer.Retry.Max = 5
	c.Producer.Retry.Backoff = 250 * time.Millisecond
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	codec, err := saramaCompression(cfg.Compression)
	if err != nil {
		return nil, err
	}
	c.Producer.Compression = codec
	if cfg.TLS != nil {
		t, err := clientTLS(cfg.TLS)
		if err != nil {
			return nil, err
		}
		c.Net.TLS.Enable, c.Net.TLS.Config = true, t
	}
	if cfg.SASL != nil {
		m, err := mechanism(cfg.SASL)
		if err != nil {
			return nil, err
		}
		c.Net.SASL.Enable = true
		c.Net.SASL.Mechanism = sarama.SASLMechanism(m.Name())
		c.Net.SASL.User, c.Net.SASL.Password = cfg.SASL.Username, string(cfg.SASL.Password)
		if strings.HasPrefix(m.Name(), "SCRAM-") {
			c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{mechanism: m} }
		}
	}
	return c, c.Validate()
}

func saramaCompression(name string) (sarama.CompressionCodec, error) {
	var c sarama.CompressionCodec
	if name == "" {
		name = "lz4"
	}
	if err := c.UnmarshalText([]byte(name)); err != nil {
		return c, fmt.Errorf("compression %q is not known", name)
	}
	return c, nil
}

// scramClient lets sarama log in by the same SCRAM code as our own client.
type scramClient struct {
	mechanism sasl.Mechanism
	session   sasl.Session
	first     []byte
	done      bool
}

// Begin starts a login with the mechanism's own user and password.
func (c *scramClient) Begin(_, _, _ string) error {
	s, first, err := c.mechanism.Authenticate(context.Background(), "")
	c.session, c.first, c.done = s, first, false
	return err
}

// Step answers the server's challenge; the first one is empty.
func (c *scramClient) Step(challenge string) (string, error) {
	if c.first != nil {
		first := string(c.first)
		c.first = nil
		return first, nil
	}
	done, answer, err := c.session.Challenge([]byte(challenge))
	c.done = done
	return string(answer), err
}

// Done says whether the server has been believed.
func (c *scramClient) Done() bool { return c.done }
