package tail

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// hintBatch and hintPause bound what hints may cost: 25,000 events of
	// about a microsecond each in a second, and one batch in 5 ms once they
	// come faster than that.
	hintBatch = 128
	hintPause = 5 * time.Millisecond
)

// hint is what the kernel told of one path since the last batch.
type hint struct {
	op   fsnotify.Op
	from string // the name that it had at first, if it was renamed
}

// hints turns the events of folder watches into batches without repeats. When
// there are no watches to be had, it is silent.
type hints struct {
	watcher *fsnotify.Watcher
	batches chan map[string]hint
	log     *slog.Logger
	refused bool // said that a watch was refused; owned by the source
	retry   time.Time
	stop    chan struct{}
	done    sync.WaitGroup
}

func startHints(log *slog.Logger, blind bool) *hints {
	h := &hints{log: log, batches: make(chan map[string]hint), stop: make(chan struct{})}
	if blind {
		return h
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("cannot watch folders, scanning only", "error", err)
		return h
	}
	h.watcher = w
	h.done.Go(h.run)
	return h
}

// add watches a folder and says whether it is watched. After a refusal, which
// mostly is a limit, it asks again only after a while.
func (h *hints) add(path string) bool {
	if h.watcher == nil || h.refused && time.Now().Before(h.retry) {
		return false
	}
	err := h.watcher.Add(path)
	if err == nil {
		return true
	}
	if !h.refused {
		h.log.Warn("cannot watch folder, scanning it instead", "path", path, "error", err)
	}
	h.refused, h.retry = true, time.Now().Add(time.Minute)
	return false
}

func (h *hints) remove(path string) {
	if h.watcher != nil {
		_ = h.watcher.Remove(path) // it may be gone with its folder
	}
}

func (h *hints) close() {
	close(h.stop)
	if h.watcher != nil {
		h.watcher.Close()
	}
	h.done.Wait()
}

// renamedFrom returns the name that a file had before it got the event's, if
// both folders are watched. The event tells it in its text alone.
func renamedFrom(e fsnotify.Event) string {
	if !e.Has(fsnotify.Create) {
		return ""
	}
	_, quoted, found := strings.Cut(e.String(), `" ← "`)
	if !found {
		return ""
	}
	from, err := strconv.Unquote(`"` + quoted)
	if err != nil {
		return ""
	}
	return from
}

// run collects events. The empty path stands for events that were lost. While
// it rests it takes none: they wait in the kernel, which merges those that
// repeat.
func (h *hints) run() {
	pause := time.NewTimer(hintPause)
	defer pause.Stop()
	resting := false
	taken := 0 // since the last rest
	var last time.Time
	waiting := map[string]hint{}
	take := func(e fsnotify.Event) {
		taken++
		if e.Name != "" && e.Op&^fsnotify.Chmod != 0 {
			h := waiting[e.Name]
			h.op |= e.Op
			if from := renamedFrom(e); from != "" {
				if h.from = from; waiting[from].from != "" {
					h.from = waiting[from].from
				}
			}
			waiting[e.Name] = h
		}
	}
	for {
		events := h.watcher.Events
		if resting || taken >= hintBatch {
			events = nil
		}
		batches := h.batches
		if len(waiting) == 0 {
			batches = nil
		}
		if events != nil && batches != nil {
			// What is there already comes with it.
			select {
			case e, ok := <-events:
				if !ok {
					return
				}
				take(e)
				continue
			default:
			}
		}
		if taken >= hintBatch && len(waiting) == 0 {
			taken, resting = 0, true
			pause.Reset(hintPause)
		}
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			take(e)
		case err, ok := <-h.watcher.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				waiting[""] = hint{op: fsnotify.Create}
			} else {
				h.log.Debug("watch failed", "error", err)
			}
		case batches <- waiting:
			now := time.Now()
			if taken >= hintBatch || now.Sub(last) < hintPause {
				resting = true
				pause.Reset(hintPause)
			}
			last, taken = now, 0
			waiting = map[string]hint{}
		case <-pause.C:
			resting = false
		case <-h.stop:
			return
		}
	}
}
