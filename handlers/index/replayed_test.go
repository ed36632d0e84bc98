package index

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

// TestReplayedLettersKeepTheirID lets a record come again at another place, as
// a replay does.
func TestReplayedLettersKeepTheirID(t *testing.T) {
	idOf := func(r *logs.Record) string { return string(new(identifier).append(nil, r, placeOf(r))) }
	again := func(origin string, r *logs.Record) *logs.Record {
		place, ok := logs.ParsePlace([]byte(origin))
		copied := *r
		copied.Topic, copied.Partition, copied.Offset = "web_log", 9, 77_777
		copied.Meta.Replayed = &logs.Replayed{Place: place, Known: ok}
		return &copied
	}
	foreign := recordOf("foreign", "line")
	foreign.Topic, foreign.Partition, foreign.Offset = "web_log", 3, 12
	require.Equal(t, idOf(foreign), idOf(again("web_log/3/12", foreign)))
	require.NotEqual(t, idOf(foreign), idOf(again("web_log/3/13", foreign)))
	require.NotEqual(t, idOf(foreign), idOf(again("web_log/4/12", foreign)))
	require.NotEqual(t, idOf(foreign), idOf(again("other/3/12", foreign)))
	require.NotEqual(t, idOf(foreign), idOf(again("no place", foreign)), "what is no place is none")

	ours := recordOf("ours", "line")
	require.Equal(t, idOf(ours), idOf(again("web_log/3/12", ours)), "a line's own position counts first")

	other := recordOf("foreign", "another line")
	require.NotEqual(t, idOf(foreign), idOf(again("web_log/3/12", other)), "nobody takes the id of another line")
}
