package tail

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// hintBatch and hintPause bound what hints may cost: thousands of
	// writes to many files are told as fast as they can be used. The kernel
	// merges what waits.
	hintBatch = 128
	hintPause = 5 * time.Millisecond
)

// hint is what the kernel told of one path since the last batch.
type hint = fsnotify.Op

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

func startHints(log *slog.Logger) *hints {
	h := &hints{log: log, batches: make(chan map[string]hint), stop: make(chan struct{})}
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

// run collects events. The empty path stands for events that were lost.
func (h *hints) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	resting := true
	waiting := map[string]hint{}
	for {
		events := h.watcher.Events
		if resting || len(waiting) >= hintBatch {
			events = nil
		}
		batches := h.batches
		if len(waiting) == 0 {
			batches = nil
		}
		// What can be collected at once is, before it is handed over.
		if events != nil && batches != nil {
			select {
			case e, ok := <-events:
				if !ok {
					return
				}
				waiting[e.Name] |= e.Op
				continue
			default:
			}
		}
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if e.Op&^fsnotify.Chmod != 0 {
				waiting[e.Name] |= e.Op
			}
		case err, ok := <-h.watcher.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				waiting[""] |= fsnotify.Create
			} else {
				h.log.Debug("watch failed", "error", err)
			}
		case batches <- waiting:
			if len(waiting) >= hintBatch {
				resting = true
				pause.Reset(hintPause)
			}
			waiting = map[string]hint{}
		case <-pause.C:
			resting = false
		case <-h.stop:
			return
		}
	}
}
