package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/logferry/logferry/config"
)

// Link is the connection, and the login, that the actors of one process share.
// It is made when one of them needs it, and closed when none does. Any
// goroutine may use it.
type Link struct {
	cfg  config.Etcd
	turn chan struct{} // capacity 1: who holds it may change the rest
	line *line         // nil: there is none, or it was given up
}

// line is a client with those who use it.
type line struct {
	client *clientv3.Client // its context ends when the line is given up
	end    context.CancelFunc
	users  int
}

// NewLink returns a link to the etcd of cfg; it connects when it is used.
func NewLink(cfg config.Etcd) *Link { return &Link{cfg: cfg, turn: make(chan struct{}, 1)} }

// take returns the line, and makes one if there is none; a
// login takes 2 minutes at most. The line does not end with ctx. Each user gives it back with
// leave.
func (l *Link) take(ctx context.Context) (*line, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if l.line == nil {
		own, end := context.WithCancel(context.WithoutCancel(ctx))
		logsIn := context.AfterFunc(ctx, end)
		client, err := newClient(own, l.cfg, loginTimeout)
		logsIn()
		if err != nil {
			end()
			return nil, explain(err)
		}
		l.line = &line{client: client, end: end}
	}
	l.line.users++
	return l.line, nil
}

// leave gives a line back. The last one to do so closes it.
func (l *Link) leave(n *line) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if n.users--; n.users > 0 {
		return
	}
	if l.line == n {
		l.line = nil
	}
	_ = n.client.Close() // nothing is under way any more
	n.end()
}

// giveUp makes all users of a line look for another one, unless err is an answer
// of etcd's, or says that the client is about to connect again by itself.
func (l *Link) giveUp(n *line, err error) {
	var answer rpctypes.EtcdError
	if errors.As(err, &answer) || errors.Is(err, errConnection) {
		return
	}
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.line == n {
		l.line = nil
	}
	n.end()
}
