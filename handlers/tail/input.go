package tail

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/bmatcuk/doublestar/v4"

	"github.com/logferry/logferry/config"
)

// maxHanded is how many messages of one input may be handed out and not
// settled. The subscription's channel holds as many, so that the source never
// waits for a consumer: a message that has a place in the count has one in the
// channel. The byte budget is what bounds memory; this bounds goroutines.
const maxHanded = 1024

// input is one name: its configuration once Update gave one, and its
// subscription once there is one.
type input struct {
	name       string
	cfg        config.Input
	configured bool
	order      int // place in the configuration: the first of two has a file
	patterns   []*pattern
	exclude    []string
	pipes      []string // paths, of an input of named pipes
	rules      *rules
	startEnd   bool // files of the first scan start at their end
	sub        *subscription

	head, tail *file     // queue for a reader
	stash      []*packet // to hand out again once there is a subscription
	held       int64     // bytes of the budget
	reserved   int64     // bytes of the budget that turns under way may take
	reading    int       // turns under way
	handed     int       // messages handed out and not settled

	files        int
	unread       int64
	lines, bytes uint64
}

// subscription is one consumer of an input's messages.
type subscription struct {
	ctx    context.Context // the messages' context derives from it, as Watermill asks
	ch     chan *message.Message
	cancel func() bool // stops waiting for the end of ctx
}

// configure takes a new configuration; nothing changes when it is refused.
func (in *input) configure(cfg config.Input, order int) error {
	var patterns []*pattern
	var pipes []string
	for _, glob := range cfg.Paths {
		if cfg.Type == "pipe" {
			path, err := filepath.Abs(glob)
			if err != nil {
				return fmt.Errorf("input %q: read path %q: %w", cfg.Name, glob, err)
			}
			pipes = append(pipes, path)
			continue
		}
		p, err := compile(in, glob)
		if err != nil {
			return fmt.Errorf("input %q: %w", cfg.Name, err)
		}
		patterns = append(patterns, p...)
	}
	exclude := slices.Clone(cfg.Exclude)
	for i, glob := range exclude {
		if !doublestar.ValidatePattern(glob) {
			return fmt.Errorf("input %q: read exclude %q: syntax error", cfg.Name, glob)
		}
		if strings.Contains(glob, "/") && !filepath.IsAbs(glob) && !strings.HasPrefix(glob, "**") {
			abs, err := filepath.Abs(glob)
			if err != nil {
				return fmt.Errorf("input %q: read exclude %q: %w", cfg.Name, glob, err)
			}
			exclude[i] = abs
		}
	}
	r, err := newRules(cfg)
	if err != nil {
		return err
	}
	in.cfg, in.order, in.patterns, in.exclude, in.configured = cfg, order, patterns, exclude, true
	in.pipes, in.rules = pipes, r
	return nil
}

// excludes says whether a path that a pattern matched is excluded.
func (in *input) excludes(path string) bool {
	for _, glob := range in.exclude {
		name := path
		if !strings.Contains(glob, "/") {
			name = filepath.Base(path)
		}
		if doublestar.MatchUnvalidated(glob, name) {
			return true
		}
	}
	return false
}

// matches says whether the input asks for path.
func (in *input) matches(path string) bool {
	names := strings.Split(strings.Trim(path, "/"), "/")
	return slices.ContainsFunc(in.patterns, func(p *pattern) bool { return p.matches(names) }) && !in.excludes(path)
}

// inputOf returns the first input that asks for path, or nil.
func (s *Source) inputOf(path string) *input {
	for _, in := range s.ordered {
		if in.matches(path) {
			return in
		}
	}
	return nil
}

// matches says whether names, the elements of a path, are what p asks for.
func (p *pattern) matches(names []string) bool { return matchSegs(p.segs, names) }

func matchSegs(segs []segment, names []string) bool {
	for i, s := range segs {
		if s.stars {
			for j := 0; j <= len(names); j++ {
				if matchSegs(segs[i+1:], names[j:]) {
					return true
				}
			}
			return false
		}
		if len(names) == 0 || !s.match(names[0]) {
			return false
		}
		names = names[1:]
	}
	return len(names) == 0
}

// Brokers as they come take record batches of 1,048,588 bytes: a part of
// 1,000,000 leaves room for key, headers and what compression may add.
const (
	defaultMaxLine = 1 << 20
	brokerMaxLine  = 1_000_000
)

// limits returns the bounds of a turn at a file of this input.
func (in *input) limits() limits {
	maxLine := int(in.cfg.MaxLineBytes)
	if maxLine <= 0 {
		maxLine = defaultMaxLine
	}
	if maxLine > brokerMaxLine && maxLine <= defaultMaxLine {
		maxLine = brokerMaxLine
	}
	return limits{maxLine: maxLine, truncate: in.cfg.OnLongLine == "truncate", maxLines: maxLines}
}

// push puts f into the queue for a reader.
func (in *input) push(f *file, front bool) {
	f.queued = true
	switch {
	case in.head == nil:
		in.head, in.tail = f, f
	case front:
		f.next, in.head = in.head, f
	default:
		in.tail.next, in.tail = f, f
	}
}

func (in *input) pop() *file {
	f := in.head
	in.head, f.next = f.next, nil
	if in.head == nil {
		in.tail = nil
	}
	f.queued = false
	return f
}

// drop takes f out of the queue.
func (in *input) drop(f *file) {
	if !f.queued {
		return
	}
	var before *file
	for g := in.head; g != f; g = g.next {
		before = g
	}
	if before == nil {
		in.head = f.next
	} else {
		before.next = f.next
	}
	if in.tail == f {
		in.tail = before
	}
	f.next, f.queued = nil, false
}
