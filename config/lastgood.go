package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// lastGoodName is of a role's own: an agent and a transfer may share a data_dir.
func lastGoodName(role string) string { return "last-good-" + role + ".json" }

type lastGood struct {
	Sum  string          `json:"sha256"`
	Docs json.RawMessage `json:"documents"`
}

// SaveLastGood keeps the documents of a role, "agent" or "transfer", in dir, a
// data_dir, so that a process starts with them while etcd is down. A crash at any instant leaves either the
// former ones or these.
func SaveLastGood(dir, role string, docs Docs) error {
	if err := saveLastGood(dir, lastGoodName(role), docs); err != nil {
		return fmt.Errorf("save last good config: %w", err)
	}
	return nil
}

func saveLastGood(dir, name string, docs Docs) error {
	body, err := json.Marshal(docs)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	data, err := json.Marshal(lastGood{hex.EncodeToString(sum[:]), body})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, name+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// LoadLastGood returns what SaveLastGood kept of a role in dir. The error is
// fs.ErrNotExist when it kept nothing yet; any other says that the file cannot
// be used, and the caller goes on without it.
func LoadLastGood(dir, role string) (Docs, error) {
	docs, err := loadLastGood(filepath.Join(dir, lastGoodName(role)))
	if err != nil {
		return Docs{}, fmt.Errorf("load last good config: %w", err)
	}
	return docs, nil
}

func loadLastGood(path string) (docs Docs, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return docs, err
	}
	var kept lastGood
	if err := json.Unmarshal(data, &kept); err != nil {
		return docs, fmt.Errorf("%s: %w", path, err)
	}
	if sum := sha256.Sum256(kept.Docs); hex.EncodeToString(sum[:]) != kept.Sum {
		return docs, fmt.Errorf("%s: checksum does not match", path)
	}
	return docs, json.Unmarshal(kept.Docs, &docs)
}
