package embedded

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapToSlog gives etcd the logger it wants. Warnings and worse arrive at l while
// on is true: while etcd starts and stops it warns of what is meant to be so,
// and what keeps it from starting is an error of the start.
func zapToSlog(l *slog.Logger, on *atomic.Bool) *zap.Logger {
	return zap.New(&slogCore{logger: l, on: on}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

type slogCore struct {
	logger *slog.Logger
	on     *atomic.Bool
}

func (c *slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel && c.on.Load() }

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{logger: c.logger.With(slogAttrs(fields)...), on: c.on}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	switch e.Message {
	case "Failed to detect schema version", "failed to update storage version":
		return ce // said once by a new data directory, before its first write
	}
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.logger.Log(context.Background(), level, e.Message, slogAttrs(fields)...)
	return nil
}

func (c *slogCore) Sync() error { return nil }

func slogAttrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	attrs := make([]any, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	return attrs
}
