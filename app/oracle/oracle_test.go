package oracle

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var text = Text{Run: "r1", Buffer: 180}

func TestALineIsAFunctionOfItsID(t *testing.T) {
	sizes := map[int]int{}
	lines := map[string]int{}
	for id := range 4000 {
		line := text.Append(nil, id)
		require.Equal(t, line, text.Append([]byte("before")[:0], id))
		require.Equal(t, -1, bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }), "%q", line)
		got, err := text.Read(line)
		require.NoError(t, err)
		require.Equal(t, id, got)
		sizes[len(line)-len(text.appendHead(id))]++
		lines[string(line)]++
	}
	require.Equal(t, map[int]int{0: 500, 1: 500, 45: 500, 90: 500, 179: 500, 180: 500, 181: 500, 540: 500}, sizes)
	require.Len(t, lines, 4000)
}

// appendHead is the line of an id without its payload.
func (t Text) appendHead(id int) []byte {
	line := t.Append(nil, id)
	payload := t.appendPayload(nil, id)
	return line[:len(line)-len(payload)]
}

func TestEveryDamageOfALineIsSeen(t *testing.T) {
	for id := range 16 {
		line := text.Append(nil, id)
		for i := range line {
			for _, c := range []byte{'a', ' ', '0', 0} {
				damaged := bytes.Clone(line)
				damaged[i] = c
				if bytes.Equal(damaged, line) {
					continue
				}
				_, err := text.Read(damaged)
				require.ErrorIs(t, err, ErrCorrupted, "%q", damaged)
			}
			_, err := text.Read(line[:i])
			require.ErrorIs(t, err, ErrCorrupted, "%q", line[:i])
			_, err = text.Read(line[i+1:])
			require.ErrorIs(t, err, ErrCorrupted, "%q", line[i+1:])
		}
		_, err := text.Read(append(line, text.Append(nil, id+1)...))
		require.ErrorIs(t, err, ErrCorrupted)
	}
	_, err := text.Read(Text{Run: "r2", Buffer: 180}.Append(nil, 7))
	require.ErrorIs(t, err, ErrForeign)
	_, err = text.Read(Text{Run: "r1", Buffer: 99}.Append(nil, 7))
	require.ErrorIs(t, err, ErrCorrupted, "it is no line of this text")
	_, err = text.Read(text.Append(nil, -8))
	require.ErrorIs(t, err, ErrCorrupted)
}

// arrived returns the tally of a run of n lines that all arrived once.
func arrived(n int) (*Ledger, *Tally) {
	l := NewLedger(text)
	l.Claim(n)
	l.Owe(0, n)
	tally := l.Tally()
	for id := range n {
		tally.See(text.Append(nil, id))
	}
	return l, tally
}

func TestAllThatArrivedOnceIsWell(t *testing.T) {
	l, tally := arrived(200)
	v := tally.Verdict()
	require.Equal(t, Verdict{Issued: 200, Owed: 200, Arrived: 200}, v)
	require.NoError(t, v.AtLeastOnce())
	require.NoError(t, v.ExactlyOnce())
	require.Error(t, v.Exercised(), "nothing came twice")
	require.Equal(t, 200, l.Owed())
}

func TestALostLineIsSeen(t *testing.T) {
	l, tally := arrived(200)
	first := l.Claim(2)
	require.Equal(t, 200, first)
	v := tally.Verdict()
	require.NoError(t, v.ExactlyOnce(), "what is not complete in its file is not owed")
	require.Equal(t, 202, v.Issued)
	l.Owe(first, 1)
	v = tally.Verdict()
	require.Equal(t, 1, v.Missing)
	require.ErrorContains(t, v.AtLeastOnce(), "line 200 is missing")
	require.Error(t, v.ExactlyOnce())
	tally.See(text.Append(nil, 200))
	tally.See(text.Append(nil, 201))
	require.NoError(t, tally.Verdict().ExactlyOnce(), "what is not owed may arrive")
}

func TestADoubledLineIsSeen(t *testing.T) {
	_, tally := arrived(200)
	tally.See(text.Append(nil, 7))
	v := tally.Verdict()
	require.Equal(t, 1, v.Repeated)
	require.Equal(t, 200, v.Arrived)
	require.NoError(t, v.AtLeastOnce())
	require.ErrorContains(t, v.ExactlyOnce(), "line 7 is there 2 times")
	require.NoError(t, v.Exercised())

	_, tally = arrived(100)
	tally.See(text.Append(nil, 7))
	require.Error(t, tally.Verdict().Exercised(), "too few")
}

func TestAnInventedLineIsSeen(t *testing.T) {
	for _, line := range [][]byte{
		text.Append(nil, 200), // the next that would be issued
		Text{Run: "r2", Buffer: 180}.Append(nil, 7),
	} {
		_, tally := arrived(200)
		tally.See(line)
		v := tally.Verdict()
		require.Equal(t, []int{1, 0, 200}, []int{v.Spurious, v.Corrupted, v.Arrived})
		require.Error(t, v.AtLeastOnce())
		require.Error(t, v.ExactlyOnce())
	}
}

func TestACorruptedLineIsSeen(t *testing.T) {
	for _, line := range [][]byte{nil, []byte("hello"), text.Append([]byte("x"), 7), text.Append(nil, 7)[:20]} {
		_, tally := arrived(200)
		tally.See(line)
		v := tally.Verdict()
		require.Equal(t, []int{0, 1, 200}, []int{v.Spurious, v.Corrupted, v.Arrived})
		require.Error(t, v.AtLeastOnce())
		require.Error(t, v.ExactlyOnce())
	}
}

func TestExamplesAreCapped(t *testing.T) {
	l, tally := arrived(200)
	l.Owe(l.Claim(500), 500)
	v := tally.Verdict()
	require.Equal(t, 500, v.Missing)
	require.Len(t, v.Examples, maxExamples)
}

func TestAwaitEndsWithoutProgress(t *testing.T) {
	failed := errors.New("away")
	for name, c := range map[string]struct {
		answers []any
		looks   int
		missing int
		err     error
	}{
		"at once":            {[]any{0}, 1, 0, nil},
		"progress":           {[]any{9, 9, 9, 9, 9, 8, 8, 8, 8, 8, 0}, 11, 0, nil},
		"more is there":      {[]any{9, -3}, 2, -3, nil},
		"none":               {[]any{9, 9, 9, 9, 9, 9, 0}, 6, 9, nil},
		"back is no way on":  {[]any{9, 12, 11, 10, 12, 9, 0}, 6, 9, nil},
		"errors":             {[]any{9, failed, failed, failed, failed, failed, 0}, 6, 9, failed},
		"an error that ends": {[]any{9, failed, failed, failed, failed, 0}, 6, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			looks := 0
			n, err := Await(context.Background(), time.Nanosecond, func(context.Context) (int, error) {
				looks++
				if err, ok := c.answers[looks-1].(error); ok {
					return 0, err
				}
				return c.answers[looks-1].(int), nil
			})
			require.Equal(t, []any{c.looks, c.missing, c.err}, []any{looks, n, err})
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n, err := Await(ctx, time.Hour, func(context.Context) (int, error) { return 4, nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 4, n)
}
