package middleware_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/router/middleware"
)

var usual = middleware.Settings{
	Retry:   config.Retry{MinBackoff: config.Duration(100 * time.Millisecond), MaxBackoff: config.Duration(30 * time.Second), Multiplier: 2},
	Breaker: config.Breaker{Failures: 5, OpenFor: config.Duration(10 * time.Second)},
	Poison:  config.Poison{Topic: "poison", OnReject: "poison"},
}

// box is a poison topic.
type box struct {
	letters []string
	fail    error
}

func (b *box) Letter(w logs.Work, i int, r *logs.Refusal, _ time.Time) *message.Message {
	return message.NewMessage("", []byte(string(w.(*logs.Poll).Records[i].Value)+": "+r.Reason))
}

func (b *box) Send(_ string, letters []*message.Message) error {
	if b.fail != nil {
		return b.fail
	}
	for _, l := range letters {
		b.letters = append(b.letters, string(l.Payload))
	}
	return nil
}

func poll(values ...string) (*message.Message, *logs.Poll) {
	p := &logs.Poll{Topic: "t"}
	for i, v := range values {
		p.Records = append(p.Records, logs.Record{Offset: int64(i), Value: []byte(v)})
		p.Bytes += int64(len(v))
	}
	msg := message.NewMessage("m", nil)
	logs.AttachPoll(msg, p)
	return msg, p
}

func build(c *middleware.Chain, h message.HandlerFunc) message.HandlerFunc {
	list := c.Middlewares()
	for i := len(list) - 1; i >= 0; i-- {
		h = list[i](h)
	}
	return h
}

func newChain(s middleware.Settings, letters middleware.Letters) *middleware.Chain {
	return middleware.NewChain(s, middleware.Options{
		Name: "web", Letters: letters, Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
}

func refused(reason string) error { return &logs.Refusal{Reason: reason} }

func TestOnlyWhatIsRefusedIsPoisonedAndTheRestIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		chain := newChain(usual, b)
		msg, p := poll("good", "bad", "slow")
		var seen []int
		handle := build(chain, func(msg *message.Message) ([]*message.Message, error) {
			seen = append(seen, p.Pending())
			switch len(seen) {
			case 1:
				p.Settle(0)
				return nil, (&logs.BatchError{}).Failed(1, refused("no such field")).Failed(2, errors.New("429"))
			case 2:
				return nil, (&logs.BatchError{}).Failed(2, errors.New("429"))
			}
			p.Settle(2)
			return nil, nil
		})
		_, err := handle(msg)
		require.NoError(t, err)
		require.Equal(t, []int{3, 1, 1}, seen, "pending at each attempt")
		require.Equal(t, []string{"bad: no such field"}, b.letters)
		require.Zero(t, p.Pending())
		require.EqualValues(t, 1, chain.Stats().Poisoned)
		require.EqualValues(t, 3, chain.Stats().Items)
	})
}

func TestALetterThatCannotBeSentSettlesNothing(t *testing.T) {
	b := &box{fail: errors.New("broker down")}
	msg, p := poll("bad")
	handle := build(newChain(usual, b), func(*message.Message) ([]*message.Message, error) {
		return nil, (&logs.BatchError{}).Failed(0, refused("x"))
	})
	_, err := handle(msg)
	require.ErrorContains(t, err, "broker down")
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	require.Equal(t, 1, p.Pending())
}

func TestAShutdownIsNoPoisonAndNoFailure(t *testing.T) {
	b := &box{}
	chain := newChain(usual, b)
	msg, p := poll("good")
	ctx, cancel := context.WithCancel(msg.Context())
	msg.SetContext(ctx)
	handle := build(chain, func(msg *message.Message) ([]*message.Message, error) {
		cancel()
		return nil, msg.Context().Err()
	})
	_, err := handle(msg)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, b.letters)
	require.Equal(t, 1, p.Pending())
	require.Zero(t, chain.Stats().Failures)
	require.Equal(t, "closed", chain.Stats().Breaker)
}

