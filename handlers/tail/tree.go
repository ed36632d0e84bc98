package tail

import (
	"errors"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	minScan = time.Second
	maxScan = 10 * time.Second
	// scanShare is the part of one core that scanning may take: a scan that
	// took 5 ms is repeated after a second, a longer one later. Where all
	// folders are watched and nobody else can change them, it is a fifth.
	scanShare    = 200
	watchedShare = 1000
	// maxFolders and maxNames bound what a pattern can make us look at.
	maxFolders = 20_000
	maxNames   = 200_000
	maxDepth   = 64
	// calm is for how long a folder must have been unchanged for its time
	// to tell a later change. relist is after what time it is listed anyway.
	calm   = time.Second
	relist = time.Minute
)

// tree is the folders that patterns lead to, with the names in them that
// matter. What a pattern says of a name is found out once.
type tree struct {
	folders map[string]*folder
	bases   []*folder
	seq     uint32   // number of the scan
	failed  []string // folders that this scan could not read
	unseen  bool     // a folder may change without the kernel telling us
	names   int
	buf     []byte
}

// folder is one folder that names are looked for in.
type folder struct {
	path    string
	states  []step
	listed  bool // it must be read; otherwise its names are literal
	names   map[string]*name
	ignored map[string]struct{}
	seq     uint32
	depth   int
	inode   inode
	watched bool
	local   bool  // its file system tells truly when a name in it changed
	mtime   int64 // when a name changed last, as it was when it was listed
	ctime   int64
	listing time.Time // when it was listed, zero when that must be done again
}

// step is a pattern and which of its segments is next.
type step struct {
	p *pattern
	i int
}

// name is one name in a folder that some pattern matches.
type name struct {
	path   string
	inputs []*input // that ask for a file of this name, the first one has it
	states []step   // where patterns go on if it is a folder
	ino    uint64
	seq    uint32
	file   *file
	again  time.Time // when a file that was refused is tried again
	kind   byte      // what the folder says of it
	at     uint64    // and its inode
}

func (t *tree) init() {
	t.folders = map[string]*folder{}
	t.buf = make([]byte, 64<<10)
}

// build makes the tree of new patterns. Folders that were known are watched
// still.
func (t *tree) build(ordered []*input, s *Source) {
	old := t.folders
	t.folders, t.bases = map[string]*folder{}, nil
	for _, in := range ordered {
		for _, p := range in.patterns {
			path, i := p.base()
			f := t.folder(path, 0)
			f.want(step{p, i})
			if !slices.Contains(t.bases, f) {
				t.bases = append(t.bases, f)
			}
		}
	}
	for path, f := range old {
		if now := t.folders[path]; now != nil {
			now.inode, now.watched, now.local = f.inode, f.watched, f.local
		} else if f.watched {
			s.hints.remove(path)
		}
	}
}

func (t *tree) folder(path string, depth int) *folder {
	f := t.folders[path]
	if f == nil {
		f = &folder{path: path, depth: depth, names: map[string]*name{}, ignored: map[string]struct{}{}}
		t.folders[path] = f
	}
	return f
}

// want adds a state, and says whether it is new.
func (f *folder) want(st step) bool {
	if slices.Contains(f.states, st) {
		return false
	}
	f.states = append(f.states, st)
	seg := st.p.segs[st.i]
	f.listed = f.listed || !seg.literal
	if seg.stars && st.i+1 < len(st.p.segs) {
		f.want(step{st.p, st.i + 1}) // ** matches no folder, too
	}
	clear(f.names)
	clear(f.ignored)
	f.seq = 0
	f.listing = time.Time{}
	return true
}

// look finds out what the patterns say of a name.
func (f *folder) look(text string) *name {
	n := &name{path: filepath.Join(f.path, text)}
	for _, st := range f.states {
		seg, final := st.p.segs[st.i], st.i == len(st.p.segs)-1
		switch {
		case seg.stars:
			n.states = append(n.states, st)
			if final {
				n.inputs = append(n.inputs, st.p.in)
			}
		case !seg.match(text):
		case final:
			n.inputs = append(n.inputs, st.p.in)
		default:
			n.states = append(n.states, step{st.p, st.i + 1})
		}
	}
	n.inputs = slices.DeleteFunc(n.inputs, func(in *input) bool { return in.excludes(n.path) })
	slices.SortStableFunc(n.inputs, func(a, b *input) int { return a.order - b.order })
	n.inputs = slices.Compact(n.inputs)
	if len(n.inputs) == 0 && len(n.states) == 0 {
		return nil
	}
	return n
}

