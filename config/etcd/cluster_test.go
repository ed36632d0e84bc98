package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/logferry/logferry/config"
)

// The test binary is a member of an etcd cluster when this is set.
const beMember = "LOGFERRY_TEST_ETCD_MEMBER"

// member is an etcd in a process of its own.
type member struct {
	Name, Dir, Client, Peer, Cluster string
	Joins                            bool // a cluster that is there
	TokenTTL                         uint // in seconds; 0: etcd's own

	t   *testing.T
	cmd *exec.Cmd
}

// runMember serves until standard input ends: until the test does.
func runMember(text string) {
	var m member
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		panic(err)
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.UnsafeNoFsync = m.Name, m.Dir, true
	cfg.TickMs, cfg.ElectionMs = 100, 1000
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	client, peer := url.URL{Scheme: "http", Host: m.Client}, url.URL{Scheme: "http", Host: m.Peer}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = m.Cluster
	if m.Joins {
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	if m.TokenTTL > 0 {
		cfg.AuthTokenTTL, cfg.BcryptCost = m.TokenTTL, 4
	}
	if _, err := embed.StartEtcd(cfg); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func (m *member) start() {
	text, err := json.Marshal(m)
	require.NoError(m.t, err)
	self, err := os.Executable()
	require.NoError(m.t, err)
	m.cmd = exec.Command(self)
	m.cmd.Env = append(os.Environ(), beMember+"="+string(text))
	_, err = m.cmd.StdinPipe()
	require.NoError(m.t, err)
	require.NoError(m.t, m.cmd.Start())
}

func (m *member) kill() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

func (m *member) signal(s syscall.Signal) { require.NoError(m.t, m.cmd.Process.Signal(s)) }

// cluster is three members in processes of their own.
type cluster struct {
	t       *testing.T
	members []*member
	login   config.Etcd // its user and password
}

func startCluster(t *testing.T) *cluster { return startClusterOf(t, member{}) }

// startClusterOf starts members with the options of one.
func startClusterOf(t *testing.T, options member) *cluster {
	c := &cluster{t: t}
	dir := t.TempDir()
	var peers []string
	for i := range 3 {
		m := &member{t: t, Name: fmt.Sprintf("m%d", i), Client: freeAddr(t), Peer: freeAddr(t), TokenTTL: options.TokenTTL}
		m.Dir = filepath.Join(dir, m.Name)
		peers = append(peers, m.Name+"=http://"+m.Peer)
		c.members = append(c.members, m)
	}
	for _, m := range c.members {
		m.Cluster = strings.Join(peers, ",")
		m.start()
		t.Cleanup(m.kill)
	}
	return c
}

// as is the same cluster for who connects with the login of cfg.
func (c *cluster) as(cfg config.Etcd) *cluster {
	other := *c
	other.login = cfg
	return &other
}

func (c *cluster) config() config.Etcd {
	cfg := config.Default[config.Etcd]()
	cfg.Username, cfg.Password = c.login.Username, c.login.Password
	cfg.Endpoints = nil
	for _, m := range c.members {
		cfg.Endpoints = append(cfg.Endpoints, m.Client)
	}
	return cfg
}

// put puts with any member that lives, until one takes it. What a paused member
// has in its buffers must not be put when it wakes up, so each attempt is one
// with a comparison, as those of Store are.
func (c *cluster) put(key, value string) {
	c.t.Helper()
	client, err := Client(c.t.Context(), c.config())
	require.NoError(c.t, err)
	defer client.Close()
	attempt := func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		now, err := client.Get(ctx, key)
		if err != nil {
			return false
		}
		revision := int64(0)
		for _, kv := range now.Kvs {
			if string(kv.Value) == value {
				return true
			}
			revision = kv.ModRevision
		}
		answer, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
			Then(clientv3.OpPut(key, value)).Commit()
		return err == nil && answer.Succeeded
	}
	require.Eventually(c.t, attempt, time.Minute, 50*time.Millisecond)
}

// leader waits until a member that lives leads.
func (c *cluster) leader() *member {
	c.t.Helper()
	client, err := Client(c.t.Context(), c.config())
	require.NoError(c.t, err)
	defer client.Close()
	var leader *member
	require.Eventually(c.t, func() bool {
		for _, m := range c.members {
			if m.cmd == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
			s, err := client.Status(ctx, m.Client)
			cancel()
			if err == nil && s.Leader == s.Header.MemberId {
				leader = m
				return true
			}
		}
		return false
	}, 30*time.Second, 50*time.Millisecond)
	return leader
}

const agentKey = "/logferry/v1/agent"

func TestClusterLosesItsLeaderAgainAndAgain(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.put(agentKey, "0")
	w := watch(t, c.config())
	w.holds(func(d config.Docs) bool { return is(d.Agent, "0") })
	reporter(t, c.config(), "n", "report")
	store := openStore(t, c.config())
	fleetIs(t, store, "agent n alive report")
	for i := 1; i <= 3; i++ {
		leader := c.leader()
		leader.kill()
		value := fmt.Sprint(i)
		c.put(agentKey, value)
		w.holds(func(d config.Docs) bool { return is(d.Agent, value) })
		fleetIs(t, store, "agent n alive report")
		leader.start()
	}
}

func TestClusterWithoutAMajorityChangesNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.put(agentKey, "before")
	w := watch(t, c.config())
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	c.members[0].kill()
	c.members[1].kill()
	require.Eventually(t, func() bool { return !w.Stats().Connected }, 30*time.Second, 10*time.Millisecond,
		"a member without a leader is not believed")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	require.Equal(t, 1, w.pub.count())
	c.members[0].start()
	c.put(agentKey, "after")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "after") })
}

