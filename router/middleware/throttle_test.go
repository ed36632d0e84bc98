package middleware_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/router/middleware"
)

// meter is a stage that notes when how much came.
type meter struct {
	mu    sync.Mutex
	start time.Time
	times []time.Duration
	lines []int
	took  time.Duration // of each call
}

func newMeter() *meter { return &meter{start: time.Now()} }

func (m *meter) handle(msg *message.Message) ([]*message.Message, error) {
	w := logs.WorkOf(msg)
	m.mu.Lock()
	m.times = append(m.times, time.Since(m.start))
	m.lines = append(m.lines, w.Pending())
	m.mu.Unlock()
	time.Sleep(m.took)
	for i := range w.Len() {
		w.Settle(i)
	}
	return nil, nil
}

func (m *meter) total() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		n += l
	}
	return n
}

// most is the most that came within a window.
func (m *meter) most(window time.Duration) (most int) {
	for i := range m.times {
		sum := 0
		for j := i; j < len(m.times) && m.times[j] < m.times[i]+window; j++ {
			sum += m.lines[j]
		}
		most = max(most, sum)
	}
	return most
}

func throttled(t config.Throttle) middleware.Settings {
	s := usual
	s.Throttle = t
	return s
}

func batch(path string, turn *logs.Turn, lines, size int) *message.Message {
	b := &logs.Batch{Origin: &logs.Origin{Path: path}, Turn: turn}
	value := make([]byte, size-1)
	for i := range lines {
		b.Lines = append(b.Lines, logs.Line{Value: value, Pos: int64(i * size)})
	}
	b.End = int64(lines * size)
	msg := message.NewMessage("b", nil)
	logs.AttachBatch(msg, b)
	return msg
}

// TestLargeMessagesPassInParts: batches that were read before there was a limit
// hold 5,000 lines; no window of 10 s sees 5% more than the limit, and all of
// them together no 5% less.
func TestLargeMessagesPassInParts(t *testing.T) {
	for name, c := range map[string]struct {
		throttle config.Throttle
		took     time.Duration
	}{
		"lines":        {config.Throttle{LinesPerSecond: 1000}, 0},
		"bytes":        {config.Throttle{BytesPerSecond: 200_000}, 0},
		"a slow stage": {config.Throttle{LinesPerSecond: 1000}, 250 * time.Millisecond},
		"both":         {config.Throttle{LinesPerSecond: 1000, BytesPerSecond: 1 << 30}, 0},
		"a burst of 1": {config.Throttle{LinesPerSecond: 1000, Burst: 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMeter()
				m.took = c.took
				handle := build(newChain(throttled(c.throttle), &box{}), m.handle)
				var wait sync.WaitGroup
				for range 6 {
					wait.Go(func() {
						_, err := handle(batch("/a", nil, 5000, 200))
						require.NoError(t, err)
					})
				}
				wait.Wait()
				require.Equal(t, 30_000, m.total())
				require.InEpsilon(t, 30.0, time.Since(m.start).Seconds(), 0.05)
				require.LessOrEqual(t, m.most(10*time.Second), 10_500)
				require.LessOrEqual(t, m.most(time.Second), 1_100)
			})
		})
	}
}

// TestAChangedLimitIsFeltAtOnce: whoever waits, for as little as one line in
// 1,000 s, goes on by the new limit in the same instant.
func TestAChangedLimitIsFeltAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter()
		chain := newChain(throttled(config.Throttle{LinesPerSecond: 0.001}), &box{})
		handle := build(chain, m.handle)
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() { _, _ = handle(batch("/a", nil, 2000, 10)) })
		}
		time.Sleep(time.Minute)
		require.Zero(t, m.total())

		chain.Update(throttled(config.Throttle{LinesPerSecond: 100}))
		time.Sleep(10*time.Second + time.Millisecond)
		require.InDelta(t, 1000, m.total(), 10)

		chain.Update(throttled(config.Throttle{LinesPerSecond: 100, BytesPerSecond: 100}))
		time.Sleep(10*time.Second + time.Millisecond)
		require.InDelta(t, 1100, m.total(), 20)

		chain.Update(throttled(config.Throttle{}))
		lifted := time.Now()
		wait.Wait()
		require.Zero(t, time.Since(lifted))
		require.Equal(t, 6000, m.total())
	})
}

// TestChangesAreNoWayAroundALimit: each begins with an empty bucket.
func TestChangesAreNoWayAroundALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter()
		chain := newChain(throttled(config.Throttle{LinesPerSecond: 1000}), &box{})
		handle := build(chain, m.handle)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = handle(batch("/a", nil, 5000, 10))
		}()
		for i := range 20 {
			time.Sleep(50 * time.Millisecond)
			chain.Update(throttled(config.Throttle{LinesPerSecond: 1000 + float64(i%2)}))
		}
		require.LessOrEqual(t, m.total(), 1000)
		chain.Update(throttled(config.Throttle{}))
		<-done
	})
}

