package config

// Retry is exponential backoff. Its interval is min_backoff * multiplier^n, at
// most max_backoff, with a share of jitter taken at random off either side.
type Retry struct {
	// MinBackoff is the wait after the first failure.
	MinBackoff Duration `yaml:"min_backoff" default:"100ms" min:"1ms"`
	// MaxBackoff is the longest wait before jitter.
	MaxBackoff Duration `yaml:"max_backoff" default:"30s" min:"1ms"`
	// Multiplier is the growth from one wait to the next.
	Multiplier float64 `yaml:"multiplier" default:"2" min:"1" max:"100"`
	// Jitter is the share of a wait that is random.
	Jitter float64 `yaml:"jitter" default:"0.2" min:"0" max:"1"`
	// GiveUpAfter is how long to try; 0 is for ever. A sink that refuses
	// everybody is waited for whatever it says.
	GiveUpAfter Duration `yaml:"give_up_after" default:"0s" min:"0s"`
}

// Throttle limits a rate by waiting; it never drops. 0 is no limit. Each process
// counts for itself.
type Throttle struct {
	// LinesPerSecond is the rate in lines or records.
	LinesPerSecond float64 `yaml:"lines_per_second" default:"0" min:"0"`
	// BytesPerSecond is the rate in bytes of lines or values.
	BytesPerSecond Size `yaml:"bytes_per_second" default:"0B" min:"0"`
	// Burst is in lines: how many may pass at once after a pause; 0 is a tenth of a second's worth.
	Burst int `yaml:"burst" default:"0" min:"0"`
	// By says what each gets a rate of its own: the whole input or route, each file (path, of inputs),
	// each topic, or each partition (of routes).
	By string `yaml:"by" default:"all" enum:"all path topic partition"`
}

// Breaker stops asking a sink that fails: after Failures in a row it waits for
// OpenFor before one attempt probes it.
type Breaker struct {
	// Failures in a row open the breaker.
	Failures int `yaml:"failures" default:"5" min:"1"`
	// OpenFor is how long it stays open.
	OpenFor Duration `yaml:"open_for" default:"10s" min:"1ms"`
}

// Poison says what becomes of a record that was refused for its own sake.
type Poison struct {
	// Topic is where refused records go.
	Topic string `yaml:"topic" default:"logferry.poison"`
	// MaxRatio of refused documents among those of the last Window stops the
	// route, which then waits.
	MaxRatio float64 `yaml:"max_ratio" default:"0.5" min:"0" max:"1"`
	// Window is the time that MaxRatio looks back on.
	Window Duration `yaml:"window" default:"1m" min:"1s"`
	// OnReject sends a refused record to the poison topic; does that and indexes
	// it with the refused fields as the text of logferry.rescued; drops it
	// (counted); or holds the route.
	OnReject string `yaml:"on_reject" default:"poison" enum:"poison rescue drop hold"`
}

// DefaultPoisonTopic is where refused lines of the agent go, and refused
// records of routes that name no other topic.
const DefaultPoisonTopic = "logferry.poison"
