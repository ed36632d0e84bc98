package selftest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

func TestLineProvesItself(t *testing.T) {
	for number := range 2000 {
		line := appendLine(nil, 7, 3, number)
		require.False(t, bytes.Contains(line, []byte("\n")))
		stream, n, ok := readLine(line, 7, nil)
		require.True(t, ok)
		require.Equal(t, []int{3, number}, []int{stream, n})
		_, _, ok = readLine(line, 8, nil)
		require.Equal(t, bytes.Equal(line, appendLine(nil, 8, 3, number)), ok)
		_, _, ok = readLine(line[1:], 7, nil)
		require.False(t, ok)
		_, _, ok = readLine(append(line, 'x'), 7, nil)
		require.False(t, ok)
	}
}

func record(seed uint64, stream, number int, pos string) logs.Record {
	return logs.Record{
		Value: appendLine(nil, seed, stream, number),
		Meta:  logs.Meta{File: []byte("f"), Pos: []byte(pos)},
	}
}

func TestLedgerCounts(t *testing.T) {
	l := newLedger(1, 2)
	for range 5 {
		l.issue(0)
	}
	l.excuse(0, []int{2}, raced)
	l.excuse(0, []int{3}, cut)
	require.Equal(t, 3, l.owing())
	require.NoError(t, l.take(&logs.Poll{Records: []logs.Record{
		record(1, 0, 0, "0"), record(1, 0, 0, "0"), record(1, 0, 0, "9"), // twice again, once elsewhere
		record(1, 1, 0, "0"), record(2, 0, 1, "0"), // never written
	}}))
	require.True(t, l.haveArrived(0, []int{0}))
	require.False(t, l.haveArrived(0, []int{0, 1}))
	written, waiting := l.standing()
	require.Equal(t, []int{5, 4}, []int{written, waiting})
	var r Report
	l.report(&r)
	require.Equal(t, 2, r.Lost) // 1 and 4
	require.Equal(t, []lineName{{0, 1}, {0, 4}}, r.FirstLost)
	require.Equal(t, []int{2, 1, 2, 1, 1, 1}, []int{r.Repeated, r.RepeatedAnew, r.Corrupted, r.Raced, r.RaceLost, r.CutUnread})
	require.False(t, r.OK())
}

func options(t *testing.T, agent ...string) Options {
	return Options{
		Dir: t.TempDir(), Duration: time.Second, KillEvery: 100 * time.Millisecond, LinesPerSecond: 2000,
		Agent: func(string) *exec.Cmd { return exec.Command(agent[0], agent[1:]...) },
	}
}

// An agent that ships nothing is found out.
func TestLostLinesAreFound(t *testing.T) {
	o := options(t, "sleep", "600")
	o.patience = time.Millisecond
	r, err := Agent(context.Background(), o)
	require.NoError(t, err)
	require.Positive(t, r.Written)
	require.Equal(t, r.Written, r.Lost+r.CutUnread+r.RaceLost)
	require.False(t, r.OK())
	require.DirExists(t, r.Dir)
	var text bytes.Buffer
	r.Print(&text)
	require.Contains(t, text.String(), r.Dir)
}

func TestAgentThatEndsIsFound(t *testing.T) {
	r, err := Agent(context.Background(), options(t, "false"))
	require.NoError(t, err)
	require.Contains(t, r.AgentFailure, "exit status 1")
	require.False(t, r.OK())
}

func TestStoppedByItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	o := options(t, "sleep", "600")
	o.Duration = time.Hour
	_, err := Agent(ctx, o)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	left, err := os.ReadDir(o.Dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "what it did stays to be looked at")
}
