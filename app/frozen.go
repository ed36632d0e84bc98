package app

import (
	"reflect"

	"github.com/logferry/logferry/config"
)

// frozen names the keys that differ between two configs and that a running
// process cannot change.
func frozen(a, b *config.Config) []string {
	var keys []string
	for _, k := range []struct {
		name string
		a, b any
	}{
		{"node", a.Node, b.Node},
		{"labels", a.Labels, b.Labels},
		{"data_dir", a.DataDir, b.DataDir},
		{"shutdown_timeout", a.ShutdownTimeout, b.ShutdownTimeout},
		{"log", a.Log, b.Log},
		{"admin", a.Admin, b.Admin},
		{"etcd", a.Etcd, b.Etcd},
		{"kafka", a.Kafka, b.Kafka},
		{"elasticsearch", a.Elasticsearch, b.Elasticsearch},
		{"agent.allowed_paths", a.Agent.AllowedPaths, b.Agent.AllowedPaths},
		{"agent.max_in_flight_bytes", a.Agent.MaxInFlightBytes, b.Agent.MaxInFlightBytes},
		{"agent.max_open_files", a.Agent.MaxOpenFiles, b.Agent.MaxOpenFiles},
		{"agent.max_held_bytes", a.Agent.MaxHeldBytes, b.Agent.MaxHeldBytes},
		{"agent.max_held_time", a.Agent.MaxHeldTime, b.Agent.MaxHeldTime},
		{"transfer.max_in_flight_bytes", a.Transfer.MaxInFlightBytes, b.Transfer.MaxInFlightBytes},
	} {
		if !reflect.DeepEqual(k.a, k.b) {
			keys = append(keys, k.name)
		}
	}
	return keys
}
