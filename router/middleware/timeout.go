package middleware

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// timeout bounds one attempt. It stands in for Watermill's Timeout, which
// leaves its ended context in the message, so that the next attempt of a retry
// outside it would fail at once.
func timeout(limit time.Duration) message.HandlerMiddleware {
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			outer := msg.Context()
			ctx, cancel := context.WithTimeout(outer, limit)
			defer func() {
				cancel()
				msg.SetContext(outer)
			}()
			msg.SetContext(ctx)
			return next(msg)
		}
	}
}
