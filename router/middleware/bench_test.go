package middleware_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/router/middleware"
)

// BenchmarkChain is what the whole chain adds to a message that succeeds at
// once, without a throttle and with one that never waits.
func BenchmarkChain(b *testing.B) {
	for name, throttle := range map[string]config.Throttle{
		"plain":     {},
		"throttled": {LinesPerSecond: 1e12, BytesPerSecond: 1 << 60},
	} {
		b.Run(name, func(b *testing.B) {
			c := newChain(middleware.Settings{Throttle: throttle, Breaker: config.Breaker{Failures: 5}}, &box{})
			handle := build(c, func(*message.Message) ([]*message.Message, error) { return nil, nil })
			msg, _ := poll("a", "b", "c")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := handle(msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
