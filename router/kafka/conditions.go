package kafka

import (
	"context"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// conditions remembers what was said, so that each condition is said once
// until it has passed, and the last error. It is safe for concurrent use.
type conditions struct {
	mu   sync.Mutex
	said map[string]bool
	err  error
	away error // why the last connection failed, nil once one succeeds
}

// raise says whether key is news.
func (c *conditions) raise(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said[key] {
		return false
	}
	if c.said == nil {
		c.said = make(map[string]bool)
	}
	c.said[key] = true
	return true
}

// clear ends a condition and says whether there was one.
func (c *conditions) clear(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.said[key]
	delete(c.said, key)
	return had
}

func (c *conditions) fail(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
}

func (c *conditions) last() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// connected notes how an attempt to connect ended.
func (c *conditions) connected(err error) {
	c.mu.Lock()
	c.away = err
	if err != nil {
		c.err = err
	}
	c.mu.Unlock()
}

// explain puts the reason for which no broker is reached in place of an error
// that only says that a request had no answer.
func (c *conditions) explain(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away != nil && err != nil && kafkaCode(err) == nil {
		return c.away
	}
	return err
}

func (c *conditions) lastText() string {
	if err := c.last(); err != nil {
		return err.Error()
	}
	return ""
}

// clientLog maps the client's chatter down to slog's debug level: what a person
// must act on is said by this package, once.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelNone
}

func (l clientLog) Log(_ kgo.LogLevel, msg string, keyvals ...any) {
	l.log.Debug("kafka client: "+msg, keyvals...)
}

func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