// scan looks at all names that patterns lead to, and at what became of those
// that were known. It is the truth about files; everything else is a hint.
func (s *Source) scan() {
	began := time.Now()
	t := &s.tree
	t.seq++
	t.failed = t.failed[:0]
	t.names = 0
	t.unseen = false
	s.scanning = true
	s.forgetPassing()
	s.revive()
	for _, f := range t.bases {
		s.scanFolder(f)
	}
	for path, f := range t.folders {
		if f.seq != t.seq && !t.unsure(path) {
			if f.watched {
				s.hints.remove(path)
			}
			if !slices.Contains(t.bases, f) {
				delete(t.folders, path)
			}
			f.watched = false
		}
	}
	s.settleNames()
	s.adopt()
	s.scanning = false
	s.recheck()
	for _, in := range s.ordered {
		in.startEnd = false
		s.markKnown(in.name)
	}
	s.closeInactive()
	s.expire()
	took := max(0, time.Since(began)-s.opening) // files are new but once
	s.opening = 0
	s.tally.Scans++
	s.tally.ScanTime += took
	s.now = time.Now()
	s.scanned, s.scanTook = s.now, took
	share := time.Duration(scanShare)
	if !t.unseen {
		share = watchedShare
	}
	s.scanAt = s.now.Add(min(max(minScan, share*took), maxScan))
	if s.full == t.seq {
		s.scanSoon(minScan / 4) // what was new then can be closed now
	}
}

// unsure says whether a scan could not look at path.
func (t *tree) unsure(path string) bool {
	return slices.ContainsFunc(t.failed, func(dir string) bool { return beneath(dir, path) })
}

// scanFolder looks at all names of one folder.
func (s *Source) scanFolder(f *folder) {
	t := &s.tree
	if f.seq == t.seq {
		return
	}
	if f.seq+1 == t.seq && s.unchanged(f) {
		f.seq = t.seq
		t.unseen = t.unseen || !f.watched
		s.revisit(f)
		return
	}
	f.seq = t.seq
	f.listing = time.Time{}
	if !s.roots.allows(f.path) {
		s.sayOnce(levelWarn, "folder is outside allowed_paths", "path", f.path)
		return
	}
	fd, err := openDir(f.path)
	if err != nil {
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			t.failed = append(t.failed, f.path)
			s.sayOnce(levelWarn, "cannot read folder, trying again", "path", f.path, "error", err)
		}
		f.watched = false
		t.unseen = true // it may come any time
		return
	}
	defer unix.Close(fd)
	if !s.roots.any {
		if real, err := nameOfHandle(fd); err == nil && !s.roots.allows(real) {
			s.sayOnce(levelWarn, "folder is outside allowed_paths", "path", f.path)
			return
		}
	}
	st, err := fstat(fd)
	if err != nil {
		return
	}
	s.watch(f, fd, st)
	if !f.listed {
		for _, st := range f.states {
			s.visit(f, fd, []byte(st.p.segs[st.i].text), typeUnknown, 0)
		}
		return
	}
	began := time.Now()
	before := len(f.names) + len(f.ignored)
	seen := 0
	var folders []*folder
	err = readDir(fd, t.buf, func(text []byte, kind byte, ino uint64) {
		seen++
		if sub := s.visit(f, fd, text, kind, ino); sub != nil {
			folders = append(folders, sub)
		}
	})
	if err != nil {
		t.failed = append(t.failed, f.path)
		s.sayOnce(levelWarn, "cannot read folder, trying again", "path", f.path, "error", err)
	} else if before > seen || len(f.names)+len(f.ignored) > seen {
		f.forget(t.seq)
	}
	// Two changes may have the same time, one seen and one not: a folder that
	// changed right now is listed again.
	if f.local && err == nil && began.UnixNano()-st.mtime > int64(calm) && t.names <= maxNames {
		f.mtime, f.ctime, f.listing = st.mtime, st.ctime, began
	}
	// The buffer is shared: a folder in this one is read after it.
	for _, sub := range folders {
		s.scanFolder(sub)
	}
}

