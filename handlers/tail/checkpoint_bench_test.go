package tail

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkCheckpoint is the record of one file's progress, and a whole
// checkpoint of a thousand files, which waits for the disk.
func BenchmarkCheckpoint(b *testing.B) {
	open := func(b *testing.B) *keeper {
		c, err := openCheckpoint(b.TempDir(), slog.New(slog.DiscardHandler))
		require.NoError(b, err)
		b.Cleanup(c.keeper.close)
		require.NoError(b, c.keeper.snapshot([]byte(journalHeader)))
		b.ReportAllocs()
		return c.keeper
	}
	b.Run("record", func(b *testing.B) {
		k, e := open(b), entryOf(1, 1)
		var record []byte
		for b.Loop() {
			record = appendEntry(record[:0], e)
			if err := k.write(write{data: record}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("whole", func(b *testing.B) {
		k, entries := open(b), make([]*entry, 1000)
		for i := range entries {
			entries[i] = entryOf(i, 1)
		}
		var data []byte
		for b.Loop() {
			data = append(data[:0], journalHeader...)
			for _, e := range entries {
				data = appendEntry(data, e)
			}
			if err := k.write(write{data: data, snapshot: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
