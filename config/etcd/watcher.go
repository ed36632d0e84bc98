package etcd

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/logferry/logferry/config"
)

// Changed is the internal topic on which a Watcher says that there is another
// snapshot. The payload is the snapshot's revision in decimal.
const Changed = "config.changed"

const (
	firstPause = 200 * time.Millisecond
	maxPause   = 4 * time.Second
	// The same after a question that was not answered in time.
	busyPause    = 500 * time.Millisecond
	maxBusyPause = time.Minute
	// steady is how long a watch must have lasted for the pauses to start small again.
	steady = time.Second
)

// Snapshot is what etcd held at one revision. It is immutable.
type Snapshot struct {
	Docs config.Docs
	// Revision is etcd's revision at the read; those of the documents are at most as high.
	Revision int64
}

// Stats is what a Watcher has to say about itself.
type Stats struct {
	Connected bool
	// Revision of the last read, 0 before the first.
	Revision int64
	// LastError is empty when there was none yet; it stays after a reconnect.
	LastError     string
	LastErrorTime time.Time
	// Reconnects counts the connections after the first.
	Reconnects int64
}

// Watcher is an actor that follows the live documents of one process. What it
// reads is the state; the events of a watch only say that it is time to read,
// so that no event is needed for the state to become right. Each read takes
// all documents at one revision.
type Watcher struct {
	link *Link
	pace pace
	keys config.Keys
	pub  message.Publisher
	log  *slog.Logger

	askEach time.Duration // see askAlive

	snapshot atomic.Pointer[Snapshot]
	stats    atomic.Pointer[Stats]

	// owned by Run
	reads  config.Keys // those of keys that the user may read
	alone  bool        // it was said that canaries are not among them
	down   string      // the kind of failure that was said last; empty while connected
	before bool        // was connected before
	kept   bool        // the snapshot's documents are from before etcd lost its data
}

// New returns a Watcher of the documents at keys; it starts nothing. pub is
// told of each change, from Run's goroutine, and should not block.
func New(link *Link, keys config.Keys, pub message.Publisher, log *slog.Logger) (*Watcher, error) {
	if len(link.cfg.Endpoints) == 0 || len(keys.All()) == 0 {
		return nil, errors.New("watch etcd: endpoints and keys are required")
	}
	w := &Watcher{link: link, pace: paceOf(&link.cfg), askEach: askAlive, keys: keys, reads: keys, pub: pub, log: log}
	w.stats.Store(&Stats{})
	return w, nil
}

// Snapshot returns the last read, and false before the first. Any goroutine may call it.
func (w *Watcher) Snapshot() (Snapshot, bool) {
	if s := w.snapshot.Load(); s != nil {
		return *s, true
	}
	return Snapshot{}, false
}

// Stats returns the state of the connection. Any goroutine may call it.
func (w *Watcher) Stats() Stats { return *w.stats.Load() }

// Run follows etcd until ctx ends, through anything that happens to it, and
// then returns nil. It is called once.
func (w *Watcher) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.Multiplier = firstPause, w.pace.reconnect(), 2
	busy := backoff.NewExponentialBackOff()
	busy.InitialInterval, busy.MaxInterval, busy.Multiplier = busyPause, maxBusyPause, 2
	for {
		lasted, err := w.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		w.ended(err)
		if lasted > steady {
			pause.Reset()
			busy.Reset()
		}
		next := pause
		if errors.Is(err, errNoAnswer) {
			next = busy // with others, most likely
		}
		select {
		case <-time.After(next.NextBackOff()):
		case <-ctx.Done():
			return nil
		}
	}
}

// ended notes why a session did. What a read that follows at once can heal is
// not worth a person's time.
func (w *Watcher) ended(err error) {
	s := w.Stats()
	s.Connected, s.LastError, s.LastErrorTime = false, err.Error(), time.Now()
	w.stats.Store(&s)
	if errors.Is(err, errConnection) || errors.Is(err, errSilent) || errors.Is(err, rpctypes.ErrCompacted) {
		w.log.Debug("read etcd again", "cause", err)
		return
	}
	kind := "unreachable"
	var refused rpctypes.EtcdError
	if errors.As(err, &refused) {
		kind = refused.Error()
	}
	if kind == w.down {
		return
	}
	w.down = kind
	w.log.Warn("etcd does not answer; going on with the config at hand", "endpoints", w.link.cfg.Endpoints, "error", err)
}

// apply makes what was read the snapshot and says so if it differs.
func (w *Watcher) apply(docs config.Docs, revision int64) {
	old := w.snapshot.Load()
	if old != nil && revision < old.Revision {
		w.log.Warn("etcd went back in time: it was restored or lost its data", "revision", revision, "before", old.Revision)
		// Nobody took back every document on purpose.
		w.kept = docs.Empty() && !old.Docs.Empty()
		if w.kept {
			w.log.Warn("keeping the config from before, until there are documents again")
		}
	}
	if w.kept = w.kept && docs.Empty(); w.kept {
		docs = old.Docs
	}
	w.snapshot.Store(&Snapshot{docs, revision})
	if w.down != "" {
		w.down = ""
		w.log.Info("etcd is back", "revision", revision)
	}
	if old != nil && old.Docs.Equal(docs) {
		return
	}
	msg := message.NewMessage(watermill.NewUUID(), []byte(strconv.FormatInt(revision, 10)))
	if err := w.pub.Publish(Changed, msg); err != nil {
		w.log.Error("publish config change", "revision", revision, "error", err)
	}
}
