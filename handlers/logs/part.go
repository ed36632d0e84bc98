package logs

import "github.com/ThreeDotsLabs/watermill/message"

// PartOf returns items from to to-1 of w as a work of their own, for a stage
// that is to see no more of it now. It aliases the items and shares a batch's
// turn; what is settled of them is settled in it, and what is settled in it
// later is not in w.
func PartOf(w Work, from, to int) Work {
	var part Work
	switch w := w.(type) {
	case *Batch:
		end := w.End
		if to < len(w.Lines) {
			end = w.Lines[to].Pos
		}
		part = &Batch{
			Origin: w.Origin, Start: w.Lines[from].Pos, End: end, Lines: w.Lines[from:to:to],
			Read: w.Read, Key: w.Key, Turn: w.Turn,
		}
	case *Poll:
		p := &Poll{Topic: w.Topic, Partition: w.Partition, Records: w.Records[from:to:to]}
		for i := range p.Records {
			p.Bytes += p.SizeOf(i)
		}
		part = p
	default:
		panic("part of a work: neither a batch nor a poll")
	}
	for i := range to - from {
		if w.Settled(from + i) {
			part.Settle(i)
		}
	}
	return part
}

// Attach lets msg carry w, a batch or a poll.
func Attach(msg *message.Message, w Work) {
	switch w := w.(type) {
	case *Batch:
		AttachBatch(msg, w)
	case *Poll:
		AttachPoll(msg, w)
	}
}
