package kafka

import (
	"context"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/logferry/logferry/config"
)

const (
	commitEvery   = 500 * time.Millisecond
	commitTimeout = 5 * time.Second
	oldestTimeout = 10 * time.Second
	leaveTimeout  = 4 * time.Second
	// troublePause keeps a topic that may not be read from being asked for as
	// fast as the broker can say no.
	troublePause = 100 * time.Millisecond
	// handoverWait is how long a partition that goes to another member may
	// take to settle what is in flight; the group waits for it meanwhile, and
	// gives us up after rebalanceTimeout.
	handoverWait     = 15 * time.Second
	rebalanceTimeout = 60 * time.Second
	sessionTimeout   = 30 * time.Second
	// takeoverWait is when a member that may have taken a place back asks for
	// a rebalance. Killed after it gave partitions up and before the group knew,
	// it gets the place without them, and the group would never miss them.
	takeoverWait = sessionTimeout

	fetchWait           = time.Second
	fetchBytes          = 4 << 20
	fetchPartitionBytes = 1 << 20
	maxDecompressed     = 256 << 20
	// metadataAge is how soon new topics and partitions are found.
	metadataAge = 5 * time.Second
)

// consumer is one subscription: a member of the group.
//
//	poll ──► partition ──► out ──► handler
//	                └── offsets settled ──► commit, every half second, and when
//	                                        the partition goes
type consumer struct {
	o      SubscriberOptions
	log    *slog.Logger
	client *kgo.Client
	cond   conditions
	budget *share
	counts counters
	out    chan *message.Message
	// A partition with more than pauseAt bytes waiting is not fetched until
	// less than resumeAt wait, so that one slow partition leaves room for others.
	pauseAt, resumeAt int64

	drain    func()        // stop reading; end when all in flight is settled
	stop     func()        // end now
	draining chan struct{} // closed by drain
	stopping chan struct{} // closed by stop
	gone     chan struct{} // closed when everything has ended
	abandon  func()        // let the client give up all requests

	fenced atomic.Bool // another member has our instance

	commitMu sync.Mutex // one commit at a time

	mu       sync.Mutex // guards the fields below
	parts    map[topicPartition]*partition
	closing  bool
	children sync.WaitGroup // the partitions' goroutines
}

type topicPartition struct {
	topic  string
	number int32
}

func startConsumer(ctx context.Context, cfg config.Kafka, o SubscriberOptions, topics []string) (*consumer, error) {
	c := &consumer{
		o: o, log: o.Logger,
		budget:   o.Budget.join(),
		out:      make(chan *message.Message),
		draining: make(chan struct{}),
		stopping: make(chan struct{}),
		gone:     make(chan struct{}),
		pauseAt:  max(o.Budget.total/8, 1), resumeAt: max(o.Budget.total/16, 1),
		parts: make(map[topicPartition]*partition),
	}
	c.drain = sync.OnceFunc(func() { close(c.draining) })
	c.stop = sync.OnceFunc(func() { close(c.stopping) })
	ctx, cancel := context.WithCancel(ctx)
	lifetime, abandon := context.WithCancel(context.WithoutCancel(ctx))
	c.abandon = abandon
	made := make(chan struct{}) // the client calls back before NewClient returns
	opts := append(topicOptions(topics, o.Exclude),
		kgo.WithLogger(clientLog{c.log}),
		kgo.WithHooks(watch{c.log, &c.cond}),
		kgo.WithContext(lifetime),
		kgo.ConsumerGroup(o.Group),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.RebalanceTimeout(rebalanceTimeout),
		// What was committed and is gone is read from the oldest that is left.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.DisableAutoCommit(),
		kgo.WithPools(&recordPool{}),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			<-made
			c.onAssigned(ctx, m)
		}),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, m map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			<-made
			return c.onOffsets(ctx, m), nil
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			<-made
			c.onRevoked(ctx, m)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			<-made
			c.onLost(m)
		}),
		kgo.MetadataMaxAge(o.metadataAge),
		kgo.MetadataMinAge(o.metadataAge/5),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		kgo.MaxDecompressBatchBytes(o.maxBatchBytes),
	)
	if o.Instance != "" {
		opts = append(opts, kgo.InstanceID(o.Instance))
	}
	cl, err := NewClient(cfg, opts...)
	if err != nil {
		c.budget.leave()
		abandon()
		cancel()
		return nil, err
	}
	c.client = cl
	close(made)
	go func() {
		defer close(c.gone)
		defer c.budget.leave()
		defer abandon()
		defer cancel()
		c.run(ctx)
	}()
	return c, nil
}

// topicOptions subscribes to names by name, unless a regular expression is
// among them: then all are expressions.
func topicOptions(topics, exclude []string) []kgo.Opt {
	var res []string
	anyRegex := false
	for _, t := range topics {
		re, ok := pattern(t)
		if !ok {
			re = "^" + regexp.QuoteMeta(t) + "$"
		}
		anyRegex = anyRegex || ok
		res = append(res, re)
	}
	if !anyRegex {
		return []kgo.Opt{kgo.ConsumeTopics(topics...)}
	}
	not := []string{"^__"}
	for _, t := range exclude {
		not = append(not, "^"+regexp.QuoteMeta(t)+"$")
	}
	return []kgo.Opt{kgo.ConsumeRegex(), kgo.ConsumeTopics(res...), kgo.ConsumeExcludeTopics(not...)}
}

