package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// MaxReport is the most that a report may hold: 50,000 processes fill less
	// than half of etcd's 2 GiB.
	MaxReport = 16 << 10

	// A process counts as alive for that long after its last sign; see [pace].
	minAlive = 15 * time.Second
	maxAlive = time.Minute
	// soon is the least time that a report waits that is asked for at once, and
	// atMostEach the least pause between two of them.
	soon       = 50 * time.Millisecond
	atMostEach = 500 * time.Millisecond
	// sameWordsEach is the pause between last words when there is nothing new to
	// say. A report that says nothing new is not written.
	sameWordsEach = 10 * time.Minute
	lastWordsFor  = 7 * 24 * time.Hour
	// ratesEach is the pause between two writes of recorded rates, which go with
	// a report that is written anyway.
	ratesEach = time.Minute
	// goodbye bounds how long a stop waits for last words.
	goodbye = time.Second

	slowestReporter = 10 * time.Second
)

// Words says what a report is for.
type Words int

// The kinds of reports.
const (
	// Current is for as long as the process lives.
	Current Words = iota
	// Last may become the last one.
	Last
	// Stopped is the last one, of a process that was told to stop.
	Stopped
)

// Reporter is an actor that keeps the report of one process in etcd: under a
// lease, so that a process that is gone is seen to be, and as last words, which
// outlive it. Nothing waits for it.
type Reporter struct {
	link       *Link
	pace       pace
	role, node string
	report     func(Words) []byte
	changed    <-chan struct{}
	log        *slog.Logger

	// owned by Run
	name        string // the node, or more
	alive, last clientv3.LeaseID
	written     []byte // the report in etcd under alive; nil when there is none
	lastWords   time.Time
	refused     string        // what was said last
	rates       func() []byte // nil: none are written
	ratesAt     time.Time     // when they were
}

// NewReporter returns the reporter of a node in a role; it starts nothing.
// report returns the process's state, at most MaxReport bytes, and is called
// from Run's goroutine. changed asks for a report at once.
func NewReporter(link *Link, role, node string, report func(Words) []byte, changed <-chan struct{}, log *slog.Logger) *Reporter {
	return &Reporter{link: link, pace: paceOf(&link.cfg), role: role, node: node, name: node, report: report, changed: changed, log: log}
}

// AlsoRates has what f returns, at most MaxReport bytes, written beside a report
// once a minute, in the same transaction; nil is nothing to write. It is called
// before Run, which calls f.
func (r *Reporter) AlsoRates(f func() []byte) { r.rates = f }

// Run reports until ctx ends, leaves last words, and returns nil. It is called
// once. An etcd that is away is waited for.
func (r *Reporter) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, maxBusyPause
	for {
		started := time.Now()
		err := r.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		r.ended(err)
		if time.Since(started) > slowestReporter {
			pause.Reset()
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return nil
		}
	}
}

// ended says once what a person can do something about; that etcd is away is
// said by the watcher.
func (r *Reporter) ended(err error) {
	var refused rpctypes.EtcdError
	if !errors.As(err, &refused) || refused.Error() == r.refused || errors.Is(err, rpctypes.ErrLeaseNotFound) {
		r.log.Debug("report to etcd again", "cause", err)
		return
	}
	r.refused = refused.Error()
	r.log.Warn("etcd does not take this process's reports; 'logferry status' will not show it", "keys", statusKey(r.link.cfg.Prefix, r.role, r.name), "error", err)
}

func (r *Reporter) session(ctx context.Context) error {
	line, err := r.link.take(ctx)
	if err != nil {
		return err
	}
	defer r.link.leave(line)
	client := line.client
	// It outlives ctx by the last words, once it is of use.
	background, cancel := context.WithCancel(client.Ctx())
	defer cancel()
	started := context.AfterFunc(ctx, cancel)
	if err := r.lease(background, client); err != nil {
		return explain(err)
	}
	alive, err := client.KeepAlive(background, r.alive)
	if err != nil {
		return err
	}
	last, err := client.KeepAlive(background, r.last)
	if err != nil {
		return err
	}
	started()
	err = r.follow(ctx, client, alive, last)
	if ctx.Err() != nil {
		r.leave(background, client)
		return nil
	}
	return explain(err)
}

type signs = <-chan *clientv3.LeaseKeepAliveResponse

// follow writes reports until ctx ends or something is wrong.
func (r *Reporter) follow(ctx context.Context, client *clientv3.Client, alive, last signs) error {
	due := time.NewTimer(0)
	defer due.Stop()
	var written, at time.Time // at is when the next one is due
	plan := func(pause time.Duration) {
		at = time.Now().Add(pause)
		due.Reset(pause)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-alive:
			if !open {
				return rpctypes.ErrLeaseNotFound
			}
			continue
		case _, open := <-last:
			if !open {
				return rpctypes.ErrLeaseNotFound
			}
			continue
		case <-r.changed:
			// One that is asked for again and again comes all the same.
			if pause := max(r.pace.answer(), atMostEach-time.Since(written)); pause < time.Until(at) {
				plan(pause)
			}
			continue
		case <-due.C:
		}
		if err := r.write(ctx, client, r.report(Current)); err != nil {
			return err
		}
		written = time.Now()
		plan(r.pace.report())
	}
}

