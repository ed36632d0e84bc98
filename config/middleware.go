package config

// Retry is exponential backoff. Its interval is min_backoff * multiplier^n, at
// most max_backoff, with a share of jitter taken at random off either side.
type Retry struct {
	MinBackoff  Duration `yaml:"min_backoff"`   // default 100ms
	MaxBackoff  Duration `yaml:"max_backoff"`   // default 30s
	Multiplier  float64  `yaml:"multiplier"`    // default 2, at least 1
	Jitter      float64  `yaml:"jitter"`        // default 0.2, 0 to 1
	GiveUpAfter Duration `yaml:"give_up_after"` // default 0: never
}

// Throttle limits a rate by waiting; it never drops. 0 is no limit.
type Throttle struct {
	LinesPerSecond float64 `yaml:"lines_per_second"`
	BytesPerSecond Size    `yaml:"bytes_per_second"`
	// Burst is in lines; 0 is a tenth of a second's worth.
	Burst int `yaml:"burst"`
}

// Breaker stops asking a sink that fails: after Failures in a row it waits for
// OpenFor before one attempt probes it.
type Breaker struct {
	Failures int      `yaml:"failures"` // default 5
	OpenFor  Duration `yaml:"open_for"` // default 10s
}

// Poison says what becomes of a record that was refused for its own sake.
type Poison struct {
	Topic string `yaml:"topic"` // default logferry.poison
	// MaxRatio of refused documents among those of the last Window stops the route. Default 0.5.
	MaxRatio float64  `yaml:"max_ratio"`
	Window   Duration `yaml:"window"` // default 1m
	// OnReject is poison | drop | hold; default poison.
	OnReject string `yaml:"on_reject"`
}
