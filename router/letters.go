package router

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/handlers/poison"
	"github.com/logferry/logferry/router/middleware"
)

// letters makes and sends the letters of one pipeline.
type letters struct {
	publisher message.Publisher
	handler   string
	// ensure is called with the poison topic's name before letters are sent.
	ensure func(topic string) error
	// topicOf says which topic the lines of a batch were to go to.
	topicOf func(*logs.Origin) string
}

var _ middleware.Letters = (*letters)(nil)

func (l *letters) Letter(w logs.Work, i int, refusal *logs.Refusal, at time.Time) *message.Message {
	where := poison.Where{Handler: l.handler, Now: at}
	switch w := w.(type) {
	case *logs.Poll:
		where.Topic, where.Subscriber = w.Topic, subscriberKafka
		return poison.FromRecord(&w.Records[i], refusal, where)
	case *logs.Batch:
		where.Topic, where.Subscriber = l.topicOf(w.Origin), subscriberTail
		return poison.FromLine(w, i, where.Topic, refusal, where)
	}
	panic("poison: neither a batch nor a poll")
}

func (l *letters) Send(topic string, list []*message.Message) error {
	if err := l.ensure(topic); err != nil {
		return err
	}
	return l.publisher.Publish(topic, list...)
}
