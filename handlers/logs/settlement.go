package logs

import "math/bits"

// Settlement remembers which lines of a batch, or records of a poll, are done
// with: acknowledged, stored or poisoned. A retry repeats only the rest. The
// zero value has nothing settled.
//
// It is not safe for concurrent use. The goroutine that runs the message's
// handler owns it; a stage that settles from another goroutine does so before
// it answers the handler.
type Settlement struct {
	bits  []uint64
	count int
}

// Settle marks item i as done. Marking it twice counts once.
func (s *Settlement) Settle(i int) {
	word, bit := i/64, uint64(1)<<(i%64)
	for word >= len(s.bits) {
		s.bits = append(s.bits, 0)
	}
	if s.bits[word]&bit == 0 {
		s.bits[word] |= bit
		s.count++
	}
}

// SettleAll marks items 0 to n-1 as done.
func (s *Settlement) SettleAll(n int) {
	if words := (n + 63) / 64; words > len(s.bits) {
		s.bits = append(s.bits, make([]uint64, words-len(s.bits))...)
	}
	for i := range n / 64 {
		s.bits[i] = ^uint64(0)
	}
	if rest := n % 64; rest != 0 {
		s.bits[n/64] |= 1<<rest - 1
	}
	s.count = 0
	for _, w := range s.bits {
		s.count += bits.OnesCount64(w)
	}
}

// Settled says whether item i is done.
func (s *Settlement) Settled(i int) bool {
	word := i / 64
	return word < len(s.bits) && s.bits[word]&(1<<(i%64)) != 0
}

// Count returns how many items are done.
func (s *Settlement) Count() int { return s.count }

// Reset forgets everything and keeps the memory.
func (s *Settlement) Reset() {
	clear(s.bits)
	s.count = 0
}
