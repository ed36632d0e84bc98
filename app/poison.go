package app

import (
	"log/slog"
	"slices"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/poison"
	"github.com/logferry/logferry/router/kafka"
)

// Poison is the poison queue of a config: the poison topics of all its routes,
// and that of agents.
//
//	kafka.Reader ──► poison.Store ──► kafka.Publisher: originals, tombstones
type Poison struct {
	*poison.Store
	// Topics are the poison topics.
	Topics []string

	publisher *kafka.Publisher
}

// OpenPoison opens the queue; it connects when it is first used. progress may
// be nil; see [poison.StoreOptions].
func OpenPoison(c *config.Config, progress func(read, total int64), log *slog.Logger) (*Poison, error) {
	publisher, err := kafka.NewPublisher(c.Kafka, kafka.PublisherOptions{Logger: log})
	if err != nil {
		return nil, err
	}
	p := &Poison{Topics: poisonTopics(c), publisher: publisher}
	p.Store = poison.NewStore(poison.StoreOptions{
		Topics:   p.Topics,
		Reader:   kafka.NewReader(c.Kafka, log),
		Writer:   publisher,
		Progress: progress,
	})
	return p, nil
}

// Close disconnects.
func (p *Poison) Close() error { return p.publisher.Close() }

func poisonTopics(c *config.Config) []string {
	topics := []string{config.DefaultPoisonTopic}
	for _, r := range c.Transfer.Routes {
		if !slices.Contains(topics, r.Poison.Topic) {
			topics = append(topics, r.Poison.Topic)
		}
	}
	return topics
}
