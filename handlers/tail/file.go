package tail

import (
	"time"

	"github.com/logferry/logferry/handlers/logs"
)

// entry is what the checkpoint keeps of a file: one generation of an inode.
type entry struct {
	name     string // text of the identity, see nameOf
	gen      uint32 // counts the times it began again, from 1
	inode           // how the kernel names it now
	born     int64  // 0 when the file system does not tell
	path     string
	folder   string // that the file is in, if path is a link to it; else empty
	head     prefix
	acked    place  // everything before it was acked
	tail     uint64 // hash of what stands before acked.pos
	left     int64  // when it was lost sight of, Unix seconds; 0 while it is there
	gz       keptPacked
	ended    bool // it is gone for good, but a packed copy of it may turn up
	dirty    bool // changed since it was last given to the checkpoint
	fleeting bool // the checkpoint knows nothing of it
	dead     bool // to be removed from the checkpoint
}

// key is the value of the header lf-file, and the entry's key in the checkpoint.
func (e *entry) key() string { return e.name + "." + itoa(uint64(e.gen)) }

// file is an entry that is followed. There may be ten thousand of them, almost
// all idle: what only a busy one needs is allocated when it is.
type file struct {
	entry
	in *input
	fd int // -1 while closed

	read   place  // everything before it was handed out
	before uint64 // hash of what stands before read.pos
	dry    int64  // no newline was seen between read.pos and here
	size   int64  // as the last turn saw it, -1 before the first
	mtime  int64
	quiet  int64 // size it had for so long that its last event is complete, 0 for none
	need   int   // bytes the next turn must read, 0 for no such need

	busy     bool // a reader has it
	queued   bool // it waits for a reader
	want     bool // something happened since its last turn began
	gone     bool // no name of it is left where we look
	deleted  bool // no name of it is left at all
	last     bool // the next turn takes the incomplete line too
	released bool // no input wants it any more
	spoiled  bool // a batch of it was given up: read again from acked
	retired  bool // it ended: only its batches are awaited
	followed bool // the same inode is followed as the next generation

	checked bool // it is no copy of a file that was cut off
	told    bool // the checkpoint knows it, with its first bytes
	telling bool // it is about to
	orphan  bool // it was cut off, and waits for its copy

	suspected time.Time // when it was first taken for a copy

	after   *file     // held back until that one was read, which had its name before
	then    *file     // the other way round
	asked   bool      // after is looked at again since there is something in this file
	direct  bool      // no other file came between them
	found   uint32    // scan that saw this one first
	heldTo  time.Time // how long it is held back for a copy
	was     string    // its name in left
	overdue bool      // its last event was ended, but for what then holds
	pipe    *pipe     // nil for a file
	packed  *packed   // nil for a file that is read as it is
	onDisk  int64     // of a deleted file, as it was last held against the limit
	nuls    int64     // bytes that a writer which goes on behind a cut leaves out
	lost    int64     // bytes cut off before they were read
	marks   *marks    // where the last batches ended
	indexed prefix    // in the source's index of heads
	seen    uint32    // scan that saw path name it
	altSeen uint32    // scan that saw alt name it
	alt     string

	flight []*packet // handed out and not settled, in order
	turn   *logs.Turn
	origin *logs.Origin
	lag    int64 // what it adds to its input's unread bytes

	home   string    // the path that it was rotated at, once it was
	leftAt time.Time // when that was
	risk   bool      // it may be deleted before it is read

	active  time.Time // when it last gave bytes, or was opened
	changed time.Time // for a gone file or a suspect: when it last grew
	lostAt  time.Time // when its last name went

	newer, older *file // in the list of open files
	next         *file // in the queue for a reader
}

// maxFlight is how many batches of one file may be in flight: enough that
// reading, sending and acknowledging overlap.
const maxFlight = 4

// from describes the file's place in the records that are made of it.
func (f *file) from(node string) *logs.Origin {
	if f.origin == nil {
		f.origin = &logs.Origin{Node: node, Input: f.in.name, Path: f.path, File: f.key()}
	}
	return f.origin
}

// idle says whether nothing is known that a turn would find.
func (f *file) idle() bool { return !f.busy && !f.queued && !f.want }

// unread returns how many bytes are known to wait in the file.
func (f *file) unread() int64 { return max(0, f.size-f.read.pos) }

// openFiles lists the files with a handle, the most recently used first.
type openFiles struct {
	front, back *file
	n           int
}

func (l *openFiles) add(f *file) {
	f.older = l.front
	if l.front != nil {
		l.front.newer = f
	} else {
		l.back = f
	}
	l.front = f
	l.n++
}

func (l *openFiles) remove(f *file) {
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		l.front = f.older
	}
	if f.older != nil {
		f.older.newer = f.newer
	} else {
		l.back = f.newer
	}
	f.newer, f.older = nil, nil
	l.n--
}

func (l *openFiles) touch(f *file) {
	if l.front != f {
		l.remove(f)
		l.add(f)
	}
}