func TestRetriesGrowAndNeverGiveUpOnAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual
		s.Retry.GiveUpAfter = config.Duration(time.Second)
		s.Breaker.Failures = 0
		msg, _ := poll("good")
		start := time.Now()
		var at []time.Duration
		handle := build(newChain(s, &box{}), func(*message.Message) ([]*message.Message, error) {
			at = append(at, time.Since(start).Round(time.Millisecond))
			if len(at) < 6 {
				return nil, logs.AsUnavailable(errors.New("down"))
			}
			return nil, nil
		})
		_, err := handle(msg)
		require.NoError(t, err)
		ms := time.Millisecond
		require.Equal(t, []time.Duration{0, 100 * ms, 300 * ms, 700 * ms, 1500 * ms, 3100 * ms}, at)
	})
}

func TestGiveUpAfterPoisonsWhatFailsForUnknownReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual
		s.Retry.GiveUpAfter = config.Duration(time.Second)
		b := &box{}
		msg, p := poll("odd")
		handle := build(newChain(s, b), func(*message.Message) ([]*message.Message, error) {
			return nil, (&logs.BatchError{}).Failed(0, errors.New("odd answer"))
		})
		_, err := handle(msg)
		require.NoError(t, err)
		require.Equal(t, []string{"odd: odd answer"}, b.letters)
		require.Zero(t, p.Pending())
	})
}

func TestTheFirstSuccessWakesAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual
		s.Retry.Multiplier = 100
		s.Breaker.Failures = 0
		chain := newChain(s, &box{})
		var up atomic.Bool
		handle := build(chain, func(*message.Message) ([]*message.Message, error) {
			if !up.Load() {
				return nil, errors.New("down")
			}
			return nil, nil
		})
		start := time.Now()
		done := make(chan struct{})
		go func() {
			msg, _ := poll("waits")
			_, err := handle(msg)
			require.NoError(t, err)
			close(done)
		}()
		time.Sleep(time.Second) // it failed at 0 and 100 ms, and waits for 10 s
		synctest.Wait()
		require.EqualValues(t, 1, chain.Stats().Waiting)
		up.Store(true)
		msg, _ := poll("probes")
		_, err := handle(msg)
		require.NoError(t, err)
		<-done
		require.Equal(t, time.Second, time.Since(start))
	})
}

type busy struct{ error }

func (busy) RetryAfter() time.Duration { return 7 * time.Second }

func TestASinkThatSaysWhenIsTakenAtItsWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		msg, _ := poll("good")
		start, attempts := time.Now(), 0
		_, err := build(newChain(usual, &box{}), func(*message.Message) ([]*message.Message, error) {
			if attempts++; attempts == 1 {
				return nil, busy{errors.New("429")}
			}
			return nil, nil
		})(msg)
		require.NoError(t, err)
		require.Equal(t, 7*time.Second, time.Since(start))
	})
}

func TestTheBreakerStopsAskingAndProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual
		s.Retry = config.Retry{MinBackoff: config.Duration(time.Second), MaxBackoff: config.Duration(time.Second), Multiplier: 1}
		chain := newChain(s, &box{})
		var attempts atomic.Int32
		handle := build(chain, func(*message.Message) ([]*message.Message, error) {
			attempts.Add(1)
			return nil, logs.AsUnavailable(errors.New("down"))
		})
		msg, _ := poll("good")
		ctx, cancel := context.WithTimeout(msg.Context(), 27500*time.Millisecond)
		defer cancel()
		msg.SetContext(ctx)
		_, err := handle(msg)
		require.Error(t, err)
		// 5 attempts at 0 to 4 s open it; it probes at 15 s and 26 s.
		require.EqualValues(t, 7, attempts.Load())
		require.Equal(t, "open", chain.Stats().Breaker)
	})
}

func TestARefusedRecordDoesNotOpenTheBreaker(t *testing.T) {
	s := usual
	s.Breaker.Failures = 1
	chain := newChain(s, &box{})
	handle := build(chain, func(*message.Message) ([]*message.Message, error) {
		return nil, (&logs.BatchError{}).Failed(0, refused("x"))
	})
	for range 3 {
		msg, _ := poll("bad")
		_, err := handle(msg)
		require.NoError(t, err)
	}
	require.Equal(t, "closed", chain.Stats().Breaker)
}

