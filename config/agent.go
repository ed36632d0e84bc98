package config

// Agent is what an agent reads and publishes.
type Agent struct {
	// AllowedPaths are roots that no input can leave. Unset: any path when
	// there is no etcd, /var/log when there is.
	AllowedPaths []string `yaml:"allowed_paths" local:"true"`
	// AllowedTopics are globs (* and ?) of the topics that inputs may name.
	AllowedTopics []string `yaml:"allowed_topics" local:"true" default:"*"`
	// MaxInFlightBytes bounds what was read and is not acknowledged yet, over all inputs.
	MaxInFlightBytes Size `yaml:"max_in_flight_bytes" local:"true" default:"64MiB" min:"1MiB"`
	// MaxOpenFiles is how many files are held open at once; those that were quiet for longest are
	// closed first, and opened again. 0: half of the process's limit.
	MaxOpenFiles int `yaml:"max_open_files" local:"true" default:"0" min:"0"`
	// MaxHeldBytes and MaxHeldTime bound what deleted files, read through a handle because Kafka does
	// not take their lines fast enough, may keep of the disk, and for how long. Beyond, the oldest is
	// let go; what is lost of it is logged and counted.
	MaxHeldBytes Size `yaml:"max_held_bytes" local:"true" default:"1GiB" min:"0B"`
	// MaxHeldTime is the same as a time.
	MaxHeldTime Duration `yaml:"max_held_time" local:"true" default:"1h" min:"0s"`
	// Inputs are the files to read.
	Inputs []Input `yaml:"inputs"`
}

// Input is a set of files that go to one topic.
type Input struct {
	// Name is unique among inputs: letters, digits, '.', '_', '-', '/'.
	Name string `yaml:"name" required:"true"`
	// Type is what the paths name: regular files, or named pipes, whose paths are names without globs.
	Type string `yaml:"type" default:"file" enum:"file pipe"`
	// Paths are file names or globs; '**' stands for any number of folders.
	Paths []string `yaml:"paths" required:"true"`
	// Exclude are globs; one without a slash is matched against the last element of the path.
	Exclude []string `yaml:"exclude"`
	// Topic may hold {node}, {input}, {path.base} (last element of the path), {path.name} (the
	// same without its extension) and {path.dir} (name of the folder it is in).
	Topic string `yaml:"topic" required:"true"`
	// Key is what the records' key is made from: the file's identity, the node, or nothing.
	Key string `yaml:"key" default:"file" enum:"file node none"`
	// StartAt is where a file begins that was first seen when this input had no checkpoint.
	StartAt string `yaml:"start_at" default:"beginning" enum:"beginning end"`
	// MaxLineBytes is the most that one record holds of a line. Up to 1MiB it is 1,000,000 bytes
	// at most, since brokers as they come take 1,048,588 with key, headers and compression.
	MaxLineBytes Size `yaml:"max_line_bytes" default:"1MiB" min:"64B" max:"64MiB"`
	// OnLongLine says what becomes of a longer line: several records, or one with its end cut off.
	OnLongLine string `yaml:"on_long_line" default:"split" enum:"split truncate"`
	// Encoding is what the files are written in; lines are turned into UTF-8. utf-8 itself is passed
	// on byte by byte, whatever it holds.
	Encoding string `yaml:"encoding" default:"utf-8" enum:"utf-8 utf-16le utf-16be gb18030 latin1"`
	// Format is what wraps each line: nothing, the log files of Kubernetes' container runtimes, or
	// Docker's json-file driver. A line that is not in the format is passed on as it is.
	Format string `yaml:"format" default:"raw" enum:"raw cri docker"`
	// Multiline joins lines that belong together; a preset's name may stand for the section.
	Multiline Multiline `yaml:"multiline" word:"preset"`
	// RotateWait is how long a renamed or removed file must be quiet before it is closed.
	RotateWait Duration `yaml:"rotate_wait" default:"5s" min:"0s"`
	// CloseInactive is how long a file must be quiet before its handle is closed; growth opens it again.
	CloseInactive Duration `yaml:"close_inactive" default:"5m" min:"1s"`
	// Retry is what happens when Kafka does not take a batch.
	Retry Retry `yaml:"retry"`
	// Throttle limits the rate of this input.
	Throttle Throttle `yaml:"throttle"`
}
