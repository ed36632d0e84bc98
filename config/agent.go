package config

// Agent is what an agent reads and publishes.
type Agent struct {
	// AllowedPaths are roots that no input can leave. From the local file alone.
	// Default: any path when there is no etcd, /var/log when there is.
	AllowedPaths []string `yaml:"allowed_paths"`
	// AllowedTopics are globs (* and ?) of topics that inputs may name. From the local file alone. Default ['*'].
	AllowedTopics []string `yaml:"allowed_topics"`
	// MaxInFlightBytes bounds what was read and is not acknowledged yet. From the local file alone. Default 64MiB.
	MaxInFlightBytes Size    `yaml:"max_in_flight_bytes"`
	Inputs           []Input `yaml:"inputs"`
}

// Input is a set of files that go to one topic.
type Input struct {
	// Name is unique among inputs: letters, digits, '.', '_', '-', '/'.
	Name string `yaml:"name"`
	// Paths are names or doublestar globs.
	Paths []string `yaml:"paths"`
	// Exclude are globs; one without a slash is matched against the last element of the path.
	Exclude []string `yaml:"exclude"`
	// Topic may hold {node}, {input}, {path.base} (last element), {path.name} (the same
	// without its extension) and {path.dir} (name of the folder it is in).
	Topic string `yaml:"topic"`
	Key   string `yaml:"key"` // file | node | none; default file
	// StartAt is for files first seen when this input has no checkpoint: beginning | end; default beginning.
	StartAt       string   `yaml:"start_at"`
	MaxLineBytes  Size     `yaml:"max_line_bytes"` // default 1MiB
	OnLongLine    string   `yaml:"on_long_line"`   // split | truncate; default split
	RotateWait    Duration `yaml:"rotate_wait"`    // default 5s
	CloseInactive Duration `yaml:"close_inactive"` // default 5m
	Retry         Retry    `yaml:"retry"`
	Throttle      Throttle `yaml:"throttle"`
}