// run polls and commits until ctx ends, stop or drain, and leaves the group.
func (c *consumer) run(ctx context.Context) {
	polling, stopPolling := context.WithCancel(ctx)
	var loops sync.WaitGroup
	loops.Go(func() { c.poll(polling) })
	committing, stopCommitting := context.WithCancel(context.WithoutCancel(ctx))
	loops.Go(func() { c.commitLoop(committing) })
	if c.o.Instance != "" {
		takenOver := time.AfterFunc(c.o.takeoverWait, c.client.ForceRebalance)
		defer takenOver.Stop()
	}

	select {
	case <-c.draining:
	case <-c.stopping:
	case <-ctx.Done():
	}
	stopPolling()
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	for _, p := range c.assigned() {
		p.retire()
	}
	select {
	case <-c.stopping:
	case <-ctx.Done():
	case <-c.settled():
	}
	for _, p := range c.assigned() {
		p.drop()
	}
	stopCommitting()
	loops.Wait()
	c.children.Wait()
	c.leave(context.WithoutCancel(ctx))
	close(c.out)
}

// leave commits what is settled and leaves the group, or lets the group find
// out by itself when the broker does not answer in time.
func (c *consumer) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	ps := c.assigned()
	c.commit(ctx, ps)
	c.remove(ps)
	c.client.AllowRebalance()
	member, _ := c.client.GroupMetadata()
	err := c.client.LeaveGroupContext(ctx)
	if err == nil && c.o.Instance != "" && !c.fenced.Load() {
		err = c.giveUpPlace(ctx, member)
	}
	if err != nil {
		c.abandon()
	}
	c.client.Close()
	// Closing leaves once more, in a goroutine that Close need not wait for.
	c.client.AllowRebalance()
}

// giveUpPlace leaves the group for good, which the client does not do for a
// member with a name: it keeps the place for the next start. Whoever stops in
// good order may not come back, and others go on sooner. member is empty when
// the group has not answered yet: the place is known by its name all the same.
func (c *consumer) giveUpPlace(ctx context.Context, member string) error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = c.o.Group, member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = member, &c.o.Instance
	req.Members = append(req.Members, m)
	_, err := req.RequestWith(ctx, c.client)
	return err
}

// settled returns a channel that is closed when all partitions have ended.
func (c *consumer) settled() <-chan struct{} {
	all := make(chan struct{})
	ps := c.assigned()
	c.children.Go(func() {
		for _, p := range ps {
			<-p.gone
		}
		close(all)
	})
	return all
}

// poll fetches while there is room.
func (c *consumer) poll(ctx context.Context) {
	for c.budget.wait(ctx) == nil {
		fetches := c.client.PollFetches(ctx)
		progress := false
		fetches.EachTopic(func(t kgo.FetchTopic) {
			for i := range t.Partitions {
				progress = c.take(ctx, t.Topic, &t.Partitions[i]) || progress
			}
		})
		c.client.AllowRebalance()
		c.rejoin(fetches)
		if !progress {
			select {
			case <-ctx.Done():
			case <-time.After(troublePause):
			}
		}
	}
}

// take gives what was fetched to its partition. Rebalances wait meanwhile, so
// that what is taken belongs to the assignment that partition was made for. It
// says whether that was any progress.
func (c *consumer) take(ctx context.Context, topic string, f *kgo.FetchPartition) bool {
	p := c.partition(topic, f.Partition)
	progress := false
	if f.Err != nil {
		progress = c.trouble(ctx, topic, f, p)
	}
	if p == nil || len(f.Records) == 0 {
		return progress
	}
	p.end.Store(f.HighWatermark)
	c.readable(p)
	if p.expect >= 0 && f.LogStartOffset > p.expect {
		c.expired(p, f.LogStartOffset-p.expect)
	}
	p.expect = f.Records[len(f.Records)-1].Offset + 1
	for recs := f.Records; len(recs) > 0; {
		var next fetched
		next, recs = cutAtMarker(recs)
		if !c.hand(p, next) {
			return true
		}
	}
	if p.queued.Load() > c.pauseAt && p.paused.CompareAndSwap(false, true) {
		c.client.PauseFetchPartitions(map[string][]int32{topic: {f.Partition}})
	}
	return true
}

// cutAtMarker returns the records before the first marker of a transaction's
// end, or that marker as a place to go on from: what was committed and the lag
// would stay behind it otherwise, and behind what the transaction gave up.
func cutAtMarker(recs []*kgo.Record) (next fetched, rest []*kgo.Record) {
	n := 0
	for n < len(recs) && !recs[n].Attrs.IsControl() {
		n++
	}
	if n > 0 {
		return fetched{recs: recs[:n]}, recs[n:]
	}
	return fetched{skip: kgo.EpochOffset{Epoch: recs[0].LeaderEpoch, Offset: recs[0].Offset + 1}}, recs[1:]
}

// hand gives p what comes next, unless p has ended.
func (c *consumer) hand(p *partition, next fetched) bool {
	var total int64
	for _, r := range next.recs {
		total += cost(r)
	}
	c.budget.add(total)
	p.queued.Add(total)
	select {
	case p.inbox <- next:
		return true
	case <-p.gone:
		c.budget.free(total)
		return false
	}
}

func (c *consumer) partition(topic string, number int32) *partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parts[topicPartition{topic, number}]
}

func (c *consumer) assigned() []*partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	ps := make([]*partition, 0, len(c.parts))
	for _, p := range c.parts {
		ps = append(ps, p)
	}
	return ps
}
