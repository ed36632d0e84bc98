package tail

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// idleSource is a source that does not run, at another time.
func (r *rig) idleSource(now time.Time) *Source {
	src, err := New(r.o)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, src.Close()) })
	src.now = now
	src.inputs["in"] = &input{name: "in"}
	return src
}

func (s *Source) made(path string, n uint64) *file {
	f := &file{in: s.inputs["in"], fd: -1, entry: entry{name: path, gen: 1, inode: inode{1, n}, path: path}}
	s.files[f.inode] = f
	return f
}

// A path whose files are renamed once a minute and deleted two minutes later.
func TestRhythmOfAPath(t *testing.T) {
	r := newRig(t)
	said := r.listen()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := r.idleSource(now)
	var files []*file
	for i := range 5 {
		f := s.made("/l/app.log", uint64(i))
		files = append(files, f)
		s.now = now.Add(time.Duration(i+1) * time.Minute)
		s.rename(f, "/l/app.log.1")
		if i > 0 {
			s.rename(files[i-1], "/l/app.log.2")
		}
		if i > 1 {
			gone := files[i-2]
			s.deletion(gone, 0)
			delete(s.files, gone.inode)
		}
	}
	require.Equal(t, time.Minute, s.rhythms["/l/app.log"].every)
	require.Equal(t, 2*time.Minute, s.rhythms["/l/app.log"].kept)
	require.Len(t, s.rhythms, 1, "the other names have no rhythm of their own")

	live := s.made("/l/app.log", 100)
	at, grows, known := s.lossAt(live)
	require.True(t, known)
	require.Equal(t, now.Add(6*time.Minute), grows)
	require.Equal(t, now.Add(8*time.Minute), at)
	at, _, known = s.lossAt(files[4])
	require.True(t, known)
	require.Equal(t, now.Add(7*time.Minute), at)
	_, _, known = s.lossAt(s.made("/l/other.log", 101))
	require.False(t, known)

	// 1,000 bytes a second are read of files that are there for two minutes.
	slow, fast := files[4], files[3]
	slow.size, fast.size = 1_000_000, 30_000
	for range 10 {
		s.weigh()
		s.now = s.now.Add(time.Second)
		slow.read.pos += 1000
		fast.read.pos += 1000
	}
	s.weigh()
	require.True(t, slow.risk)
	require.False(t, fast.risk)
	require.Equal(t, 1, s.tally.AtRisk)
	require.Equal(t, uint64(1), s.tally.LossWarnings, "it is said once")
	require.Equal(t, 1, strings.Count(said.String(), "will be deleted before it is read"))
	require.Contains(t, said.String(), "log.file=/l/app.log.1")
	require.Len(t, s.risks, 1)
	require.Equal(t, int64(990_000), s.risks[0].Unread)
	require.InDelta(t, 1000, s.risks[0].Rate, 1)
	require.InDelta(t, 110, s.risks[0].Left.Seconds(), 1)

	// Read faster, it is not at risk any more.
	fast.read.pos = fast.size
	for range 10 {
		s.now = s.now.Add(time.Second)
		slow.read.pos += 50_000
		s.weigh()
	}
	require.False(t, slow.risk)
	require.Zero(t, s.tally.AtRisk)
	slow.read.pos = slow.size
	s.weigh()
	require.NotContains(t, s.paces, slow)
}

