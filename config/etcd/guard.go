package etcd

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

const (
	// guardFor is how long the canaries are without a guard after one died.
	guardFor = 5 * time.Second
	// lookEach is the pause between two looks while there is a canary, and
	// idleEach while there is none.
	lookEach = time.Second
	idleEach = 2 * time.Second
)

// Judge says what ends a canary, or nil when nothing does; members are those
// of subjects that report or left last words. Of the outcome it says How, Reason,
// Node and figures.
type Judge func(c Canary, subjects []Subject, members []Member, now time.Time) *Outcome

// Guard is an actor that watches over the canaries: it takes back those that
// fail their rule or whose time has ended. Of all guards one does at a time,
// under a lease. Should two, for a moment, then each canary is still ended
// once, by a comparison. What is needed is read at each look, so that another
// guard goes on where one died.
type Guard struct {
	link  *Link
	name  string
	judge Judge
	log   *slog.Logger

	// owned by Run
	store    *Store
	close    func()
	lease    clientv3.LeaseID
	subjects map[int64][]Subject // by the canary's revision
	said     map[string]bool     // the troubles that were said
}

// NewGuard returns a guard; it starts nothing. judge is called from Run's
// goroutine. name is for people.
func NewGuard(link *Link, name string, judge Judge, log *slog.Logger) *Guard {
	return &Guard{link: link, name: name, judge: judge, log: log, subjects: map[int64][]Subject{}, said: map[string]bool{}}
}

// Run watches until ctx ends, through any trouble with etcd, and returns nil.
// It is called once.
func (g *Guard) Run(ctx context.Context) error {
	defer g.leave()
	for pause := time.Duration(0); ; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		var err error
		pause, err = g.turn(ctx)
		if err != nil && ctx.Err() == nil {
			g.say(err)
			g.disconnect()
		}
	}
}

// turn looks once.
func (g *Guard) turn(ctx context.Context) (pause time.Duration, err error) {
	if err := g.connect(ctx); err != nil {
		return maxPause, err
	}
	canaries, err := g.store.Canaries(ctx)
	if err != nil {
		return idleEach, err
	}
	if len(canaries) == 0 {
		clear(g.subjects)
		clear(g.said)
		return idleEach, nil
	}
	if on, err := g.hold(ctx); !on || err != nil {
		return lookEach, err
	}
	var errs []error
	for _, c := range canaries {
		errs = append(errs, g.look(ctx, c))
	}
	return lookEach, errors.Join(errs...)
}

// connect makes a store, which outlives ctx so that the lease can be given back.
func (g *Guard) connect(ctx context.Context) error {
	if g.store != nil {
		return nil
	}
	line, err := g.link.take(ctx)
	if err != nil {
		return err
	}
	g.store, g.close = &Store{g.link.cfg, line.client}, func() { g.link.leave(line) }
	return nil
}

// disconnect makes the next turn begin with another connection.
func (g *Guard) disconnect() {
	if g.store != nil {
		g.close()
		g.store = nil
	}
}

// say says once what a person can do something about; that etcd is away is
// said by the watcher.
func (g *Guard) say(err error) {
	var refused rpctypes.EtcdError
	var faulty *config.Errors
	if !errors.As(err, &refused) && !errors.As(err, &faulty) || g.said[err.Error()] {
		g.log.Debug("look after the canaries again", "cause", err)
		return
	}
	g.said[err.Error()] = true
	g.log.Warn("a canary cannot be watched over from here", "error", err)
}

// hold says whether this guard is the one that looks, and sees to it that it
// is if nobody else does.
func (g *Guard) hold(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client, key := g.store.client, guardKey(&g.link.cfg)
	if g.lease != 0 {
		_, err := client.KeepAliveOnce(ctx, g.lease)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			g.lease = 0
		} else if err != nil {
			return false, explain(err)
		}
	}
	answer, err := client.Get(ctx, key)
	if err != nil {
		return false, explain(err)
	}
	for _, kv := range answer.Kvs {
		return g.lease != 0 && clientv3.LeaseID(kv.Lease) == g.lease, nil
	}
	if g.lease == 0 {
		granted, err := client.Grant(ctx, int64(guardFor/time.Second))
		if err != nil {
			return false, explain(err)
		}
		g.lease = granted.ID
	}
	put, err := client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, g.name, clientv3.WithLease(g.lease))).Commit()
	if err != nil {
		return false, explain(err)
	}
	return put.Succeeded, nil
}

// look ends a canary that must end.
func (g *Guard) look(ctx context.Context, c Canary) error {
	if c.Err != nil {
		g.say(c.Err) // it changes nothing; a person will see to it
		return nil
	}
	subjects, err := g.subjectsOf(ctx, c)
	if err != nil && !errors.Is(err, ErrNoCanary) { // its time counts without them
		return err
	}
	names := make([]string, len(subjects))
	for i, s := range subjects {
		names[i] = s.Name
	}
	members, err := g.store.Members(ctx, config.RoleOf(c.Document), names)
	if err != nil {
		return err
	}
	now := time.Now()
	o := g.judge(c, subjects, members, now)
	if o == nil && !now.Before(c.Config.Until) {
		o = &Outcome{How: Ended, Reason: "its time ended, and nobody promoted it"}
	}
	if o == nil {
		return nil
	}
	o.Document, o.Revision = c.Document, c.Revision
	o.Author, o.Message, o.Begun = c.Config.Author, c.Config.Message, c.Config.Begun
	o.By, o.At = "logferry "+g.name, now.UTC().Truncate(time.Second)
	err = g.store.EndCanary(ctx, *o)
	if errors.Is(err, ErrNoCanary) {
		return nil
	}
	if err == nil {
		g.log.Warn("a canary was taken back", "document", c.Document, "revision", c.Revision, "how", o.How, "reason", o.Reason, "node", o.Node)
	}
	return err
}

func (g *Guard) subjectsOf(ctx context.Context, c Canary) ([]Subject, error) {
	if list, ok := g.subjects[c.Revision]; ok {
		return list, nil
	}
	list, err := g.store.Subjects(ctx, c)
	if err == nil {
		g.subjects[c.Revision] = list
	}
	return list, err
}

// leave lets another guard go on at once.
func (g *Guard) leave() {
	if g.store == nil {
		return
	}
	defer g.disconnect()
	if g.lease != 0 {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		if _, err := g.store.client.Revoke(ctx, g.lease); err != nil {
			g.log.Debug("give the canaries to another guard", "error", err)
		}
	}
}
