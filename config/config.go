// Package config is what logferry was told: the file's sections as typed
// values, their defaults, and their rules. It imports nothing of logferry.
//
// The tags of a field are its rules: yaml is its key, default its value when
// the key is absent, enum its words, min and max its range, required and
// local what they say. docs/configuration.md is generated from the types,
// their comments and these tags.
package config

//go:generate go run ./internal/gendoc

// Config is one process's configuration. It is immutable once loaded: a
// reload makes another one.
type Config struct {
	// Node is the name of this host in records, documents and status. Unset: the host's name.
	Node string `yaml:"node"`
	// Labels say what kind of host this is, such as {zone: a, tier: web}. An agent also reads
	// the documents `<prefix>/agent/labels/<key>=<value>` of its labels.
	Labels map[string]string `yaml:"labels"`
	// DataDir holds checkpoints, the last good config and, for `up`, the servers' data.
	DataDir string `yaml:"data_dir" default:"./logferry-data"`
	// ShutdownTimeout is how long a shutdown waits for what is in flight.
	ShutdownTimeout Duration `yaml:"shutdown_timeout" default:"30s" min:"0s"`
	// Log is about the process's own log.
	Log Log `yaml:"log"`
	// Admin is the address for health, metrics and the API.
	Admin Admin `yaml:"admin"`
	// Etcd turns on live config; leave it out to run from the file alone.
	Etcd *Etcd `yaml:"etcd"`
	// Kafka is the connection to the brokers.
	Kafka Kafka `yaml:"kafka"`
	// Elasticsearch is the connection to the cluster.
	Elasticsearch Elasticsearch `yaml:"elasticsearch"`
	// Agent is read by agents alone.
	Agent Agent `yaml:"agent"`
	// Transfer is read by transfers alone.
	Transfer Transfer `yaml:"transfer"`
}

// Log says how the process logs to standard error.
type Log struct {
	// Level is the least severe level that is written.
	Level string `yaml:"level" default:"info" enum:"debug info warn error"`
	// Format is for people or for programs.
	Format string `yaml:"format" default:"text" enum:"text json"`
}

// Admin is the HTTP address for health, metrics and the API.
type Admin struct {
	// Listen is host:port. Port 0 takes any free one. Empty: no admin server.
	Listen string `yaml:"listen" default:"127.0.0.1:7070"`
	// TokenFile holds the bearer token that callers must send. A Listen
	// address that is not loopback needs one.
	TokenFile string `yaml:"token_file"`
}

// TLS turns TLS on for a connection. An empty section (`tls: {}`) uses the
// system's roots; certificates are read again for each connection.
type TLS struct {
	// CAFile holds PEM certificates to trust instead of the system's roots.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client's certificate and key, in PEM; both or neither.
	CertFile string `yaml:"cert_file"`
	// KeyFile belongs to CertFile.
	KeyFile string `yaml:"key_file"`
	// ServerName overrides the name that the server's certificate must carry.
	ServerName string `yaml:"server_name"`
}

// Etcd is the connection to the live config.
type Etcd struct {
	// Endpoints are host:port, or URLs.
	Endpoints []string `yaml:"endpoints" default:"127.0.0.1:2379"`
	// Prefix is where the documents are.
	Prefix string `yaml:"prefix" default:"/logferry/v1"`
	// SeedKey holds the list of paths and topics. Empty: no seed.
	SeedKey string `yaml:"seed_key" default:"/collect_log_conf"`
	// ReportEvery is how often a process says how it is, if there is anything new. Large fleets
	// raise it (5s for each 2,500 processes), and all that they do at etcd at once spreads with it:
	// answers to a change over a 25th of it. A process is gone when it has not been heard of for
	// that long, but no less than 15s and no more than 1m.
	ReportEvery Duration `yaml:"report_every" default:"5s" min:"1s" max:"10m"`
	// Username may read the live documents, and write below `<prefix>/status`, `<prefix>/last` and `<prefix>/rates`.
	Username string `yaml:"username"`
	// Password belongs to Username.
	Password Secret `yaml:"password"`
	// TLS is needed when the endpoints speak it.
	TLS *TLS `yaml:"tls"`
}

// Kafka is the connection to the brokers.
type Kafka struct {
	// Brokers are host:port; one that answers is enough to find the others.
	Brokers []string `yaml:"brokers" default:"127.0.0.1:9092"`
	// TLS is needed when the brokers speak it.
	TLS *TLS `yaml:"tls"`
	// SASL is a login, if the brokers ask for one.
	SASL *SASL `yaml:"sasl"`
	// Compression of what is produced.
	Compression string `yaml:"compression" default:"lz4" enum:"none gzip snappy lz4 zstd"`
}

// SASL is a login at the brokers.
type SASL struct {
	// Mechanism is what the brokers offer.
	Mechanism string `yaml:"mechanism" required:"true" enum:"PLAIN SCRAM-SHA-256 SCRAM-SHA-512"`
	// Username is the user's name.
	Username string `yaml:"username" required:"true"`
	// Password is the user's password.
	Password Secret `yaml:"password" required:"true"`
}

// Elasticsearch is the connection to the cluster.
type Elasticsearch struct {
	// Addresses are http or https URLs, without user and password.
	Addresses []string `yaml:"addresses" default:"http://127.0.0.1:9200"`
	// APIKey is the encoded form that Elasticsearch gave out; it excludes Username.
	APIKey Secret `yaml:"api_key"`
	// Username is for basic authentication.
	Username string `yaml:"username"`
	// Password belongs to Username.
	Password Secret `yaml:"password"`
	// TLS says whom to trust and who we are, for https addresses.
	TLS *TLS `yaml:"tls"`
	// Compression of request bodies.
	Compression string `yaml:"compression" default:"gzip" enum:"none gzip"`
	// AllowedIndices are globs (* and ?) of the index names that routes may produce.
	AllowedIndices []string `yaml:"allowed_indices" default:"*"`
}
