package middleware

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// Letters makes and sends the letters of one pipeline.
type Letters interface {
	// Letter returns the poison record for item i of w.
	Letter(w logs.Work, i int, refusal *logs.Refusal, at time.Time) *message.Message
	// Send publishes letters to the topic and returns when all are
	// acknowledged by all in-sync replicas.
	Send(topic string, letters []*message.Message) error
}

// poison settles what was refused for its own sake: on_reject says how. The
// rest of the message goes back to the chain inside. It stands in for
// Watermill's PoisonQueue, which takes whole messages, and takes a shutdown or
// an outage for poison.
type poison struct {
	letters  Letters
	log      *slog.Logger
	settings atomic.Pointer[config.Poison]
	poisoned atomic.Uint64
	dropped  atomic.Uint64
}

func newPoison(o Options) *poison { return &poison{letters: o.Letters, log: o.Logger} }

func (p *poison) update(s config.Poison) { p.settings.Store(&s) }

func (p *poison) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		for {
			out, err := next(msg)
			if err == nil {
				return out, nil
			}
			w := logs.WorkOf(msg)
			refused, _ := refusals(err)
			if w == nil || len(refused) == 0 {
				return nil, err
			}
			if err := p.settle(w, refused); err != nil {
				return nil, err
			}
			if w.Pending() == 0 {
				return nil, nil
			}
		}
	}
}

// settle answers the refused items and marks them as settled.
func (p *poison) settle(w logs.Work, refused []logs.Failure) error {
	refused = expand(w, refused)
	s := p.settings.Load()
	switch s.OnReject {
	case "hold":
		return logs.AsUnavailable(fmt.Errorf("hold %d refused: %w", len(refused), refused[0].Err))
	case "drop":
		p.dropped.Add(uint64(len(refused)))
		p.log.Warn("dropped what was refused", "count", len(refused), "first", refused[0].Err)
	default:
		if err := p.send(w, refused, s.Topic); err != nil {
			return err
		}
	}
	for _, f := range refused {
		w.Settle(f.Index)
	}
	return nil
}

func (p *poison) send(w logs.Work, refused []logs.Failure, topic string) error {
	now := time.Now()
	letters := make([]*message.Message, len(refused))
	for i, f := range refused {
		letters[i] = p.letters.Letter(w, f.Index, refusalOf(f.Err), now)
	}
	if err := p.letters.Send(topic, letters); err != nil {
		return logs.AsUnavailable(fmt.Errorf("publish %d letters to poison topic %q: %w", len(letters), topic, err))
	}
	p.poisoned.Add(uint64(len(refused)))
	p.log.Warn("sent what was refused to the poison topic",
		"count", len(refused), "topic", topic, "first", refused[0].Err)
	return nil
}

// expand replaces a failure about everything by one for each pending item.
func expand(w logs.Work, refused []logs.Failure) []logs.Failure {
	if refused[0].Index != everything {
		return refused
	}
	all := make([]logs.Failure, 0, w.Pending())
	for i := range w.Len() {
		if !w.Settled(i) {
			all = append(all, logs.Failure{Index: i, Err: refused[0].Err})
		}
	}
	return all
}

func refusalOf(err error) *logs.Refusal {
	var r *logs.Refusal
	if errors.As(err, &r) {
		return r
	}
	return &logs.Refusal{Reason: err.Error()}
}
