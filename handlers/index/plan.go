package index

import (
	"fmt"
	"time"

	"github.com/logferry/logferry/config"
)

// maxInFlight bounds batch.in_flight, so that the done channel has room.
const maxInFlight = 256

// plan is a route's settings, made ready. It is immutable.
type plan struct {
	route    config.Route
	namer    *namer
	maxDocs  int
	maxBytes int
	maxWait  time.Duration
	inFlight int
	rescue   bool // what is refused is indexed in another form
}

func newPlan(route config.Route, allowed []string) (*plan, error) {
	namer, err := newNamer(route.Index, allowed)
	if err != nil {
		return nil, fmt.Errorf("route %q: %w", route.Name, err)
	}
	p := &plan{route: route, namer: namer, maxDocs: route.Batch.MaxDocs, maxBytes: int(route.Batch.MaxBytes),
		maxWait: route.Batch.MaxWait.D(), inFlight: route.Batch.InFlight,
		rescue: route.Poison.OnReject == "rescue"}
	if p.maxDocs < 1 || p.maxBytes < 1 || p.maxWait < 0 || p.inFlight < 1 || p.inFlight > maxInFlight {
		return nil, fmt.Errorf("route %q: batch needs max_docs and max_bytes of at least 1, and in_flight from 1 to %d",
			route.Name, maxInFlight)
	}
	return p, nil
}
