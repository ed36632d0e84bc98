package embedded

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIDsAreASet(t *testing.T) {
	dir := t.TempDir()
	s, err := openIDs(dir)
	require.NoError(t, err)
	model := make(map[idKey]bool)
	var h idHasher
	for range 200_000 {
		k := h.key("i", fmt.Sprint(rand.IntN(150_000)))
		if model[k] != s.has(k) || s.add(k) != nil {
			t.Fatal("key", k)
		}
		model[k] = true
	}
	require.Equal(t, len(model), s.len())
	s.close()
	s, err = openIDs(dir)
	require.NoError(t, err)
	defer s.close()
	require.Equal(t, len(model), s.len())
	for k := range model {
		if !s.has(k) {
			t.Fatal("key", k)
		}
	}
	require.False(t, s.has(h.key("j", "1")))
	require.NotEqual(t, h.key("a", "bc"), h.key("ab", "c"))
}

func TestJournalGivesWholeFramesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path)
	require.NoError(t, err)
	docs := []document{
		{index: "i", id: "1", source: []byte(`{"a":1}`), time: 5, opens: true},
		{index: "j", id: "", source: []byte{}, time: maxTime},
	}
	for range 3 {
		frame := newFrame(nil)
		for i := range docs {
			frame = appendDoc(frame, &docs[i])
		}
		sealFrame(frame)
		require.NoError(t, j.append(frame))
	}
	size := j.size
	require.NoError(t, j.close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, whole, int(size))

	frame := int(size) / 3
	for cut := range int(size) + 1 { // a kill may stop a write at any byte
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		j, err = openJournal(path)
		require.NoError(t, err)
		var got []document
		lost, err := j.replay(func(d *document) {
			d.index, d.id, d.source = string([]byte(d.index)), string([]byte(d.id)), append([]byte{}, d.source...)
			got = append(got, *d)
		})
		require.NoError(t, err)
		require.EqualValues(t, cut%frame, lost)
		require.Len(t, got, cut/frame*len(docs))
		for i := range got {
			require.Equal(t, docs[i%len(docs)], got[i])
		}
		require.EqualValues(t, cut/frame*frame, j.size)
		require.NoError(t, j.close())
	}
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]int64{
		"2026-03-04T05:06:07Z":                1772600767000000000,
		"2026-03-04T05:06:07.5":               1772600767500000000,
		"2026-03-04T05:06:07.000000001+01:00": 1772597167000000001,
		"1772600767123":                       1772600767123000000,
	} {
		got, ok := parseTime(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "yesterday", "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "-5", "99999999999999"} {
		_, ok := parseTime(text)
		require.False(t, ok, text)
	}
}
