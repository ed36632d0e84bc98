// Package ship is the agent's stage between a file and Kafka: it says which
// topic and key the lines of a batch get, and has them published.
package ship

import (
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// Handler ships the batches of one input.
type Handler struct {
	publisher message.Publisher
	settings  atomic.Pointer[settings]
}

type settings struct {
	topic *Topic
	key   string
}

// NewHandler returns a handler that publishes through p, which acknowledges
// before it returns and reports what failed as a *logs.BatchError.
// allowedTopics are globs of names that a topic may have.
func NewHandler(p message.Publisher, in config.Input, allowedTopics []string) *Handler {
	h := &Handler{publisher: p}
	h.Update(in, allowedTopics)
	return h
}

// Update changes topic and key from the next attempt on. It may be called from
// any goroutine.
func (h *Handler) Update(in config.Input, allowedTopics []string) {
	h.settings.Store(&settings{topic: NewTopic(in.Topic, allowedTopics), key: in.Key})
}

// Handle publishes the pending lines of the message's batch.
func (h *Handler) Handle(msg *message.Message) error {
	b := logs.BatchOf(msg)
	if b == nil {
		return logs.AsPermanent(fmt.Errorf("ship message %q: it carries no batch", msg.UUID))
	}
	s := h.settings.Load()
	topic, err := s.topic.Of(b.Origin)
	if err != nil {
		return logs.AsUnavailable(err)
	}
	b.Key = key(s.key, b.Origin)
	return h.publisher.Publish(topic, msg)
}
