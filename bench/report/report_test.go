package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func sample() Results {
	rounds := []Round{{CPU: 500, Rate: 1_235_678, Peak: 5 << 20}, {CPU: 100, Rate: 10, Peak: 1 << 20}, {CPU: 300, Rate: 999, Peak: 3 << 20}}
	run := Run{Date: "2026-03-04", Commit: "abc", Machine: "2 cores", Load: "0.1", Versions: []string{"go", "linux"}, What: "3 lines"}
	programs := []Program{{Name: "limit", Title: "the limit", Rounds: rounds}, {Name: "logferry", Title: "ours", Rounds: rounds[:1]}}
	delay := Delay{Name: "logferry", Title: "ours", Percentiles: Percentiles([]float64{4, 1, 3, 2})}
	return Results{
		"ship":   {Run: run, Programs: programs},
		"index":  {Run: run, Programs: programs},
		"delay":  {Run: run, Delays: []Delay{delay}},
		"search": {Run: run, Delays: []Delay{delay}},
		"idle":   {Run: run, Idle: []Idle{{Name: "logferry", Title: "ours", Files: 1, Memory: 9 << 20, CPU: 0.001}, {Name: "rsyslog", Title: "theirs", Files: 1}}},
		"growth": {Run: run, Curves: []Curve{{
			Name: "files", Title: "Files", Of: "files", Item: "line", Items: 1000,
			Points: []Point{{X: 1, Cost: 500}, {X: 100, Cost: 5000}, {X: 10_000, Cost: 5500}},
		}}},
	}
}

func TestTheMedianAndTheRangeAreTold(t *testing.T) {
	tables := sample()["ship"].Tables()
	require.Contains(t, tables, "| the limit | 0.30 (0.10 to 0.50) µs | 1.00 | 999 (10 to 1,240,000) | 1.00 | 3 (1 to 5) MiB |\n")
	require.Contains(t, tables, "| ours | 0.50 µs | 1.67 | 1,240,000 | 1236.91 | 5 MiB |\n")
	require.Contains(t, tables, "<sub>3 lines. 2026-03-04 at abc, 2 cores, go, linux; load before it 0.1.</sub>")
}

func TestServersHaveTheirColumns(t *testing.T) {
	p := Part{Programs: []Program{
		{Title: "a", Rounds: []Round{{CPU: 1000, Rate: 1, Others: map[string]float64{"Kafka": 2000}}}},
		{Title: "b", Rounds: []Round{{CPU: 1000, Rate: 1}}},
	}}
	require.Contains(t, p.Tables(), "| peak RSS | CPU of Kafka |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	require.Contains(t, p.Tables(), "| a | 1.00 µs | 1.00 | 1 | 1.00 | 0 MiB | 2.00 µs |\n| b | 1.00 µs | 1.00 | 1 | 1.00 | 0 MiB | |\n")
}

func TestGrowthIsToldByItsSteepestStep(t *testing.T) {
	tables := sample()["growth"].Tables()
	require.Contains(t, tables, "**Files**, at most x^0.50 from one point to the next")
	require.Contains(t, tables, "| of the first | 1.00 | 10.00 | 11.00 |\n")
	require.Contains(t, tables, "| each further one, µs |  | 45 | 1 |\n")
}

func TestPercentilesAreOfAllValues(t *testing.T) {
	p := Percentiles([]float64{4, 1, 3, 2})
	require.Len(t, p, 101)
	require.Equal(t, []float64{1, 3, 4, 4}, []float64{p[0], p[50], p[99], p[100]})
}

func TestGroupedRoundsToThreeDigits(t *testing.T) {
	for want, n := range map[string]float64{"0": 0, "999": 999, "1,000": 1000, "12,300": 12345, "1,240,000": 1_235_678} {
		require.Equal(t, want, grouped(n))
	}
}

func TestAPageKeepsWhatPeopleWrote(t *testing.T) {
	r := Results{"idle": sample()["idle"]}
	page, err := r.Fill("before\n<!-- bench:idle -->\nold\n<!-- /bench:idle -->\nafter\n")
	require.NoError(t, err)
	require.Equal(t, "before\n<!-- bench:idle -->\n"+r["idle"].Tables()+"<!-- /bench:idle -->\nafter\n", page)
	again, err := r.Fill(page)
	require.NoError(t, err)
	require.Equal(t, page, again)
	_, err = r.Fill("<!-- bench:idle -->\n")
	require.ErrorContains(t, err, "<!-- /bench:idle -->")
}

func TestResultsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	r, err := Load(path)
	require.NoError(t, err)
	require.Empty(t, r)
	require.NoError(t, sample().Save(path))
	r, err = Load(path)
	require.NoError(t, err)
	require.Equal(t, sample(), r)
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = Load(path)
	require.ErrorContains(t, err, path)
}

func TestPicturesAreOfThePartsThatAreThere(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	delete(r, "idle")
	require.NoError(t, r.Draw(dir))
	require.NoFileExists(t, filepath.Join(dir, "bench-idle.svg"))
	for picture, words := range map[string][]string{
		"cost":   {"logferry", "µs of CPU a line", "0.50"},
		"delay":  {"From append to the sink", "ms", "100"},
		"growth": {"files, CPU a line", "linear", "10,000"},
	} {
		found := textsOf(t, filepath.Join(dir, "bench-"+picture+".svg"))
		require.Subset(t, found, words, picture)
	}
}

// textsOf are the texts of a picture, which must be XML.
func textsOf(t *testing.T, path string) (texts []string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	d := xml.NewDecoder(f)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		require.NoError(t, err)
		if chars, ok := token.(xml.CharData); ok {
			texts = append(texts, string(chars))
		}
	}
}
