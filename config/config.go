// Package config is what logferry was told: the file's sections as typed
// values, their defaults, and their rules. It imports nothing of logferry.
package config

// Config is one process's configuration. It is immutable once loaded: a
// reload makes another one.
type Config struct {
	// Node is the name of this host in records, documents and status. Default: the host's name.
	Node string `yaml:"node"`
	// DataDir holds checkpoints, the last good config and, for `up`, the servers' data. Default: ./logferry-data.
	DataDir string `yaml:"data_dir"`
	// ShutdownTimeout is how long a shutdown waits for what is in flight. Default: 30s.
	ShutdownTimeout Duration `yaml:"shutdown_timeout"`
	Log             Log      `yaml:"log"`
	Admin           Admin    `yaml:"admin"`
	// Etcd is nil when the process runs from its file alone.
	Etcd          *Etcd         `yaml:"etcd"`
	Kafka         Kafka         `yaml:"kafka"`
	Elasticsearch Elasticsearch `yaml:"elasticsearch"`
	Agent         Agent         `yaml:"agent"`
	Transfer      Transfer      `yaml:"transfer"`
}

// Log says how the process logs to standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug | info | warn | error; default info
	Format string `yaml:"format"` // text | json; default text
}

// Admin is the HTTP address for health, metrics and the API.
type Admin struct {
	// Listen is host:port. Default: 127.0.0.1:7070. Port 0 takes any free one. Empty: no admin server.
	Listen string `yaml:"listen"`
	// TokenFile holds the bearer token that callers must send. A Listen address that is not loopback needs one.
	TokenFile string `yaml:"token_file"`
}

// TLS turns TLS on for a connection when it is not nil; an empty section uses the system's roots.
type TLS struct {
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName overrides the name that the certificate must carry.
	ServerName string `yaml:"server_name"`
}

// Etcd is the connection to the live config. All of it is read from the local file alone.
type Etcd struct {
	Endpoints []string `yaml:"endpoints"` // default [127.0.0.1:2379]
	Prefix    string   `yaml:"prefix"`    // default /logferry/v1
	SeedKey   string   `yaml:"seed_key"`  // default /collect_log_conf
	Username  string   `yaml:"username"`
	Password  Secret   `yaml:"password"` // or password_file
	TLS       *TLS     `yaml:"tls"`
}

// Kafka is the connection to the brokers.
type Kafka struct {
	Brokers     []string `yaml:"brokers"` // default [127.0.0.1:9092]
	TLS         *TLS     `yaml:"tls"`
	SASL        *SASL    `yaml:"sasl"`
	Compression string   `yaml:"compression"` // none | gzip | snappy | lz4 | zstd; default lz4
}

// SASL is a login at the brokers.
type SASL struct {
	Mechanism string `yaml:"mechanism"` // PLAIN | SCRAM-SHA-256 | SCRAM-SHA-512
	Username  string `yaml:"username"`
	Password  Secret `yaml:"password"` // or password_file
}

// Elasticsearch is the connection to the cluster.
type Elasticsearch struct {
	Addresses   []string `yaml:"addresses"` // default [http://127.0.0.1:9200]
	APIKey      Secret   `yaml:"api_key"`   // or api_key_file
	Username    string   `yaml:"username"`
	Password    Secret   `yaml:"password"` // or password_file
	TLS         *TLS     `yaml:"tls"`
	Compression string   `yaml:"compression"` // none | gzip; default gzip
	// AllowedIndices are globs (* and ?) of index names that routes may produce. Never from etcd. Default ['*'].
	AllowedIndices []string `yaml:"allowed_indices"`
}