// lease makes sure of both leases, and keeps those that there are: a process
// that is started again and again must not leave one behind each time.
func (r *Reporter) lease(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, actorTimeout)
	defer cancel()
	if r.last == 0 {
		answer, err := client.Get(ctx, lastKey(r.link.cfg.Prefix, r.role, r.name))
		if err != nil {
			return err
		}
		for _, kv := range answer.Kvs {
			r.last = clientv3.LeaseID(kv.Lease)
		}
	}
	for _, l := range []struct {
		id  *clientv3.LeaseID
		ttl time.Duration
	}{{&r.alive, r.pace.alive()}, {&r.last, lastWordsFor}} {
		if *l.id != 0 {
			_, err := client.KeepAliveOnce(ctx, *l.id)
			if err == nil {
				continue
			}
			if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return err
			}
		}
		answer, err := client.Grant(ctx, int64(l.ttl/time.Second))
		if err != nil {
			return err
		}
		*l.id, r.written = answer.ID, nil
	}
	return nil
}

// write puts a report that says something new. The first one takes the key
// from whoever had it, who is most likely this process's predecessor; a later
// one finds out when somebody has taken it from us.
func (r *Reporter) write(ctx context.Context, client *clientv3.Client, report []byte) error {
	if bytes.Equal(report, r.written) && time.Since(r.lastWords) < sameWordsEach {
		return nil
	}
	if len(report) > MaxReport {
		return fmt.Errorf("the report has %d bytes, more than %d", len(report), MaxReport)
	}
	ctx, cancel := context.WithTimeout(ctx, actorTimeout)
	defer cancel()
	key := statusKey(r.link.cfg.Prefix, r.role, r.name)
	puts := []clientv3.Op{clientv3.OpPut(key, string(report), clientv3.WithLease(r.alive))}
	lastWords := r.written == nil || time.Since(r.lastWords) > r.pace.lastWords()
	if lastWords {
		puts = append(puts, clientv3.OpPut(lastKey(r.link.cfg.Prefix, r.role, r.name), string(r.report(Last)), clientv3.WithLease(r.last)))
	}
	rates := r.ratesDue()
	if rates != nil {
		puts = append(puts, clientv3.OpPut(ratesKey(r.link.cfg.Prefix, r.role, r.name), string(rates), clientv3.WithLease(r.alive)))
	}
	txn := client.Txn(ctx)
	if r.written != nil {
		txn = txn.If(clientv3.Compare(clientv3.LeaseValue(key), "=", r.alive))
	}
	answer, err := txn.Then(puts...).Commit()
	if err != nil {
		if rates != nil && errors.Is(err, rpctypes.ErrPermissionDenied) {
			r.rates = nil // the report itself may be allowed
			r.log.Warn("etcd does not take this process's rates; 'logferry tune --preview' will know nothing of it",
				"key", ratesKey(r.link.cfg.Prefix, r.role, r.name), "error", err)
			return errRates
		}
		return err
	}
	if !answer.Succeeded {
		return r.taken(ctx, client, key)
	}
	if rates != nil {
		r.ratesAt = time.Now()
	}
	r.written = report
	if lastWords {
		r.lastWords = time.Now()
	}
	return nil
}

// ratesDue returns what is to be written of them now, or nil.
func (r *Reporter) ratesDue() []byte {
	if r.rates == nil || r.written == nil || time.Since(r.ratesAt) < ratesEach {
		return nil
	}
	return r.rates()
}

// errTaken makes a session begin again, with leases and another name.
var errTaken = errors.New("the report's key is not ours any more")

// errRates makes a session begin again, without rates.
var errRates = errors.New("rates may not be written")

// taken finds out who has the report's key, if anybody.
func (r *Reporter) taken(ctx context.Context, client *clientv3.Client, key string) error {
	answer, err := client.Get(ctx, key, clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	if answer.Count > 0 {
		r.name = fmt.Sprintf("%s@%d", r.node, os.Getpid())
		r.last = 0
		r.log.Warn("another process reports as this node; give each a node name of its own", "reports_as", r.name)
	}
	r.written = nil
	return errTaken
}

// leave puts last words and takes the report away.
func (r *Reporter) leave(ctx context.Context, client *clientv3.Client) {
	ctx, cancel := context.WithTimeout(ctx, goodbye)
	defer cancel()
	key := statusKey(r.link.cfg.Prefix, r.role, r.name)
	_, err := client.Txn(ctx).If(clientv3.Compare(clientv3.LeaseValue(key), "=", r.alive)).Then(
		clientv3.OpPut(lastKey(r.link.cfg.Prefix, r.role, r.name), string(r.report(Stopped)), clientv3.WithLease(r.last)),
		clientv3.OpDelete(key),
	).Commit()
	if err == nil {
		_, err = client.Revoke(ctx, r.alive)
	}
	if err != nil {
		r.log.Debug("leave last words", "error", err)
	}
}
