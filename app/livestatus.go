package app

import (
	"slices"
	"time"

	"github.com/logferry/logferry/config"
)

// LiveStatus says which config a service runs with.
type LiveStatus struct {
	// Revision of the newest document that is in force; 0 for the file alone.
	Revision  int64     `json:"revision"`
	AppliedAt time.Time `json:"applied_at"`
	// Wanted is the revision of the newest document in etcd, and Seen etcd's
	// revision when this service looked last. Error says why what is wanted is
	// not in force, when it is not.
	Wanted int64  `json:"wanted"`
	Seen   int64  `json:"seen"`
	Error  string `json:"error,omitempty"`
	// Documents are those of etcd that this service reads.
	Documents []DocumentStatus `json:"documents,omitempty"`
	// Restart names the keys of the file that have changed and that only a
	// restart can put in force.
	Restart []string `json:"restart,omitempty"`
}

// DocumentStatus says which form of a document is in force.
type DocumentStatus struct {
	Key string `json:"key"`
	// Revision is in force; 0 is none.
	Revision int64 `json:"revision"`
	// Wanted is in etcd; 0 is none.
	Wanted int64 `json:"wanted"`
	// Canary is given to this service in place of the document.
	Canary *CanaryStatus `json:"canary,omitempty"`
}

// CanaryStatus is about a canary.
type CanaryStatus struct {
	// Revision is in force; 0 is none: it was rejected.
	Revision int64 `json:"revision"`
	// Wanted is in etcd; 0 is none.
	Wanted int64 `json:"wanted"`
	// Until is when the document takes its place again, by this host's clock.
	Until time.Time `json:"until,omitzero"`
}

// wanted is the status of documents that are looked at, canaries aside.
func wanted(docs config.Docs, seen int64) LiveStatus {
	docs.Canaries = nil
	s := LiveStatus{Wanted: docs.Revision(), Seen: seen}
	for _, doc := range docs.All() {
		s.Documents = append(s.Documents, DocumentStatus{Key: doc.Key, Wanted: doc.Revision})
	}
	return s
}

// give adds the canaries that this process is given.
func (s *LiveStatus) give(canaries []config.Given) {
	for _, g := range canaries {
		s.document(g.Document).Canary = &CanaryStatus{Wanted: g.Revision, Until: g.Until}
		s.Wanted = max(s.Wanted, g.Revision)
	}
}

// document returns the status of the document at a key, which may be new.
func (s *LiveStatus) document(key string) *DocumentStatus {
	i := slices.IndexFunc(s.Documents, func(d DocumentStatus) bool { return d.Key == key })
	if i < 0 {
		i = len(s.Documents)
		s.Documents = append(s.Documents, DocumentStatus{Key: key})
	}
	return &s.Documents[i]
}

// RunsCanary says whether a canary stands in place of a document.
func (s LiveStatus) RunsCanary() bool { return !s.canaryUntil().IsZero() }

// canaryUntil is when the first canary in force ends; zero: there is none.
func (s LiveStatus) canaryUntil() (first time.Time) {
	for _, d := range s.Documents {
		if c := d.Canary; c != nil && c.Revision != 0 && (first.IsZero() || c.Until.Before(first)) {
			first = c.Until
		}
	}
	return first
}

// inForce notes which documents and canaries are.
func (s *LiveStatus) inForce(good config.Docs) {
	s.Revision = good.Revision()
	s.Documents = slices.Clone(s.Documents)
	for i := range s.Documents {
		d := &s.Documents[i]
		d.Revision = 0
		if d.Canary != nil {
			d.Canary = &CanaryStatus{Wanted: d.Canary.Wanted, Until: d.Canary.Until}
		}
	}
	canaries := good.Canaries
	good.Canaries = nil
	for _, doc := range good.All() {
		s.document(doc.Key).Revision = doc.Revision
	}
	for _, raw := range canaries {
		d := s.document(config.CanariedKey(raw.Key))
		if d.Canary == nil {
			d.Canary = &CanaryStatus{}
		}
		d.Canary.Revision = raw.Revision
	}
}
