// Bare posts ready-made _bulk bodies from a folder, four at once, and ends: the
// limit of what an Elasticsearch takes of the same documents. It reads no
// verdict but the request's.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

const inFlight = 4

func main() {
	dir := flag.String("bodies", "", "folder of bodies")
	from := flag.String("from", "", "index that the bodies name")
	to := flag.String("to", "", "index that they go to")
	sink := flag.String("elasticsearch", "http://127.0.0.1:9200", "URL of the sink")
	flag.Parse()
	if err := run(*dir, *from, *to, *sink); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {} // the bench stops it once it has counted
}

func run(dir, from, to, sink string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}
	var group errgroup.Group
	group.SetLimit(inFlight)
	for _, path := range paths {
		group.Go(func() error {
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			body = bytes.ReplaceAll(body, []byte(`"_index":"`+from+`"`), []byte(`"_index":"`+to+`"`))
			return post(client, sink, body)
		})
	}
	return group.Wait()
}

func post(client *http.Client, sink string, body []byte) error {
	res, err := client.Post(sink+"/_bulk?filter_path=errors", "application/x-ndjson", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || string(answer) != `{"errors":false}` {
		return fmt.Errorf("post: %s: %.200s", res.Status, answer)
	}
	return nil
}
