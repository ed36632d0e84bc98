package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/config/etcd"
	"github.com/logferry/logferry/router"
)

// firstSnapshot is how long a start waits for etcd before it goes on with the
// last good config.
const firstSnapshot = 3 * time.Second

// live keeps a service's config current. Changes arrive as messages on the
// internal topic config.changed, from etcd's watcher or from the file's; a
// message carries a revision only, and the current state is read then.
//
//	etcd ──► etcd.Watcher ──┐
//	file ──► WatchFile ─────┼─► config.changed ──► run: resolve, apply, keep
//	SIGHUP ─────────────────┘
type live struct {
	base    *config.Config
	path    string
	log     *slog.Logger
	apply   func(context.Context, *config.Config) error
	events  *gochannel.GoChannel
	watcher *etcd.Watcher // nil without etcd
	good    config.Docs   // owned by run
	current atomic.Pointer[LiveStatus]
}

// LiveStatus says which config a service runs with.
type LiveStatus struct {
	// Revision of the newest document that is in force; 0 for the file alone.
	Revision  int64     `json:"revision"`
	AppliedAt time.Time `json:"applied_at"`
	// Seen is the revision that was looked at last; Error says why it is not
	// in force, when it is not.
	Seen  int64  `json:"seen"`
	Error string `json:"error,omitempty"`
}

func newLive(c *config.Config, path string, log *slog.Logger, apply func(context.Context, *config.Config) error) (*live, error) {
	l := &live{base: c, path: path, log: log, apply: apply}
	l.events = gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	if c.Etcd == nil {
		return l, nil
	}
	var err error
	l.watcher, err = etcd.New(*c.Etcd, c.Node, l.events, log)
	return l, err
}

func (l *live) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	changes, err := l.events.Subscribe(ctx, router.TopicConfigChanged)
	if err != nil {
		return err
	}
	defer l.events.Close()

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	var patience <-chan time.Time
	if l.watcher != nil {
		l.loadGood()
		wait.Go(func() { l.keep("etcd", l.watcher.Run(ctx)) })
		patience = time.After(firstSnapshot)
	} else {
		l.accept(ctx, l.base, config.Docs{}, nil)
		if l.path != "" {
			wait.Go(func() { l.keep("config file", config.WatchFile(ctx, l.path, l.nudge)) })
		}
	}
	for {
		select {
		case msg, open := <-changes:
			if !open {
				return nil
			}
			msg.Ack()
			l.reload(ctx)
		case <-patience:
			if !l.applied() {
				l.startFromLastGood(ctx)
			}
		case <-hup:
			l.nudge()
		case <-ctx.Done():
			return nil
		}
	}
}

// keep says why a watcher ended, unless it was asked to.
func (l *live) keep(name string, err error) {
	if err != nil {
		l.log.Error("the watcher of the live config ended; changes need a restart", "watcher", name, "error", err)
	}
}

// nudge publishes a change of the file.
func (l *live) nudge() {
	msg := message.NewMessage(watermill.NewShortUUID(), []byte(strconv.Itoa(0)))
	if err := l.events.Publish(router.TopicConfigChanged, msg); err != nil {
		l.log.Debug("publish a change of the config file", "error", err)
	}
}

func (l *live) reload(ctx context.Context) {
	if l.watcher == nil {
		l.reloadFile(ctx)
		return
	}
	snapshot, ok := l.watcher.Snapshot()
	if !ok {
		return
	}
	if snapshot.Docs.Empty() && snapshot.Revision < l.good.Revision() {
		l.log.Error("etcd has lost its data: going on with the last good config until documents are put again",
			"revision", snapshot.Revision, "last_good", l.good.Revision())
		snapshot.Docs = l.good
	}
	c, good, err := config.Resolve(l.base, snapshot.Docs, l.good)
	l.accept(ctx, c, good, err)
}

func (l *live) reloadFile(ctx context.Context) {
	c, err := config.Load(l.path)
	if err != nil {
		l.reject(err)
		return
	}
	for _, key := range frozen(l.base, c) {
		l.log.Warn("this change of the config file takes effect at the next start", "key", key)
	}
	l.accept(ctx, c, config.Docs{}, nil)
}

// accept puts c in force. invalid, if not nil, says what of the documents is
// not in c.
func (l *live) accept(ctx context.Context, c *config.Config, good config.Docs, invalid error) {
	if err := l.apply(ctx, c); err != nil {
		l.reject(err)
		return
	}
	changed := !good.Equal(l.good)
	l.good = good
	if changed && l.watcher != nil {
		if err := config.SaveLastGood(l.base.DataDir, good); err != nil {
			l.log.Warn("a start without etcd would use an older config", "error", err)
		}
	}
	status := &LiveStatus{Revision: good.Revision(), AppliedAt: time.Now(), Seen: good.Revision()}
	if invalid != nil {
		status.Error = invalid.Error()
		l.log.Error("a live document is not valid; what was in force before stays", "error", invalid)
	}
	l.current.Store(status)
	l.log.Info("config in force", "revision", status.Revision)
}

// reject keeps what is in force and remembers why.
func (l *live) reject(err error) {
	l.log.Error("the changed config is not in force; what was in force before stays", "error", err)
	next := LiveStatus{}
	if current := l.current.Load(); current != nil {
		next = *current
	}
	next.Error = err.Error()
	l.current.Store(&next)
}

// loadGood reads the documents that were in force when etcd was last seen.
func (l *live) loadGood() {
	good, err := config.LoadLastGood(l.base.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("a document that is not valid now has no earlier form to stand in", "error", err)
	}
	l.good = good
}

// startFromLastGood applies what was in force when etcd was last seen, or, at
// a very first start, what the file says.
func (l *live) startFromLastGood(ctx context.Context) {
	if l.good.Empty() {
		l.log.Warn("etcd has not answered yet and there is no earlier config: starting with what the file says")
	} else {
		l.log.Warn("etcd has not answered yet: starting with the last good config", "revision", l.good.Revision())
	}
	c, good, err := config.Resolve(l.base, l.good, l.good)
	l.accept(ctx, c, good, err)
}

// applied says whether a config is in force.
func (l *live) applied() bool {
	s := l.current.Load()
	return s != nil && !s.AppliedAt.IsZero()
}

func (l *live) status() LiveStatus {
	if s := l.current.Load(); s != nil {
		return *s
	}
	return LiveStatus{}
}