// A process that is paused keeps its connections, and answers nothing.
func TestClusterWithPausedMembers(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.put(agentKey, "before")
	w := watch(t, c.config())
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	leader := c.leader()
	leader.signal(syscall.SIGSTOP)
	c.put(agentKey, "after")
	// A watch on the paused member is found out by a question without an answer.
	w.within(90*time.Second, func(d config.Docs) bool { return is(d.Agent, "after") })
	leader.signal(syscall.SIGCONT)
	c.put(agentKey, "again")
	w.within(90*time.Second, func(d config.Docs) bool { return is(d.Agent, "again") })
}

// All members come back without what they knew.
func TestClusterLosesAllData(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.put(agentKey, "before")
	w := watch(t, c.config())
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	reporter(t, c.config(), "n", "report")
	fleetIs(t, openStore(t, c.config()), "agent n alive report")
	for _, m := range c.members {
		m.kill()
		require.NoError(t, os.RemoveAll(m.Dir))
	}
	for _, m := range c.members {
		m.start()
	}
	c.leader()
	require.Eventually(t, func() bool { return w.Stats().Connected }, 30*time.Second, 10*time.Millisecond)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	fleetIs(t, openStore(t, c.config()), "agent n alive report")
	c.put(agentKey, "after")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "after") })
}

// A member moves to another machine: it leaves, and another one with another
// address takes its place. The endpoints that are left lead to both.
func TestClusterMemberMoves(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.put(agentKey, "before")
	w := watch(t, c.config())
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	reporter(t, c.config(), "n", "report")
	moved, stays := c.members[0], c.members[1]
	moved.kill()
	c.admin(func(ctx context.Context, client *clientv3.Client) error {
		list, err := client.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range list.Members {
			if m.Name == moved.Name {
				_, err = client.MemberRemove(ctx, m.ID)
			}
		}
		return err
	})
	c.put(agentKey, "without it")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "without it") })

	next := &member{t: t, Name: "m3", Client: freeAddr(t), Peer: freeAddr(t), Joins: true}
	next.Dir = filepath.Join(filepath.Dir(moved.Dir), next.Name)
	next.Cluster = strings.Join([]string{next.Name + "=http://" + next.Peer, "m1=http://" + c.members[1].Peer, "m2=http://" + c.members[2].Peer}, ",")
	c.admin(func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberAdd(ctx, []string{"http://" + next.Peer})
		return err
	})
	next.start()
	t.Cleanup(next.kill)
	c.members = []*member{next, c.members[1], c.members[2]}
	c.put(agentKey, "with the new one")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "with the new one") })

	// With another one away, the new one is needed for a majority.
	c.synced(next)
	stays.kill()
	c.put(agentKey, "by the new one")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "by the new one") })
	fleetIs(t, openStore(t, c.config()), "agent n alive report")
}