// TestAFileKeepsItsOrderInParts: a batch that would find tokens before the one
// before it waits for it, and takes none meanwhile.
func TestAFileKeepsItsOrderInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var passed []int64
		handle := build(newChain(throttled(config.Throttle{LinesPerSecond: 1000}), &box{}),
			func(msg *message.Message) ([]*message.Message, error) {
				b := logs.BatchOf(msg)
				require.NoError(t, b.Turn.Await(msg.Context()))
				passed = append(passed, b.Start)
				b.Turn.Sent()
				return nil, nil
			})
		var turn *logs.Turn
		var msgs []*message.Message
		for i := range 4 {
			turn = logs.NewTurn(turn)
			msg := batch("/a", turn, 300, 10)
			b := logs.BatchOf(msg)
			for j := range b.Lines {
				b.Lines[j].Pos += int64(i * 3000)
			}
			b.Start, b.End = int64(i*3000), int64(i*3000+3000)
			msgs = append(msgs, msg)
		}
		start := time.Now()
		var wait sync.WaitGroup
		for i := range msgs {
			msg := msgs[len(msgs)-1-i]
			wait.Go(func() {
				_, err := handle(msg)
				require.NoError(t, err)
				logs.BatchOf(msg).Turn.Settled()
			})
			synctest.Wait()
		}
		wait.Wait()
		require.IsIncreasing(t, passed)
		require.Len(t, passed, 12)
		require.InEpsilon(t, 1.2, time.Since(start).Seconds(), 0.05)
	})
}

// TestPartsFailAsTheWholeDoes: what is refused of a part goes to the poison
// topic under its own number, what fails is tried again, what is settled is not.
func TestPartsFailAsTheWholeDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values := make([]string, 350)
		for i := range values {
			values[i] = fmt.Sprint(i)
		}
		b := &box{}
		msg, p := poll(values...)
		seen := map[string]int{}
		handle := build(newChain(throttled(config.Throttle{LinesPerSecond: 1000}), b),
			func(msg *message.Message) ([]*message.Message, error) {
				part := logs.PollOf(msg)
				failed := logs.NewBatchError(nil)
				for i := range part.Records {
					if part.Settled(i) {
						continue
					}
					v := string(part.Records[i].Value)
					seen[v]++
					switch {
					case v == "120":
						failed.Failed(i, refused("bad"))
					case v == "220" && seen[v] < 3:
						failed.Failed(i, errors.New("busy"))
					default:
						part.Settle(i)
					}
				}
				if len(failed.Failures()) > 0 {
					return nil, failed
				}
				if part.Records[0].Offset >= 300 && seen["all"] == 0 {
					seen["all"]++
					return nil, refused("not one of these")
				}
				return nil, nil
			})
		_, err := handle(msg)
		require.NoError(t, err)
		require.Zero(t, p.Pending())
		require.Equal(t, []string{"120: bad"}, b.letters)
		require.Equal(t, 3, seen["220"])
		delete(seen, "220")
		delete(seen, "all")
		for v, n := range seen {
			require.Equal(t, 1, n, v)
		}
		require.Len(t, seen, 349)
		require.Same(t, p, logs.PollOf(msg))
	})
}

// TestARefusalOfAllIsOfThePart: what was not asked for yet is not refused.
func TestARefusalOfAllIsOfThePart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		msg, p := poll(make([]string, 250)...)
		calls := 0
		handle := build(newChain(throttled(config.Throttle{LinesPerSecond: 1000}), b),
			func(msg *message.Message) ([]*message.Message, error) {
				if calls++; calls == 2 {
					return nil, refused("none of these")
				}
				part := logs.PollOf(msg)
				part.SettleAll(part.Len())
				return nil, nil
			})
		_, err := handle(msg)
		require.NoError(t, err)
		require.Zero(t, p.Pending())
		require.Len(t, b.letters, 100)
		require.Equal(t, 3, calls)
	})
}

// TestEachFileHasItsOwnRate: by path, a file that is behind by a lot holds no
// other up; without, they share, and each has its turn.
func TestEachFileHasItsOwnRate(t *testing.T) {
	for by, want := range map[string]time.Duration{"path": 500 * time.Millisecond, "all": 600 * time.Millisecond} {
		t.Run(by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMeter()
				chain := middleware.NewChain(throttled(config.Throttle{LinesPerSecond: 100, By: by}), middleware.Options{
					Letters: &box{},
					ThrottleKey: func(by string, w logs.Work) string {
						if by != "path" {
							return ""
						}
						return w.(*logs.Batch).Origin.Path
					},
				})
				handle := build(chain, m.handle)
				var wait sync.WaitGroup
				wait.Go(func() { _, _ = handle(batch("/noisy", nil, 1000, 10)) })
				synctest.Wait()
				start := time.Now()
				_, err := handle(batch("/quiet", nil, map[string]int{"path": 50, "all": 30}[by], 10))
				require.NoError(t, err)
				require.InDelta(t, want.Seconds(), time.Since(start).Seconds(), 0.15)
				wait.Wait()
			})
		})
	}
}

// TestBucketsAreBounded: of keys that come and go, so many are kept.
func TestBucketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := 0
		chain := middleware.NewChain(throttled(config.Throttle{LinesPerSecond: 1e6, By: "path"}), middleware.Options{
			Letters:     &box{},
			ThrottleKey: func(string, logs.Work) string { key++; return fmt.Sprint(key) },
		})
		handle := build(chain, newMeter().handle)
		for range 10_000 {
			_, err := handle(batch("/a", nil, 1, 10))
			require.NoError(t, err)
		}
		require.LessOrEqual(t, chain.Stats().ThrottleBuckets, 4096)
		require.Positive(t, chain.Stats().ThrottleBuckets)
	})
}
