package config

import (
	"io"
	"os"
)

// Load reads, decodes and checks a file. Its error is *Errors and lists all
// that is wrong.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, &Errors{All: []Error{{File: path, Reason: err.Error()}}}
	}
	return Parse(path, data)
}

// readFile reads a little more than a document may hold, whatever path is.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDocument+1))
}

// Parse decodes and checks the contents of a file; name is what errors call
// it. Empty data is a config of defaults. The environment and the files that
// data names (secrets, certificates) are read at each call.
func Parse(name string, data []byte) (*Config, error) {
	d := newDecoder(name)
	var c Config
	d.decode(data, &c)
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			d.fail("node", "the host's name cannot be read (%s); set it", err)
		}
		c.Node = host
	}
	c.check(d)
	if err := d.errs.orNil(); err != nil {
		return nil, err
	}
	return &c, nil
}
