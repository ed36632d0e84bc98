package app

import (
	"errors"
	"log/slog"

	"github.com/logferry/logferry/config"
)

// ErrLean is what [Up] returns in a build with the tag lean.
var ErrLean = errors.New("`up` is not in this build, which was made for hosts, without the servers that `up` starts (build tag lean)\n" +
	"a build with them: go install github.com/logferry/logferry/app/logferry@latest")

// UpOptions say where `up` keeps its state and listens.
type UpOptions struct {
	// Dir keeps all state.
	Dir string
	// Globs are shipped at once, to topic and index "logs".
	Globs []string
	// Ports; a port that is Fixed must be free, another one moves to the next free one.
	Etcd, Kafka, Elasticsearch, Search, Console Port
	Log                                         config.Log
	Logger                                      *slog.Logger
	// Ready is called once, when everything takes work.
	Ready func(Addresses)
}

// Port is a port of 127.0.0.1; 0 takes any free one.
type Port struct {
	Number int
	Fixed  bool
}

// Addresses are where everything listens. The JSON form is what
// `up --output json` prints.
type Addresses struct {
	Etcd          string `json:"etcd"`
	Kafka         string `json:"kafka"`
	Elasticsearch string `json:"elasticsearch"`
	Search        string `json:"search"`
	Console       string `json:"console"`
}