// TestAHeldPartIsNoSignOfTheSink: what waits for one index opens no breaker, and
// is not woken by what passes beside it.
func TestAHeldPartIsNoSignOfTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual
		s.Breaker.Failures = 1
		s.Retry = config.Retry{MinBackoff: config.Duration(time.Second), MaxBackoff: config.Duration(4 * time.Second), Multiplier: 2}
		chain := newChain(s, &box{})
		var held, passed atomic.Int32
		handle := build(chain, func(msg *message.Message) ([]*message.Message, error) {
			if string(logs.PollOf(msg).Records[0].Value) != "held" {
				passed.Add(1)
				return nil, nil
			}
			held.Add(1)
			err := &logs.HeldError{Part: `index "x"`, Err: errors.New("read-only")}
			if held.Load()%2 == 0 {
				return nil, logs.NewBatchError(err)
			}
			return nil, (&logs.BatchError{}).Failed(0, err)
		})
		msg, _ := poll("held")
		ctx, cancel := context.WithTimeout(msg.Context(), 12*time.Second)
		defer cancel()
		msg.SetContext(ctx)
		done := make(chan error, 1)
		go func() {
			_, err := handle(msg)
			done <- err
		}()
		for ctx.Err() == nil {
			other, _ := poll("other")
			_, err := handle(other)
			require.NoError(t, err)
			require.Equal(t, "closed", chain.Stats().Breaker)
			time.Sleep(100 * time.Millisecond)
		}
		require.Error(t, <-done)
		require.EqualValues(t, 5, held.Load(), "at 0, 1, 3, 7 and 11 s")
		require.Greater(t, passed.Load(), int32(100))
	})
}

func TestThrottleHoldsItsRateAndALiftIsFelt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual
		s.Throttle.LinesPerSecond = 1000
		chain := newChain(s, &box{})
		passed := 0
		handle := build(chain, func(msg *message.Message) ([]*message.Message, error) {
			passed += logs.WorkOf(msg).Len()
			return nil, nil
		})
		start := time.Now()
		for time.Since(start) < 10*time.Second {
			msg, _ := poll(make([]string, 50)...)
			_, err := handle(msg)
			require.NoError(t, err)
		}
		require.InDelta(t, 10_000, passed, 200)

		// A message that would wait for 100 s.
		done := make(chan struct{})
		go func() {
			msg, _ := poll(make([]string, 100_000)...)
			_, _ = handle(msg)
			close(done)
		}()
		synctest.Wait()
		lifted := time.Now()
		s.Throttle = config.Throttle{}
		chain.Update(s)
		<-done
		require.LessOrEqual(t, time.Since(lifted), 200*time.Millisecond)
	})
}

func TestThrottleLetsGoWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual
		s.Throttle.BytesPerSecond = 1
		msg, _ := poll("a line of some bytes that takes half a minute")
		ctx, cancel := context.WithTimeout(msg.Context(), time.Second)
		defer cancel()
		msg.SetContext(ctx)
		start := time.Now()
		_, err := build(newChain(s, &box{}), func(*message.Message) ([]*message.Message, error) { return nil, nil })(msg)
		require.Error(t, err)
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestAPanicIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		msg, _ := poll("good")
		_, err := build(newChain(usual, &box{}), func(*message.Message) ([]*message.Message, error) {
			if attempts++; attempts == 1 {
				panic("a bug")
			}
			return nil, nil
		})(msg)
		require.NoError(t, err)
		require.Equal(t, 2, attempts)
	})
}

func TestATimedOutAttemptIsTriedAgainWithAFreshContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		msg, _ := poll("good")
		_, err := build(newChain(usual, &box{}), func(msg *message.Message) ([]*message.Message, error) {
			if attempts++; attempts == 1 {
				<-msg.Context().Done()
			}
			return nil, msg.Context().Err()
		})(msg)
		require.NoError(t, err)
		require.Equal(t, 2, attempts)
	})
}

func TestHoldAndDrop(t *testing.T) {
	s := usual
	s.Poison.OnReject = "drop"
	chain := newChain(s, &box{fail: errors.New("unused")})
	h := func(*message.Message) ([]*message.Message, error) { return nil, refused("all of it") }
	msg, p := poll("a", "b")
	_, err := build(chain, h)(msg)
	require.NoError(t, err)
	require.Zero(t, p.Pending())
	require.EqualValues(t, 2, chain.Stats().Dropped)

	s.Poison.OnReject = "hold"
	chain.Update(s)
	msg, p = poll("a", "b")
	_, err = build(chain, h)(msg)
	require.ErrorContains(t, err, "hold 2 refused")
	require.Equal(t, 2, p.Pending())
}
