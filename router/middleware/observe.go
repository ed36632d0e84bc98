package middleware

import (
	"log/slog"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/handlers/logs"
)

// observe counts what passes and keeps the last error. It logs nothing for a
// stop, and a failure that is given back once, by the message's own words.
type observe struct {
	log      *slog.Logger
	messages atomic.Uint64
	items    atomic.Uint64
	failures atomic.Uint64
	last     atomic.Pointer[seen]
}

func newObserve(o Options) *observe { return &observe{log: o.Logger} }

func (o *observe) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		out, err := next(msg)
		switch {
		case err == nil:
			o.messages.Add(1)
			if w := logs.WorkOf(msg); w != nil {
				o.items.Add(uint64(w.Len()))
			}
		case stopped(msg, err):
		default:
			o.failures.Add(1)
			if last := o.last.Swap(saw(err)); last == nil || last.text != err.Error() {
				o.log.Warn("a batch was given back and will be tried again", "error", err)
			}
		}
		return out, err
	}
}

// stopped says whether err only means that the message's own context ended.
func stopped(msg *message.Message, err error) bool {
	return msg.Context().Err() != nil || logs.KindOf(err) == logs.Stopped
}
