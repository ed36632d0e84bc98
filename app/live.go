package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"slices"
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

const (
	// firstSnapshot is how long a start waits for etcd before it goes on with
	// the last good config.
	firstSnapshot = 3 * time.Second
	// canaryBeat is how often a process that runs a canary looks whether its
	// time has ended, and reports.
	canaryBeat = 2 * time.Second
)

// live keeps a service's config current. Changes arrive as messages on the
// internal topic config.changed, from etcd's watcher or from the file's; a
// message carries a revision only, and the current state is read then.
//
//	etcd ──► etcd.Watcher ──┐
//	file ──► WatchFile ─────┼─► config.changed ──► run: resolve, apply, keep
//	SIGHUP ─────────────────┘
type live struct {
	liveOptions
	base    *config.Config
	events  *gochannel.GoChannel
	link    *etcd.Link    // to etcd, of all in this service; nil without
	watcher *etcd.Watcher // nil without etcd
	// owned by run
	good    config.Docs
	looked  *looked // the last documents that were looked at and applied; nil: look again
	current atomic.Pointer[LiveStatus]
	// changed is nudged when current is another.
	changed chan struct{}
}

// looked is what the last look at the documents came to.
type looked struct {
	docs     config.Docs
	seen     int64
	canaries []config.Given
	invalid  string
	applied  bool
}

// same says whether two looks differ in nothing that concerns this process.
func (a *looked) same(b *looked) bool {
	if a == nil || !a.applied || a.seen == 0 && b.seen != 0 || a.invalid != b.invalid || !slices.Equal(a.canaries, b.canaries) {
		return false
	}
	plain, other := a.docs, b.docs
	plain.Canaries, other.Canaries = nil, nil
	return plain.Equal(other)
}

// liveOptions are a service's part of its live config.
type liveOptions struct {
	role  string // agent | transfer
	path  string // of the config file; "" when it is not watched
	keys  func() config.Keys
	apply func(context.Context, *config.Config) error
	log   *slog.Logger
}

func newLive(c *config.Config, o liveOptions) (*live, error) {
	l := &live{base: c, liveOptions: o, changed: make(chan struct{}, 1)}
	l.events = gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	l.current.Store(&LiveStatus{})
	if c.Etcd == nil {
		return l, nil
	}
	var err error
	l.link = etcd.NewLink(*c.Etcd)
	l.watcher, err = etcd.New(l.link, o.keys(), l.events, o.log)
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
		l.accept(ctx, l.base, config.Docs{}, LiveStatus{}, nil)
		if l.path != "" {
			wait.Go(func() { l.keep("config file", config.WatchFile(ctx, l.path, l.nudge)) })
		}
	}
	for {
		select {
		case <-l.nextBeat():
			l.beat(ctx)
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
	l.decide(ctx, snapshot.Docs, snapshot.Revision)
}

// decide puts in force what documents that were found at a revision mean now.
// A canary that begins or ends elsewhere changes nothing, not even the status.
// Revision 0 is for documents that are not etcd's of now.
func (l *live) decide(ctx context.Context, docs config.Docs, seen int64) {
	d, err := config.Decide(l.base, docs, l.good, time.Now())
	look := &looked{docs: docs, seen: seen, canaries: d.Canaries}
	if err != nil {
		look.invalid = err.Error()
	}
	if l.looked.same(look) {
		look.applied = true
		l.looked = look
		return
	}
	var next LiveStatus
	if seen != 0 {
		next = wanted(docs, seen)
	}
	next.give(d.Canaries)
	l.accept(ctx, d.Config, d.Good, next, err)
	look.applied = l.good.Equal(d.Good)
	l.looked = look
}

// nextBeat is due while a canary is in force.
func (l *live) nextBeat() <-chan time.Time {
	if len(l.good.Canaries) == 0 {
		return nil
	}
	pause := canaryBeat
	if until := l.status().canaryUntil(); !until.IsZero() {
		pause = min(pause, max(time.Until(until), 0))
	}
	return time.After(pause)
}

// beat ends a canary whose time has come, whatever etcd says or does not say,
// tries again what could not be applied, and reports often meanwhile.
func (l *live) beat(ctx context.Context) {
	if until := l.status().canaryUntil(); !l.looked.applied || !time.Now().Before(until) {
		l.decide(ctx, l.looked.docs, l.looked.seen)
		return
	}
	l.report()
}

func (l *live) reloadFile(ctx context.Context) {
	c, err := config.Load(l.path)
	if err != nil {
		l.reject(LiveStatus{}, err)
		return
	}
	next := LiveStatus{Restart: frozen(l.base, c)}
	for _, key := range next.Restart {
		l.log.Warn("this change of the config file takes effect at the next start", "key", key)
	}
	l.accept(ctx, c, config.Docs{}, next, nil)
}

// accept puts c in force; next is what was looked at. invalid, if not nil, says
// what of the documents is not in c.
func (l *live) accept(ctx context.Context, c *config.Config, good config.Docs, next LiveStatus, invalid error) {
	if err := l.apply(ctx, c); err != nil {
		l.reject(next, err)
		return
	}
	changed := !good.Equal(l.good)
	l.good = good
	if changed && l.watcher != nil {
		if err := config.SaveLastGood(l.base.DataDir, l.role, good); err != nil {
			l.log.Warn("a start without etcd would use an older config", "error", err)
		}
	}
	next.inForce(good)
	next.AppliedAt = time.Now()
	if invalid != nil {
		next.Error = invalid.Error()
		l.log.Error("a live document is not valid; what was in force before stays", "error", invalid)
	}
	l.set(next)
	l.log.Info("config in force", "revision", next.Revision)
}

// reject keeps what is in force and remembers why.
func (l *live) reject(next LiveStatus, err error) {
	l.log.Error("the changed config is not in force; what was in force before stays", "error", err)
	next.inForce(l.good)
	next.AppliedAt, next.Error = l.status().AppliedAt, err.Error()
	l.set(next)
}

func (l *live) set(s LiveStatus) {
	l.current.Store(&s)
	l.report()
}

// report asks for a report at once.
func (l *live) report() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// loadGood reads the documents that were in force when etcd was last seen.
func (l *live) loadGood() {
	good, err := config.LoadLastGood(l.base.DataDir, l.role)
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
	l.decide(ctx, l.good, 0)
}

// applied says whether a config is in force.
func (l *live) applied() bool { return !l.status().AppliedAt.IsZero() }

func (l *live) status() LiveStatus { return *l.current.Load() }
