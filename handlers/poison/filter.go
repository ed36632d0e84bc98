package poison

import (
	"bytes"
	"strings"
	"time"

	"github.com/logferry/logferry/config"
)

// Filter chooses letters. Its zero value chooses all of them.
type Filter struct {
	// IDs, if any, are the letters asked for; the other fields count as well.
	IDs []string
	// Topic, Route, Type and Index are globs (* and ?).
	Topic, Route, Type, Index string
	// Reason is part of the reason, in any case.
	Reason string
	// Contains is part of the value, byte by byte.
	Contains string
	// Since is the earliest time of refusal.
	Since time.Time
	// Limit ends the choice after so many letters; 0 is no limit.
	Limit int
}

// All says whether the filter chooses every letter.
func (f *Filter) All() bool {
	return len(f.IDs) == 0 && f.Topic == "" && f.Route == "" && f.Type == "" && f.Index == "" &&
		f.Reason == "" && f.Contains == "" && f.Since.IsZero() && f.Limit == 0
}

// match says whether the filter chooses l, apart from its ids and limit.
func (f *Filter) match(l *Letter) bool {
	return glob(f.Topic, l.Topic) && glob(f.Route, l.Route()) && glob(f.Type, l.Type) && glob(f.Index, l.Index) &&
		(f.Reason == "" || strings.Contains(strings.ToLower(l.Reason), strings.ToLower(f.Reason))) &&
		(f.Contains == "" || bytes.Contains(l.Value, []byte(f.Contains))) &&
		(f.Since.IsZero() || !l.Time.Before(f.Since))
}

func glob(pattern, name string) bool {
	return pattern == "" || config.MatchAny([]string{pattern}, name)
}
