package preview

import (
	"math"
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

// steps makes a series of lines of 100 bytes.
func steps(lines ...uint64) *Series {
	s := &Series{Name: "web"}
	for _, n := range lines {
		s.Lines, s.Bytes = append(s.Lines, n), append(s.Bytes, n*100)
	}
	for _, one := range s.all() {
		if *one.values == nil {
			*one.values = make([]uint64, len(lines))
		}
	}
	return s
}

func TestReplayOfAThrottle(t *testing.T) {
	// 100 a second, ten times that for 10 s, 100 a second.
	s := steps(1000, 1000, 10_000, 1000, 1000)
	was := s.Recorded(false)
	require.InDelta(t, 13_000, was.Lines, 1)
	require.InDelta(t, 1000, was.Busiest, 1)
	require.Zero(t, was.Delay)

	// At 500 a second the burst leaves 5,000 behind, which take 12.5 s, for 100 a
	// second come meanwhile. The last of them has waited for 10 s.
	f := s.Throttled(false, config.Throttle{LinesPerSecond: 500})
	require.InDelta(t, 13_000, f.Lines, 1)
	require.InDelta(t, 500, f.Busiest, 1)
	require.InDelta(t, 5000, f.Backlog, 100)
	require.Zero(t, math.Round(f.BacklogAtEnd))
	require.InDelta(t, 10, f.Delay.Seconds(), 1)

	// The same by bytes; and both, of which the lower holds.
	require.Equal(t, f, s.Throttled(false, config.Throttle{BytesPerSecond: 50_000}))
	require.Equal(t, f, s.Throttled(false, config.Throttle{BytesPerSecond: 50_000, LinesPerSecond: 700}))

	// At 200 a second 6,000 are left at the end, which take 30 s more.
	f = s.Throttled(false, config.Throttle{LinesPerSecond: 200})
	require.InDelta(t, 6000, f.BacklogAtEnd, 10)
	require.InDelta(t, 8000, f.Backlog, 200)
	require.InDelta(t, 40, f.Delay.Seconds(), 1)

	// No limit, and one that nothing comes near.
	require.Equal(t, was, s.Throttled(false, config.Throttle{}))
	require.Zero(t, s.Throttled(false, config.Throttle{LinesPerSecond: 5000}).BacklogAtEnd)
}

// TestReplayOfWhatWasThrottledAlready: what came is what passed and what the
// backlog grew by.
func TestReplayOfWhatWasThrottledAlready(t *testing.T) {
	for _, input := range []bool{false, true} {
		s := steps(1000, 1000, 1000, 1000)
		s.Backlog = []uint64{2000, 3000, 4000, 5000}
		if input {
			for i := range s.Backlog {
				s.Backlog[i] *= 100 // bytes
			}
		}
		was := s.Recorded(input)
		require.InDelta(t, 5000, was.BacklogAtEnd, 10, input)
		require.InDelta(t, 50, was.Delay.Seconds(), 1, input)
		// 200 a second came, and 2,000 were there: 250 a second take 40 s for them.
		f := s.Throttled(input, config.Throttle{LinesPerSecond: 250})
		require.InDelta(t, 500, f.BacklogAtEnd, 10, input)
		f = s.Throttled(input, config.Throttle{})
		require.Zero(t, f.BacklogAtEnd, input)
		require.InDelta(t, 8000, f.Lines, 10, input)
	}
}

// TestABacklogThatIsLookedAtLate: 200 lines that had passed already are counted
// as waiting once more, and then nothing comes for a while.
func TestABacklogThatIsLookedAtLate(t *testing.T) {
	s := steps(1000, 1000, 1000, 0, 0, 0, 1000)
	s.Backlog = []uint64{200, 200, 200, 0, 0, 0, 0}
	f := s.Recorded(false)
	require.Zero(t, f.BacklogAtEnd)
	require.LessOrEqual(t, f.Delay, 3*time.Second)
	require.InDelta(t, 3000, f.Lines, 1)
}

// TestReplayIsWhatTheThrottleDoes lets the real one hold the same lines.
func TestReplayIsWhatTheThrottleDoes(t *testing.T) {
	for _, throttle := range []config.Throttle{
		{LinesPerSecond: 150}, {LinesPerSecond: 400}, {BytesPerSecond: 20_000}, {LinesPerSecond: 5000},
	} {
		s := steps(0, 1000, 6000, 500, 2000, 0)
		want := s.Throttled(false, throttle)
		synctest.Test(t, func(t *testing.T) {
			chain := middleware.NewChain(middleware.Settings{Throttle: throttle}, middleware.Options{Name: "web"})
			var delay time.Duration
			handle := message.HandlerFunc(func(msg *message.Message) ([]*message.Message, error) {
				for _, l := range logs.BatchOf(msg).Lines {
					delay = max(delay, time.Since(time.Unix(0, l.Time)))
				}
				return nil, nil
			})
			list := chain.Middlewares()
			for i := len(list) - 1; i >= 0; i-- {
				handle = list[i](handle)
			}
			var waits atomic.Int64
			most := 0
			ctx := t.Context()
			var turn *logs.Turn
			busy := make(chan struct{}, 10_000)
			for step, n := range s.Lines {
				if step == 0 {
					continue
				}
				for range 100 {
					lines := make([]logs.Line, n/100)
					for i := range lines {
						lines[i] = logs.Line{Value: make([]byte, 99), Time: time.Now().UnixNano()}
					}
					if len(lines) > 0 {
						turn = logs.NewTurn(turn)
						b := &logs.Batch{Origin: &logs.Origin{}, Lines: lines, Turn: turn}
						msg := message.NewMessage("", nil)
						msg.SetContext(ctx)
						logs.AttachBatch(msg, b)
						waits.Add(int64(len(lines)))
						go func() {
							_, _ = handle(msg)
							b.Turn.Sent()
							b.Turn.Settled()
							waits.Add(-int64(len(lines)))
							busy <- struct{}{}
						}()
					}
					time.Sleep(Step / 100)
					most = max(most, int(waits.Load()))
				}
			}
			atEnd := int(waits.Load())
			for waits.Load() > 0 {
				<-busy
			}
			t.Logf("%+v: backlog %d of %.0f, at the end %d of %.0f, delay %s of %s",
				throttle, most, want.Backlog, atEnd, want.BacklogAtEnd, delay, want.Delay)
			require.InDelta(t, want.Backlog, most, 0.05*want.Backlog+650)
			require.InDelta(t, want.BacklogAtEnd, atEnd, 0.05*want.BacklogAtEnd+100)
			require.InDelta(t, want.Delay.Seconds(), delay.Seconds(), 0.05*want.Delay.Seconds()+2)
		})
	}
}

func TestReplayOfBatches(t *testing.T) {
	s := steps(10_000, 10_000, 0) // 1,000 a second for 20 s, of 30
	s.Requests, s.Latency = []uint64{50, 50, 0}, []uint64{200, 400, 0}
	was := s.RecordedRequests()
	require.InDelta(t, 100.0/30, was.PerSecond, 0.01)
	require.InDelta(t, 200, was.Docs, 0.1)
	require.InDelta(t, 100.0/30*0.3, was.UnderWay, 0.01)

	batch := config.Default[config.Route]().Batch
	got := s.Batched(batch) // max_wait 200 ms: 201 documents
	require.InDelta(t, 201, got.Docs, 0.1)
	batch.MaxDocs = 50
	require.InDelta(t, 50, s.Batched(batch).Docs, 0.1)
	require.InDelta(t, 400.0/30, s.Batched(batch).PerSecond, 0.1)
	batch.MaxDocs, batch.MaxBytes = 5000, 4000 // ten documents of 100 bytes and what comes with them
	require.InDelta(t, 10, s.Batched(batch).Docs, 0.1)
	batch.MaxWait = 0
	require.InDelta(t, 1, s.Batched(batch).Docs, 0.1)
}

func TestReplayOfOutages(t *testing.T) {
	s := steps(100, 0, 0, 0, 100, 0, 100, 0)
	s.Failed = []uint64{3, 8, 8, 8, 0, 2, 5, 0} // of 30 s and of 10 s; what failed beside others is none
	ms := func(n int) config.Duration { return config.Duration(time.Duration(n) * time.Millisecond) }
	v := Values{
		Retry:   config.Retry{MinBackoff: ms(1000), MaxBackoff: ms(8000), Multiplier: 2},
		Breaker: config.Breaker{Failures: 5, OpenFor: ms(7000)},
	}
	o := s.Outages(v)
	require.Equal(t, 2, o.Count)
	require.Equal(t, 30*time.Second, o.Longest)
	require.Equal(t, 1, o.Opened)
	// Tries at 0, 1, 3, 7, 15, 23, 31, and 39 s: the breaker lets none through
	// before 35 s. In the other: at 0, 1, 3, 7 and 15 s.
	require.Equal(t, 7+4, o.Attempts)
	require.Equal(t, 9*time.Second, o.Idle)
	v.Breaker.Failures = 0
	require.Equal(t, 5*time.Second, s.Outages(v).Idle)
	v.Retry.MaxBackoff = ms(1000)
	require.Equal(t, time.Duration(0), s.Outages(v).Idle)
	v.Retry.GiveUpAfter = ms(20_000)
	require.Equal(t, 1, s.Outages(v).GivenUp)
}

func TestReplayOfRefusals(t *testing.T) {
	s := steps(100, 100, 100, 100, 100, 10, 10)
	s.Refused = []uint64{0, 20, 60, 30, 0, 10, 0}
	p := config.Poison{MaxRatio: 0.5, Window: config.Duration(10 * time.Second), OnReject: "poison"}
	require.Equal(t, Refusals{Poisoned: 60, Waiting: 60, Held: Step}, s.Refusals(p))
	p.Window = config.Duration(20 * time.Second) // 80 of 200, 90 of 200
	require.Equal(t, Refusals{Poisoned: 120}, s.Refusals(p))
	p.MaxRatio = 0.25
	require.Equal(t, Refusals{Poisoned: 30, Waiting: 90, Held: 3 * Step}, s.Refusals(p))
	p.OnReject = "drop"
	require.Equal(t, Refusals{Dropped: 30, Waiting: 90, Held: 3 * Step}, s.Refusals(p))
	p.OnReject = "hold"
	require.Equal(t, Refusals{Waiting: 120, Held: 6 * Step}, s.Refusals(p))
}

func TestRecorderDividesByTime(t *testing.T) {
	r := NewRecorder()
	require.Nil(t, r.Recording())
	start := time.Unix(1_000_000_000, 0) // a multiple of ten
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	r.Note(at(5), []Count{{Name: "web", Lines: 1_000_000}})
	require.Nil(t, r.Recording(), "what was before is not ours to date")
	r.Note(at(15), []Count{{Name: "web", Lines: 1_001_000, Backlog: 7}})
	r.Note(at(20), []Count{{Name: "web", Lines: 1_001_500, Backlog: 9}, {Name: "new", Lines: 5}})
	rec := r.Recording()
	require.Equal(t, at(20), rec.End)
	require.Equal(t, []uint64{1000}, rec.Part("web").Lines)
	require.Equal(t, []uint64{7}, rec.Part("web").Backlog)
	r.Note(at(50), []Count{{Name: "web", Lines: 1_004_500}, {Name: "new", Lines: 3005}})
	require.Equal(t, []uint64{1000, 1000, 1000, 1000}, r.Recording().Part("web").Lines)
	require.Equal(t, []uint64{0, 1000, 1000, 1000}, r.Recording().Part("new").Lines)

	// It is the last quarter of an hour, and what is gone goes.
	for i := range 200 {
		r.Note(at(60+10*float64(i)), []Count{{Name: "web", Lines: 1_004_500 + uint64(i)}})
	}
	rec = r.Recording()
	require.Equal(t, Buckets-1, rec.Steps)
	require.EqualValues(t, Buckets-1, sum(rec.Part("web").Lines))
	require.Nil(t, rec.Part("new"))

	// A restart of the part, a clock that goes back, a long silence.
	r.Note(at(2060), []Count{{Name: "web", Lines: 1}})
	r.Note(at(2070), []Count{{Name: "web", Lines: 11}})
	require.LessOrEqual(t, sum(r.Recording().Part("web").Lines), uint64(10))
	r.Note(at(100), []Count{{Name: "web", Lines: 20}})
	require.Nil(t, r.Recording())
	r.Note(at(120), []Count{{Name: "web", Lines: 30}})
	r.Note(at(100_000), []Count{{Name: "web", Lines: 40}})
	require.Nil(t, r.Recording())
}

func TestRecordingsAreSmallAndComeBack(t *testing.T) {
	r := &Recording{End: time.Unix(1_000_000_000, 0), Steps: Buckets}
	busy := Series{Name: "busy"}
	for i := range uint64(Buckets) {
		busy.Lines, busy.Bytes, busy.Backlog = append(busy.Lines, 20_000+i), append(busy.Bytes, 4_000_000+i), append(busy.Backlog, i)
	}
	r.Parts = []Series{{Name: "idle"}, busy}
	data := r.Encode(16 << 10)
	t.Logf("an input that is busy and one that is not: %d bytes", len(data))
	require.Less(t, len(data), 1500)
	back, err := Decode(data)
	require.NoError(t, err)
	require.Equal(t, busy.Lines, back.Part("busy").Lines)
	require.Equal(t, make([]uint64, Buckets), back.Part("idle").Lines)
	require.True(t, r.End.Equal(back.End))

	for i := range 1000 {
		more := busy
		more.Name = string(rune('a'+i%26)) + time.Duration(i).String()
		r.Parts = append(r.Parts, more)
	}
	data = r.Encode(16 << 10)
	require.LessOrEqual(t, len(data), 16<<10)
	back, err = Decode(data)
	require.NoError(t, err)
	require.Equal(t, 1002, len(back.Parts)+back.MoreParts)
	for _, bad := range []string{"", "{}", `{"end":1,"steps":1000}`, `{"end":1,"steps":2,"parts":[{"name":"a","series":{"lines":"gA=="}}]}`} {
		_, err := Decode([]byte(bad))
		require.Error(t, err, bad)
	}
}