// A path whose file is cut, and whose copies are nowhere.
func TestRhythmOfCuts(t *testing.T) {
	r := newRig(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := r.idleSource(now)
	for i := range 3 {
		s.now = now.Add(time.Duration(i) * time.Hour)
		s.leaves(s.made("/l/app.log", uint64(i)), true)
	}
	live := s.made("/l/app.log", 100)
	at, grows, known := s.lossAt(live)
	require.True(t, known)
	require.Equal(t, s.now.Add(time.Hour), at)
	require.Equal(t, at, grows)
	// It grows faster than it is read: at risk long before the hour is over.
	live.size = 1000
	for range 5 {
		s.weigh()
		s.now = s.now.Add(time.Second)
		live.size += 10_000
		live.read.pos += 1000
	}
	s.weigh()
	require.True(t, live.risk)
	// Its copies turn up: nothing of it is lost by the cut.
	orphan := &file{home: "/l/app.log"}
	s.wentOn(orphan)
	_, _, known = s.lossAt(live)
	require.False(t, known)
}

// The whole of it: files are rotated and deleted below a consumer that is stuck.
func TestFileAtRiskIsSaid(t *testing.T) {
	r := newRig(t)
	said := r.listen()
	r.inputs = []config.Input{r.input("in", "app.log*")}
	r.write("app.log", "0\n")
	r.start()
	want := []string{"0"}
	for i := range 4 {
		r.wait(want...)
		if i > 1 {
			require.NoError(t, os.Remove(r.path("app.log.1")))
		}
		time.Sleep(20 * time.Millisecond)
		r.rename("app.log", "app.log.1")
		l := itoa(uint64(i + 1))
		r.write("app.log", l+"\n")
		want = append(want, l)
	}
	r.wait(want...)
	r.mu.Lock()
	r.gate = make(chan struct{})
	r.mu.Unlock()
	text, lines := numbered(strings.Repeat("x", 1000), 0, 6000)
	r.write("app.log", text)
	r.waitFor(func() bool { return r.src.Stats().AtRisk == 1 })
	risk := r.src.Stats().Risks[0]
	require.Equal(t, r.path("app.log"), risk.Path)
	require.Positive(t, risk.Unread)
	require.Contains(t, said.String(), "log.file="+r.path("app.log"))
	close(r.gate)
	r.wait(append(want, lines...)...)
	r.waitFor(func() bool { return r.src.Stats().AtRisk == 0 })
	require.Zero(t, r.src.Stats().LostBytes)
}

// A file at risk has every second turn, and the others have theirs.
func TestFileAtRiskGoesFirst(t *testing.T) {
	r := newRig(t)
	s := r.idleSource(time.Now())
	s.inputs["in"].cfg = config.Input{Name: "in"}
	s.inputs["in"].configured = true
	s.inputs["in"].sub = &subscription{}
	other := &input{name: "other", configured: true, sub: &subscription{}}
	s.ordered = []*input{other, s.inputs["in"]}
	risky := s.made("/l/risky.log", 1)
	risky.risk, s.tally.AtRisk = true, 1
	for i := range 10 {
		f := s.made("/l/"+itoa(uint64(i)), uint64(10+i))
		f.in = other
		other.push(f, false)
	}
	turns := map[*input]int{}
	for range 8 {
		if !risky.queued {
			risky.in.push(risky, true)
		}
		s.idle = 1
		require.True(t, s.dispatchOne())
		tn := <-s.turns
		turns[tn.in]++
		tn.file.busy = false
		s.reserved, tn.in.reserved, tn.in.reading = 0, 0, 0
	}
	require.GreaterOrEqual(t, turns[risky.in], 4)
	require.GreaterOrEqual(t, turns[other], 2)
}

// A file that always has more takes one turn for each that a thousand small
// ones take: none of them waits for more than the others.
func TestTurnsAreFair(t *testing.T) {
	r := newRig(t)
	s := r.idleSource(time.Now())
	in := s.inputs["in"]
	in.cfg, in.configured, in.sub = config.Input{Name: "in"}, true, &subscription{}
	s.ordered = []*input{in}
	large := s.made("/l/large.log", 1)
	in.push(large, false)
	const n = 1000
	for i := range n {
		in.push(s.made("/l/"+itoa(uint64(i)), uint64(10+i)), false)
	}
	turns := map[*file]int{}
	for range n + 1 {
		s.idle = 1
		require.True(t, s.dispatchOne())
		tn := <-s.turns
		turns[tn.file]++
		tn.file.busy = false
		s.reserved, in.reserved, in.reading = 0, 0, 0
		if tn.file == large {
			in.push(large, false)
		}
	}
	require.Len(t, turns, n+1)
	require.Equal(t, 1, turns[large])
}
