package app

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/router/kafka"
)

func waitForKafka(c config.Kafka, log *slog.Logger) *waitFor {
	return &waitFor{
		name: "kafka " + strings.Join(c.Brokers, ","),
		ping: func(ctx context.Context) error { return kafka.Ping(ctx, c) },
		log:  log,
	}
}

// ensureTimeout bounds one attempt to make the poison topic.
const ensureTimeout = 10 * time.Second

// ensurePoison returns a function that makes a poison topic at its first use.
func ensurePoison(c config.Kafka) func(topic string) error {
	var (
		mu   sync.Mutex
		made = map[string]bool{}
	)
	return func(topic string) error {
		mu.Lock()
		defer mu.Unlock()
		if made[topic] {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), ensureTimeout)
		defer cancel()
		if err := kafka.EnsurePoisonTopic(ctx, c, topic); err != nil {
			return err
		}
		made[topic] = true
		return nil
	}
}
