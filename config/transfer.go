package config

// Transfer is what a transfer moves from Kafka to Elasticsearch.
type Transfer struct {
	Routes []Route `yaml:"routes"`
}

// Route is a set of topics that go to one index, or one family of indices.
type Route struct {
	// Name is unique among routes: letters, digits, '.', '_', '-', '/'.
	Name string `yaml:"name"`
	// Topics are names, or regular expressions between slashes.
	Topics []string `yaml:"topics"`
	Group  string   `yaml:"group"` // consumer group; default logferry
	// Index may hold {topic}, {node} and one date pattern such as {+2006.01.02},
	// which is filled in from @timestamp in UTC.
	Index string `yaml:"index"`
	// DataStream says that Index names a data stream.
	DataStream bool     `yaml:"data_stream"`
	Parse      string   `yaml:"parse"` // auto | json | text; default auto
	Batch      Batch    `yaml:"batch"`
	Retry      Retry    `yaml:"retry"`
	Throttle   Throttle `yaml:"throttle"`
	Breaker    Breaker  `yaml:"breaker"`
	Poison     Poison   `yaml:"poison"`
}

// Batch bounds one _bulk request, and how many are under way.
type Batch struct {
	MaxDocs  int      `yaml:"max_docs"`  // default 5000
	MaxBytes Size     `yaml:"max_bytes"` // default 5MiB
	MaxWait  Duration `yaml:"max_wait"`  // default 200ms
	InFlight int      `yaml:"in_flight"` // default 4
}