// forget drops the names that a scan did not see.
func (f *folder) forget(seq uint32) {
	for text, n := range f.names {
		if n.seq != seq {
			delete(f.names, text)
		}
	}
	clear(f.ignored)
}

// visit looks at one name in the folder that dir is a handle of. kind and ino
// are what the folder says of it. It returns the folder to go on in, if it is
// one; unless f is not listed: then it has gone there itself.
func (s *Source) visit(f *folder, dir int, text []byte, kind byte, ino uint64) *folder {
	n := f.names[string(text)]
	if n == nil {
		if _, ok := f.ignored[string(text)]; ok {
			return nil
		}
		n = f.look(string(text))
		if n == nil {
			f.ignored[string(text)] = struct{}{}
			return nil
		}
		f.names[string(text)] = n
	}
	n.kind, n.at = kind, ino
	return s.lookAt(f, n, dir, string(text))
}

// unchanged says whether the names in a folder are those that were there when
// it was listed.
func (s *Source) unchanged(f *folder) bool {
	if f.listing.IsZero() || s.now.Sub(f.listing) > relist {
		return false
	}
	st, err := statAt(unix.AT_FDCWD, f.path)
	return err == nil && st.inode == f.inode && st.mtime == f.mtime && st.ctime == f.ctime
}

// revisit looks at what stands behind the names of an unchanged folder.
func (s *Source) revisit(f *folder) {
	var folders []*folder
	for _, n := range f.names {
		if sub := s.lookAt(f, n, unix.AT_FDCWD, n.path); sub != nil {
			folders = append(folders, sub)
		}
	}
	for _, sub := range folders {
		s.scanFolder(sub)
	}
}

// lookAt looks at what stands behind a name, which is text from dir on.
func (s *Source) lookAt(f *folder, n *name, dir int, text string) *folder {
	t := &s.tree
	n.seq = t.seq
	t.names++
	if t.names > maxNames {
		s.sayOnce(levelWarn, "patterns match too many names, the rest is not read", "limit", maxNames)
		return nil
	}
	known, kind, ino := n.file, n.kind, n.at
	if kind == typeFile && known != nil && known.ino == ino && known.path == n.path && s.files[known.inode] == known {
		// The folder says that the name still is the same file: its
		// size is all that may have changed.
		var st stat
		var err error
		if known.fd >= 0 {
			st, err = fstat(known.fd)
		} else {
			st, err = statAt(dir, text)
		}
		if err == nil && st.inode == known.inode {
			known.seen = t.seq
			s.observe(known, st)
			return nil
		}
	}
	if kind == typeFile && len(n.inputs) == 0 || kind == typeDir && len(n.states) == 0 {
		return nil
	}
	if kind == typeDir && t.folders[n.path] != nil {
		return s.descend(f, n, kind)
	}
	st, err := statAt(dir, text)
	if err != nil {
		if !errors.Is(err, unix.ENOENT) {
			t.failed = append(t.failed, n.path)
		}
		return nil
	}
	if st.dir() {
		return s.descend(f, n, kind)
	}
	if len(n.inputs) > 0 {
		s.see(n, st)
	}
	return nil
}

// descend goes into a folder that a pattern leads to.
func (s *Source) descend(f *folder, n *name, kind byte) *folder {
	t := &s.tree
	if t.folders[n.path] == nil && len(t.folders) >= maxFolders || f.depth >= maxDepth {
		s.sayOnce(levelWarn, "patterns match too many folders, the rest is not read", "path", n.path)
		return nil
	}
	sub := t.folder(n.path, f.depth+1)
	for _, st := range n.states {
		// ** does not follow links: they may lead round in a circle.
		if kind == typeLink && st.p.segs[st.i].stars {
			continue
		}
		sub.want(st)
	}
	if len(sub.states) == 0 {
		delete(t.folders, n.path)
		return nil
	}
	if !f.listed {
		s.scanFolder(sub)
		return nil
	}
	return sub
}

// watch lets the folder's changes wake us, if the kernel can.
func (s *Source) watch(f *folder, fd int, st stat) {
	if f.inode != st.inode {
		f.local = isLocal(fd)
	}
	if f.watched && f.inode != st.inode {
		s.hints.remove(f.path)
		f.watched = false
	}
	f.inode = st.inode
	if !f.watched && s.hints.add(f.path) {
		f.watched = true
	}
	s.tree.unseen = s.tree.unseen || !f.watched || !f.local
}
