package logs

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Work is what a middleware sees of a batch or a poll.
type Work interface {
	// Len returns the number of lines or records.
	Len() int
	// Size returns their bytes, and SizeOf those of item i.
	Size() int64
	SizeOf(i int) int64
	// Pending returns how many are not settled.
	Pending() int
	// Settled says whether item i is done.
	Settled(i int) bool
	// Settle marks item i as done.
	Settle(i int)
}

var (
	_ Work = (*Batch)(nil)
	_ Work = (*Poll)(nil)
)

type workKey struct{}

// AttachBatch lets msg carry b. The message's payload stays empty: the lines
// are in the batch. The message's context is replaced by one that knows b.
func AttachBatch(msg *message.Message, b *Batch) {
	msg.SetContext(context.WithValue(msg.Context(), workKey{}, Work(b)))
}

// AttachPoll lets msg carry p, as AttachBatch does for a batch.
func AttachPoll(msg *message.Message, p *Poll) {
	msg.SetContext(context.WithValue(msg.Context(), workKey{}, Work(p)))
}

// WorkOf returns what msg carries, or nil for a message from elsewhere.
func WorkOf(msg *message.Message) Work {
	w, _ := msg.Context().Value(workKey{}).(Work)
	return w
}

// BatchOf returns the batch that msg carries, or nil.
func BatchOf(msg *message.Message) *Batch {
	b, _ := WorkOf(msg).(*Batch)
	return b
}

// PollOf returns the poll that msg carries, or nil.
func PollOf(msg *message.Message) *Poll {
	p, _ := WorkOf(msg).(*Poll)
	return p
}

type headersKey struct{}

// AttachHeaders gives msg the record headers it is to be published with, in
// their order, duplicates included: Watermill's metadata is a map and keeps
// neither. Whoever publishes msg owns hs from then on and changes nothing in it.
func AttachHeaders(msg *message.Message, hs []Header) {
	msg.SetContext(context.WithValue(msg.Context(), headersKey{}, hs))
}

// HeadersOf returns what AttachHeaders gave msg, or nil. They stand for the
// message's metadata when there are any.
func HeadersOf(msg *message.Message) []Header {
	hs, _ := msg.Context().Value(headersKey{}).([]Header)
	return hs
}
