package logs

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

func TestAPartIsAWorkOfItsOwn(t *testing.T) {
	b := &Batch{Origin: &Origin{Path: "/a"}, Start: 0, End: 9, Turn: NewTurn(nil), Lines: []Line{
		{Value: []byte("aa"), Pos: 0}, {Value: []byte("bb"), Pos: 3}, {Value: []byte("cc"), Pos: 6},
	}}
	b.Settle(1)
	p := PartOf(b, 1, 3).(*Batch)
	require.Equal(t, []bool{true, false}, []bool{p.Settled(0), p.Settled(1)})
	require.Equal(t, 1, p.Pending())
	require.EqualValues(t, 6, p.Size())
	require.Same(t, b.Turn, p.Turn)
	require.EqualValues(t, 3, PartOf(b, 0, 1).Size())
	p.Settle(1)
	require.False(t, b.Settled(2))

	poll := &Poll{Topic: "t", Partition: 3, Bytes: 6, Records: []Record{{Value: []byte("aa")}, {Key: []byte("k"), Value: []byte("ccc")}}}
	q := PartOf(poll, 1, 2).(*Poll)
	require.EqualValues(t, 4, q.Size())
	require.EqualValues(t, 3, q.Partition)
	msg := message.NewMessage("", nil)
	Attach(msg, q)
	require.Same(t, q, PollOf(msg))
}

// TestATurnInParts: the batch behind is let in once the last part was sent, and
// a part after the first waits as a retry does.
func TestATurnInParts(t *testing.T) {
	first := NewTurn(nil)
	second := NewTurn(first)
	third := NewTurn(second)
	first.Sent()
	require.NoError(t, second.Await(t.Context()))
	second.Hold(true)
	second.Sent()
	brief, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.Error(t, third.Await(brief), "more of the second will be sent")
	require.Error(t, second.Await(brief), "what failed of the first would come behind")
	first.Settled()
	require.NoError(t, second.Await(t.Context()))
	second.Hold(false)
	second.Sent()
	second.Sent()
	require.NoError(t, third.Await(t.Context()))
}
