package index

import "sync"

// Bodies bounds the memory of the bodies of all requests under way, over all
// bulkers that share it. A request that is larger than all of it goes when it
// is alone. Nil bounds nothing. All its methods are safe for concurrent use.
type Bodies struct {
	total int

	mu    sync.Mutex // guards the fields below
	used  int
	rooms map[chan struct{}]struct{} // nudges of the bulkers that run
}

// NewBodies returns a bound of total bytes.
func NewBodies(total int64) *Bodies {
	return &Bodies{total: int(total), rooms: make(map[chan struct{}]struct{})}
}

// join returns the channel on which a bulker learns that there may be room. It
// leaves with that channel.
func (b *Bodies) join() chan struct{} {
	room := make(chan struct{}, 1)
	if b == nil {
		return room
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rooms[room] = struct{}{}
	return room
}

func (b *Bodies) leave(room chan struct{}) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rooms, room)
}

// take reserves n bytes, or says that there is no room for them now.
func (b *Bodies) take(n int) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used > 0 && b.used+n > b.total {
		return false
	}
	b.used += n
	return true
}

// free gives back what was taken, and lets all bulkers look again.
func (b *Bodies) free(n int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	for room := range b.rooms {
		select {
		case room <- struct{}{}:
		default:
		}
	}
}
