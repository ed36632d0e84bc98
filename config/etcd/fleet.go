package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Member is a process that reports.
type Member struct {
	// Role is agent or transfer; Name is the node, with @ and the process's
	// number behind it when another process reports as the node.
	Role, Name string
	// Alive says that it still reports. Data is then its last report, else its
	// last words.
	Alive bool
	Data  []byte
}

// The reports of one process, under a short lease and a long one.
func statusKey(prefix, role, name string) string { return prefix + "/status/" + role + "/" + name }
func lastKey(prefix, role, name string) string   { return prefix + "/last/" + role + "/" + name }

// ratesKey is where the recorded rates of one process are, as long as it lives.
func ratesKey(prefix, role, name string) string { return prefix + "/rates/" + role + "/" + name }

// ratesPage is how many are read at once: they are 16 KiB at most.
const ratesPage = 1000

// Rates returns what the live processes of a role have recorded, by name.
func (s *Store) Rates(ctx context.Context, role string) (map[string][]byte, error) {
	all := map[string][]byte{}
	prefix := ratesKey(s.cfg.Prefix, role, "")
	for from := prefix; ; {
		page, cancel := context.WithTimeout(ctx, callTimeout)
		answer, err := s.client.Get(page, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(ratesPage))
		cancel()
		if err != nil {
			return nil, fmt.Errorf("read recorded rates: %w", explain(err))
		}
		for _, kv := range answer.Kvs {
			all[strings.TrimPrefix(string(kv.Key), prefix)] = kv.Value
			from = string(kv.Key) + "\x00"
		}
		if !answer.More {
			return all, nil
		}
	}
}

// Fleet returns all processes that report or that left last words within a
// week, by role and name.
func (s *Store) Fleet(ctx context.Context) ([]Member, error) {
	f, err := s.readFleet(ctx)
	if err != nil {
		return nil, err
	}
	return f.members(), nil
}

// perTxn is as many reads as one transaction may have in every etcd: 128 at most.
const perTxn = 100

// Members returns the processes of a role by the names that they report as;
// those that neither report nor left last words are not among them.
func (s *Store) Members(ctx context.Context, role string, names []string) ([]Member, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	f := &fleet{prefix: s.cfg.Prefix, reports: map[string][]byte{}}
	for chunk := range slices.Chunk(names, perTxn/2) {
		var gets []clientv3.Op
		for _, name := range chunk {
			gets = append(gets, clientv3.OpGet(statusKey(f.prefix, role, name)), clientv3.OpGet(lastKey(f.prefix, role, name)))
		}
		answer, err := s.client.Txn(ctx).Then(gets...).Commit()
		if err != nil {
			return nil, fmt.Errorf("read reports: %w", explain(err))
		}
		f.add(answer)
	}
	return f.members(), nil
}

// fleet is what is known of one, by key.
type fleet struct {
	prefix   string
	reports  map[string][]byte
	revision int64
}

func (s *Store) readFleet(ctx context.Context) (*fleet, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.client.Txn(ctx).Then(
		clientv3.OpGet(s.cfg.Key("status/"), clientv3.WithPrefix()),
		clientv3.OpGet(s.cfg.Key("last/"), clientv3.WithPrefix()),
	).Commit()
	if err != nil {
		return nil, fmt.Errorf("read the fleet's reports: %w", explain(err))
	}
	f := &fleet{s.cfg.Prefix, map[string][]byte{}, answer.Header.Revision}
	f.add(answer)
	return f, nil
}

func (f *fleet) add(answer *clientv3.TxnResponse) {
	for _, r := range answer.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			f.reports[string(kv.Key)] = kv.Value
		}
	}
}

// members are those that live, and those of the others that left last words.
func (f *fleet) members() []Member {
	var list []Member
	for key, data := range f.reports {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(key, f.prefix+"/"), "/")
		role, name, ok := strings.Cut(rest, "/")
		if !ok {
			continue
		}
		alive := kind == "status"
		if !alive && f.reports[statusKey(f.prefix, role, name)] != nil {
			continue
		}
		list = append(list, Member{role, name, alive, data})
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name)) })
	return list
}

// gatherReports is how long a change of one report waits for others.
const gatherReports = 100 * time.Millisecond

// FollowFleet calls see with the fleet as it is and after each change, from
// its own goroutine, until see says that it has seen enough, or ctx ends. It
// goes on through trouble with etcd; the error is ctx's.
func (s *Store) FollowFleet(ctx context.Context, see func([]Member) (enough bool)) error {
	for {
		enough, err := s.followFleet(ctx, see)
		switch {
		case enough:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			err = errConnection
		}
		select {
		case <-time.After(firstPause):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (s *Store) followFleet(ctx context.Context, see func([]Member) bool) (enough bool, err error) {
	f, err := s.readFleet(ctx)
	if err != nil {
		return false, err
	}
	if see(f.members()) {
		return true, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx = clientv3.WithRequireLeader(ctx)
	from := clientv3.WithRev(f.revision + 1)
	// Last words come with the last report, before it goes.
	live := s.client.Watch(ctx, s.cfg.Key("status/"), clientv3.WithPrefix(), from)
	last := s.client.Watch(ctx, s.cfg.Key("last/"), clientv3.WithPrefix(), from)
	var gathered <-chan time.Time
	for {
		var r clientv3.WatchResponse
		var open bool
		select {
		case r, open = <-live:
		case r, open = <-last:
		case <-gathered:
			gathered = nil
			if see(f.members()) {
				return true, nil
			}
			continue
		}
		if err := r.Err(); err != nil || !open {
			return false, err
		}
		for _, e := range r.Events {
			if e.Type == clientv3.EventTypeDelete {
				delete(f.reports, string(e.Kv.Key))
			} else {
				f.reports[string(e.Kv.Key)] = e.Kv.Value
			}
		}
		if gathered == nil {
			gathered = time.After(gatherReports)
		}
	}
}
