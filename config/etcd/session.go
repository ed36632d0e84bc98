package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"

	"github.com/logferry/logferry/config"
)

const (
	// gather is the least time that the first event of a burst waits for others.
	gather = 20 * time.Millisecond
	// reread is the net under the watch: whatever an etcd forgets to tell is
	// found after about this time.
	reread = time.Minute
	// askAlive is how often a watch is asked whether it still works. One that has
	// not answered by the next time is given up if it kept something back.
	askAlive = 15 * time.Second
)

var (
	errConnection = errors.New("the connection to etcd was lost")
	errSilent     = errors.New("the watch does not answer")
)

// session connects, reads, and watches until something is wrong. It returns
// how long it watched. A lost connection ends it even though the client would
// resume the watch by itself: the server that comes back may have lost data,
// and would then be silent until it reaches the old revision again.
func (w *Watcher) session(parent context.Context) (lasted time.Duration, err error) {
	ctx, end := context.WithCancelCause(parent)
	cancel := func() { end(nil) }
	defer cancel()
	if err := reach(ctx, w.link.cfg); err != nil {
		return 0, err
	}
	line, err := w.link.take(ctx)
	if err != nil {
		return 0, err
	}
	defer w.link.leave(line)
	defer func() {
		if parent.Err() == nil {
			w.link.giveUp(line, err)
		}
	}()
	client := line.client
	// A question that is under way ends with the connection; the client alone
	// would ask it again of the server that comes back.
	defer func() {
		if errors.Is(context.Cause(ctx), errConnection) {
			err = errConnection
		}
	}()
	defer context.AfterFunc(client.Ctx(), func() { end(errConnection) })()
	if err := w.begin(ctx, client); err != nil {
		return 0, err
	}
	w.connected()

	var observed sync.WaitGroup
	observed.Go(func() {
		if client.ActiveConnection().WaitForStateChange(ctx, connectivity.Ready) {
			end(errConnection)
		}
	})
	defer observed.Wait()
	defer cancel()

	// Watch blocks until the server answers and knows no timeout.
	stuck := time.AfterFunc(actorTimeout, cancel)
	from := clientv3.WithRev(w.snapshot.Load().Revision + 1)
	events := make(chan clientv3.WatchResponse)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer cancel()
	for _, key := range w.reads.All() {
		watch := client.Watch(clientv3.WithRequireLeader(ctx), key, from)
		watches.Go(func() { forward(ctx, watch, events) })
	}
	if !stuck.Stop() {
		return 0, explain(context.DeadlineExceeded)
	}
	started := time.Now()
	defer func() { lasted = time.Since(started) }()
	return 0, w.follow(ctx, client, events)
}

// begin reads for the first time. A user whose role is from before there were
// canaries does without them.
func (w *Watcher) begin(ctx context.Context, client *clientv3.Client) error {
	w.reads = w.keys
	err := w.read(ctx, client)
	if !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return err
	}
	w.reads.Canaries = nil
	if w.read(ctx, client) != nil {
		return err
	}
	if !w.alone {
		w.alone = true
		w.log.Warn("etcd's user may not read canaries, so this process takes part in none; allow it to and restart", "keys", w.keys.Canaries)
	}
	return nil
}

// forward passes on what a watch says. A watch that ends is the last word.
func forward(ctx context.Context, watch clientv3.WatchChan, to chan<- clientv3.WatchResponse) {
	for open := true; open; {
		var r clientv3.WatchResponse
		if r, open = <-watch; !open {
			r = clientv3.WatchResponse{Canceled: true}
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return
		}
	}
}

// follow reads again when an event, or a minute, asks for it.
func (w *Watcher) follow(ctx context.Context, client *clientv3.Client, events <-chan clientv3.WatchResponse) error {
	net := time.NewTimer(around(reread))
	defer net.Stop()
	ask := time.NewTicker(w.askEach)
	defer ask.Stop()
	asked, deaf := false, false // deaf: it does not answer, as behind etcd's proxy
	var gathered <-chan time.Time
	for {
		var r clientv3.WatchResponse
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ask.C:
			if asked {
				ask.Stop()
				deaf = true
				net.Reset(0)
				continue
			}
			asked = true
			if err := askProgress(ctx, client); err != nil {
				return err
			}
			continue
		case <-net.C:
			before := w.snapshot.Load()
			if err := w.compare(ctx, client); err != nil {
				return err
			}
			if deaf && !w.snapshot.Load().Docs.Equal(before.Docs) {
				return errSilent
			}
			net.Reset(around(reread))
			continue
		case <-gathered:
			gathered = nil
			if err := w.read(ctx, client); err != nil {
				return err
			}
			continue
		case r = <-events:
			asked = false
		}
		if err := r.Err(); err != nil {
			return err
		}
		// Events up to the snapshot's revision were read with it.
		if len(r.Events) > 0 && r.Events[len(r.Events)-1].Kv.ModRevision > w.snapshot.Load().Revision && gathered == nil {
			gathered = time.After(w.pace.gather())
		}
	}
}

// askProgress asks all watches of ctx for a sign of life.
func askProgress(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.RequestProgress(clientv3.WithRequireLeader(ctx))
}

// compare has etcd look whether its documents are still those of the snapshot.
// Only if not, they are sent.
func (w *Watcher) compare(ctx context.Context, client *clientv3.Client) error {
	timed, cancel := context.WithTimeout(ctx, actorTimeout)
	defer cancel()
	now := w.snapshot.Load()
	revisions := map[string]int64{}
	for _, doc := range now.Docs.All() {
		revisions[doc.Key] = doc.Revision
	}
	var same []clientv3.Cmp
	for _, key := range w.reads.All() {
		same = append(same, clientv3.Compare(clientv3.ModRevision(key), "=", revisions[key]))
	}
	// Without any read in it, a member that is behind could answer.
	answer, err := client.Txn(timed).If(same...).Then(clientv3.OpGet(w.reads.All()[0], clientv3.WithCountOnly())).Commit()
	if err != nil {
		return explain(err)
	}
	if !answer.Succeeded {
		return w.read(ctx, client)
	}
	w.apply(now.Docs, answer.Header.Revision)
	w.noteRevision(answer.Header.Revision)
	return nil
}

// read takes all documents in one transaction, so that what was put together
// is seen together.
func (w *Watcher) read(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, actorTimeout)
	defer cancel()
	var gets []clientv3.Op
	for _, key := range w.reads.All() {
		gets = append(gets, clientv3.OpGet(key))
	}
	answer, err := client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return explain(err)
	}
	found := map[string]*config.Document{}
	for _, r := range answer.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			found[string(kv.Key)] = &config.Document{Key: string(kv.Key), Data: kv.Value, Revision: kv.ModRevision}
		}
	}
	w.apply(w.reads.Docs(found), answer.Header.Revision)
	w.noteRevision(answer.Header.Revision)
	return nil
}

func (w *Watcher) noteRevision(revision int64) {
	s := w.Stats()
	s.Revision = revision
	w.stats.Store(&s)
}

func (w *Watcher) connected() {
	s := w.Stats()
	if w.before {
		s.Reconnects++
	}
	w.before, s.Connected = true, true
	w.stats.Store(&s)
}
