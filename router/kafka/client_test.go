package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func TestLoginByEachMechanism(t *testing.T) {
	for _, m := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(m, func(t *testing.T) {
			t.Parallel()
			_, cfg := broker(t, kfake.EnableSASL(), kfake.Superuser(m, "ann", "secret"), kfake.SeedTopics(1, "t"))
			cfg.SASL = &config.SASL{Mechanism: m, Username: "ann", Password: "secret"}
			require.NoError(t, Ping(context.Background(), cfg))
			require.NoError(t, newPublisher(t, cfg).Publish("t", batchMessage(context.Background(), batchOf("k", "one"))))
			require.NoError(t, newLetters(t, cfg).Publish("t", message.NewMessage("id", []byte("two"))))
			require.Equal(t, []string{"one", "two"}, valuesOf(read(t, cfg, "t", 2)))

			cfg.SASL = &config.SASL{Mechanism: m, Username: "ann", Password: "xyzzy"}
			err := Ping(context.Background(), cfg)
			require.ErrorContains(t, err, "login")
			require.NotContains(t, err.Error(), "xyzzy")
			p := newPublisher(t, cfg)
			p.limits.timeout = 200 * time.Millisecond
			err = p.Publish("t", batchMessage(context.Background(), batchOf("k", "one")))
			require.Equal(t, logs.Unavailable, logs.KindOf(err))
			require.ErrorContains(t, err, "connect to kafka broker")
		})
	}
}

func TestPingSaysWhatIsAbsent(t *testing.T) {
	c, cfg := broker(t)
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := Ping(ctx, cfg)
	require.ErrorContains(t, err, "refused")
	require.ErrorContains(t, err, cfg.Brokers[0])
	_, err = NewClient(config.Kafka{})
	require.Error(t, err)
	_, err = NewClient(config.Kafka{Brokers: []string{"x:1"}, TLS: &config.TLS{CAFile: "/absent"}})
	require.ErrorContains(t, err, "ca_file")
}