// admin does what may fail while there is no leader, until it does not.
func (c *cluster) admin(do func(context.Context, *clientv3.Client) error) {
	c.t.Helper()
	client, err := Client(c.t.Context(), c.config())
	require.NoError(c.t, err)
	defer client.Close()
	require.Eventually(c.t, func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		defer cancel()
		return do(ctx, client) == nil
	}, time.Minute, 100*time.Millisecond)
}

// synced waits until a member has all that there is.
func (c *cluster) synced(m *member) {
	c.t.Helper()
	cfg := c.config()
	cfg.Endpoints = []string{m.Client}
	client, err := Client(c.t.Context(), cfg)
	require.NoError(c.t, err)
	defer client.Close()
	require.Eventually(c.t, func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		_, err := client.Get(ctx, agentKey)
		return err == nil
	}, time.Minute, 50*time.Millisecond)
}

// A member that forgets all is brought up to date by the others; who watched it
// goes on.
func TestClusterMemberLosesItsData(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.put(agentKey, "before")
	only := c.config()
	only.Endpoints = only.Endpoints[:1]
	w := watch(t, only)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	lost := c.members[0]
	lost.kill()
	require.NoError(t, os.RemoveAll(lost.Dir))
	c.put(agentKey, "meanwhile")
	c.admin(func(ctx context.Context, client *clientv3.Client) error {
		list, err := client.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range list.Members {
			if m.Name == lost.Name {
				if _, err := client.MemberRemove(ctx, m.ID); err != nil {
					return err
				}
			}
		}
		_, err = client.MemberAdd(ctx, []string{"http://" + lost.Peer})
		return err
	})
	lost.Joins = true
	lost.start()
	w.within(time.Minute, func(d config.Docs) bool { return is(d.Agent, "meanwhile") })
	c.put(agentKey, "after")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "after") })
}

// A watcher whose member was away finds that its revision is compacted, by all
// members, and reads again.
func TestClusterCompactsWhileAWatcherIsAway(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.put(agentKey, "before")
	only := c.config()
	only.Endpoints = only.Endpoints[:1]
	w := watch(t, only)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	c.members[0].kill()
	for i := range 10 {
		c.put(agentKey, fmt.Sprint(i))
	}
	c.admin(func(ctx context.Context, client *clientv3.Client) error {
		answer, err := client.Get(ctx, agentKey)
		if err != nil {
			return err
		}
		_, err = client.Compact(ctx, answer.Header.Revision, clientv3.WithCompactPhysical())
		if errors.Is(err, rpctypes.ErrCompacted) { // the attempt before did
			err = nil
		}
		return err
	})
	c.members[0].start()
	w.holds(func(d config.Docs) bool { return is(d.Agent, "9") })
	c.put(agentKey, "after")
	w.holds(func(d config.Docs) bool { return is(d.Agent, "after") })
}

// Tokens expire at every member, and a member that is new to a client wants one.
func TestClusterTokensExpire(t *testing.T) {
	t.Parallel()
	c := startClusterOf(t, member{TokenTTL: 1})
	c.put(agentKey, "before")
	c.admin(enableAuth)
	cfg := c.config()
	cfg.Username, cfg.Password = "root", "pw"
	w := watch(t, cfg)
	w.holds(func(d config.Docs) bool { return is(d.Agent, "before") })
	set := reporter(t, cfg, "n", "one")
	store := openStore(t, cfg)
	fleetIs(t, store, "agent n alive one")
	put := func(value string) {
		t.Helper()
		c.as(cfg).put(agentKey, value)
		w.holds(func(d config.Docs) bool { return is(d.Agent, value) })
		set(value)
		fleetIs(t, store, "agent n alive "+value)
	}
	time.Sleep(2500 * time.Millisecond)
	put("after a while")
	c.members[0].kill()
	time.Sleep(2500 * time.Millisecond)
	put("with a member less")
}
