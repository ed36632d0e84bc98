package config

// Transfer is what a transfer moves from Kafka to Elasticsearch.
type Transfer struct {
	// MaxInFlightBytes bounds the memory of what is under way over all routes:
	// three quarters are for records that were read and are not settled, half
	// of that divided equally among the routes, and a quarter is for bodies of
	// requests.
	MaxInFlightBytes Size `yaml:"max_in_flight_bytes" local:"true" default:"256MiB" min:"8MiB"`
	// Routes are the ways from topics to indices.
	Routes []Route `yaml:"routes"`
}

// Route is a set of topics that go to one index, or one family of indices.
type Route struct {
	// Name is unique among routes: letters, digits, '.', '_', '-', '/'.
	Name string `yaml:"name" required:"true"`
	// Topics are names, or regular expressions (RE2) between slashes. Two
	// routes of one group cannot name the same topic.
	Topics []string `yaml:"topics" required:"true"`
	// Group is the consumer group.
	Group string `yaml:"group" default:"logferry"`
	// Index is an index, alias or data stream. It may hold {topic}, {node} and
	// one date pattern such as {+2006.01.02}, which is filled in from
	// @timestamp in UTC.
	Index string `yaml:"index" required:"true"`
	// DataStream says that Index names a data stream.
	DataStream bool `yaml:"data_stream" default:"false"`
	// Parse says what a record's value is; auto takes a JSON object as the
	// document itself and any other line as its message.
	Parse string `yaml:"parse" default:"auto" enum:"auto json text"`
	// Batch bounds one _bulk request.
	Batch Batch `yaml:"batch"`
	// Retry is what happens when Elasticsearch does not take a document for now.
	Retry Retry `yaml:"retry"`
	// Throttle limits the rate of this route.
	Throttle Throttle `yaml:"throttle"`
	// Breaker stops asking an Elasticsearch that fails.
	Breaker Breaker `yaml:"breaker"`
	// Poison is what happens to refused documents.
	Poison Poison `yaml:"poison"`
}

// Batch bounds one _bulk request, and how many are under way.
type Batch struct {
	// MaxDocs is the most documents in one request.
	MaxDocs int `yaml:"max_docs" default:"5000" min:"1" max:"100000"`
	// MaxBytes is the size of one request's body before compression; one
	// larger document still goes alone.
	MaxBytes Size `yaml:"max_bytes" default:"5MiB" min:"1KiB" max:"100MiB"`
	// MaxWait is how long the first document waits for others.
	MaxWait Duration `yaml:"max_wait" default:"200ms" min:"0s" max:"1m"`
	// InFlight is how many requests are under way at once.
	InFlight int `yaml:"in_flight" default:"4" min:"1" max:"64"`
}
