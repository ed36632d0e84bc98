package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/VictoriaMetrics/VictoriaMetrics/app/vlselect"
	"github.com/VictoriaMetrics/VictoriaMetrics/app/vlstorage"
	vlogger "github.com/VictoriaMetrics/VictoriaMetrics/lib/logger"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/logstorage"
	"github.com/VictoriaMetrics/metrics"
)

// vlogsFlags are the settings of VictoriaLogs' own packages, which are
// variables of theirs and have no other way in.
var vlogsFlags = map[string]string{
	// A document's time decides where it lies, and one that is outside of the
	// retention would be dropped without a word.
	"retentionPeriod": "100y",
	"futureRetention": "100y",
	// How long rows stay in memory, and so how much of the journal is read
	// again after a kill, and how long a bulk waits when the journal is full.
	"inmemoryDataFlushInterval":     "1s",
	"storage.minFreeDiskSpaceBytes": "128MiB",
	// Not what is taken, but what caches and queries may take: a query that
	// tells a million lines apart needs 300 MiB.
	"memory.allowedBytes":     "1GiB",
	"http.disableCORS":        "true", // or any web page could read the logs
	"loggerLevel":             "WARN",
	"loggerDisableTimestamps": "true",
}

// vlogsOpen is true while a store has claimed the packages: there is one log
// storage in a process, in package variables.
var vlogsOpen atomic.Bool

// vlogs is VictoriaLogs' storage and query engine.
type vlogs struct{ dir string }

// openVlogs opens the storage in dir, which is made when absent. The packages
// must have been claimed.
func openVlogs(dir string) (*vlogs, error) {
	if err := flag.Set("storageDataPath", dir); err != nil {
		return nil, err
	}
	vlstorage.Init()
	vlselect.Init()
	return &vlogs{dir: dir}, nil
}

// claimVlogs takes VictoriaLogs' packages for one store, sets them up and lets
// them log to logger, until release.
func claimVlogs(logger *slog.Logger) (release func(), err error) {
	if !vlogsOpen.CompareAndSwap(false, true) {
		return nil, errors.New("this process has a log store already")
	}
	vlogger.SetOutputForTests(vlogsLog{logger})
	release = func() {
		vlogger.ResetOutputForTest()
		vlogsOpen.Store(false)
	}
	if !flag.Parsed() {
		// The packages insist; our own flags are Cobra's and not these.
		if err := flag.CommandLine.Parse(nil); err != nil {
			release()
			return nil, err
		}
	}
	for name, value := range vlogsFlags {
		if err := flag.Set(name, value); err != nil {
			release()
			return nil, fmt.Errorf("set -%s: %w", name, err)
		}
	}
	return release, nil
}

// close writes what is in memory and closes the storage. Nobody may be using it.
func (v *vlogs) close() {
	vlselect.Stop()
	vlstorage.Stop()
}

// writable gives an error while the disk is too full to write.
func (v *vlogs) writable() error {
	s := vlstorage.Storage{}
	return s.CanWriteData()
}

func (v *vlogs) add(rows *logstorage.LogRows) {
	s := vlstorage.Storage{}
	s.MustAddRows(rows)
}

// flush makes all rows that were added visible to queries. It does not make
// them durable.
func (v *vlogs) flush() {
	vlstorage.RequestHandler(discardResponse{}, &http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Path: "/internal/force_flush"},
		Header: http.Header{},
	})
}

// durable tells whether all rows, and the streams they belong to, are in files.
// It is exact when nothing is being added and flush was called since.
func (v *vlogs) durable() (bool, error) {
	before, err := held()
	if err != nil {
		return false, err
	}
	onDisk, err := v.filed()
	if err != nil {
		return false, err
	}
	after, err := held()
	return err == nil && before == after && before == onDisk, err
}

// contents counts rows and the entries of the stream index.
type contents struct{ rows, entries int64 }

// held counts what the storage has, in memory and in files.
func held() (contents, error) {
	var out bytes.Buffer
	metrics.WritePrometheus(&out, false)
	var c contents
	for line := range strings.Lines(out.String()) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		to := &c.rows
		switch {
		case strings.HasPrefix(name, "vl_storage_rows{"):
		case name == "vl_indexdb_rows":
			to = &c.entries
		default:
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return c, fmt.Errorf("read the storage's counters: %w", err)
		}
		*to += n
	}
	return c, nil
}

// filed counts what the storage's files have.
func (v *vlogs) filed() (contents, error) {
	var c contents
	days, err := os.ReadDir(filepath.Join(v.dir, "partitions"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	for _, day := range days {
		dir := filepath.Join(v.dir, "partitions", day.Name())
		rows, err := countParts(filepath.Join(dir, "datadb"))
		if err != nil {
			return c, err
		}
		entries, err := countParts(filepath.Join(dir, "indexdb"))
		if err != nil {
			return c, err
		}
		c.rows += rows
		c.entries += entries
	}
	return c, nil
}

// countParts adds up the parts that dir's list names. One that was merged away
// since the list was read is left out; the counts differ then, as they should.
func countParts(dir string) (n int64, err error) {
	var names []string
	if err := readJSON(filepath.Join(dir, "parts.json"), &names); err != nil {
		return 0, err
	}
	for _, name := range names {
		var part struct{ RowsCount, ItemsCount int64 }
		if err := readJSON(filepath.Join(dir, name, "metadata.json"), &part); err != nil {
			return 0, err
		}
		n += part.RowsCount + part.ItemsCount
	}
	return n, nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// query runs a LogsQL query over documents from time from to time to, both
// included, in nanoseconds since 1970. Block is called by several goroutines at
// once with the values of the columns asked for, which it may not keep.
func (v *vlogs) query(ctx context.Context, logsql string, from, to int64, block func(columns [][]string), names ...string) error {
	q, err := logstorage.ParseQuery(logsql)
	if err != nil {
		return fmt.Errorf("parse query %q: %w", logsql, err)
	}
	q.AddTimeFilter(from, to)
	return vlstorage.RunQuery(ctx, []logstorage.TenantID{{}}, q, func(_ uint, db *logstorage.DataBlock) {
		columns := make([][]string, len(names))
		for i, name := range names {
			for _, c := range db.Columns {
				if c.Name == name {
					columns[i] = c.Values
				}
			}
			if columns[i] == nil {
				columns[i] = make([]string, db.RowsCount())
			}
		}
		block(columns)
	})
}

// vlogsLog takes the lines that VictoriaLogs logs: level, place, message.
type vlogsLog struct{ logger *slog.Logger }

func (l vlogsLog) Write(line []byte) (int, error) {
	level, rest, _ := strings.Cut(strings.TrimSpace(string(line)), "\t")
	_, message, _ := strings.Cut(rest, "\t")
	if level == "warn" {
		l.logger.Warn(message, "server", "logs")
	} else {
		l.logger.Error(message, "server", "logs")
	}
	return len(line), nil
}

type discardResponse struct{}

func (discardResponse) Header() http.Header         { return http.Header{} }
func (discardResponse) Write(p []byte) (int, error) { return len(p), nil }
func (discardResponse) WriteHeader(int)             {}
