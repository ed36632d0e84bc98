// Package deploy holds what logferry is installed with; its tests keep that
// true to the code.
package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/logferry/logferry/config"
)

// find returns the files of a pattern, of which there must be some.
func find(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files, pattern)
	return files
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// documents decodes every YAML document of a file.
func documents[T any](t *testing.T, path string) []T {
	t.Helper()
	var all []T
	for d := yaml.NewDecoder(bytes.NewReader(read(t, path))); ; {
		var one T
		err := d.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err, path)
		all = append(all, one)
	}
}

// secrets makes a folder with every secret that the examples name.
func secrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"admin-token", "etcd-password", "kafka-password", "elasticsearch-api-key"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("s3cret"), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), read(t, "testdata/ca.pem"), 0o600))
	return dir
}

func TestExamplesLoad(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", secrets(t))
	for _, path := range append(find(t, "examples/*.yml"), find(t, "docker/*.yml")...) {
		c, err := config.Load(path)
		require.NoError(t, err, path)
		if strings.Contains(filepath.Base(path), "transfer") {
			require.NotEmpty(t, c.Transfer.Routes, path)
		} else if c.Etcd == nil {
			require.NotEmpty(t, c.Agent.Inputs, path)
		}
	}
}

func TestKubernetesConfigsLoad(t *testing.T) {
	t.Setenv("NODE_NAME", "node-1")
	dir := secrets(t)
	maps := documents[struct{ Data map[string]string }](t, "kubernetes/config.yml")
	require.Len(t, maps, 1)
	require.Len(t, maps[0].Data, 2)
	for name, text := range maps[0].Data {
		_, err := config.Parse(name, []byte(strings.ReplaceAll(text, "/run/secrets/logferry", dir)))
		require.NoError(t, err, name)
	}
}

type service struct {
	Image       string
	Build       struct{ Dockerfile string }
	Command     any
	Ports       []string
	Volumes     []string
	Environment map[string]string
	Healthcheck struct {
		Test    []string
		Retries int
	}
	DependsOn  map[string]struct{ Condition string } `yaml:"depends_on"`
	MemLimit   string                                `yaml:"mem_limit"`
	Privileged bool
}

type compose struct {
	Services map[string]service
	Volumes  map[string]any
}

func TestComposeKeepsToThisMachine(t *testing.T) {
	c := documents[compose](t, "../docker-compose.yml")[0]
	for name, s := range c.Services {
		for _, port := range s.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s publishes %s", name, port)
		}
		require.False(t, s.Privileged, name)
	}
}

func TestComposeIsWhole(t *testing.T) {
	c := documents[compose](t, "../docker-compose.yml")[0]
	for _, name := range []string{"kafka", "etcd", "elasticsearch", "kibana", "agent", "transfer"} {
		require.Contains(t, c.Services, name)
	}
	for name, s := range c.Services {
		require.NotEmpty(t, s.Healthcheck.Test, "%s has no health check", name)
		require.Positive(t, s.Healthcheck.Retries, name)
		require.NotEmpty(t, s.MemLimit, "%s has no memory limit", name)
		require.Regexp(t, `:[\w.-]+$`, s.Image, "%s names no version", name)
		require.NotContains(t, s.Image, "latest", name)
		for other, how := range s.DependsOn {
			require.Contains(t, c.Services, other)
			require.Equal(t, "service_healthy", how.Condition, "%s on %s", name, other)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			switch {
			case strings.HasPrefix(source, "./"):
				require.FileExists(t, filepath.Join("..", source))
			case !strings.HasPrefix(source, "$"):
				require.Contains(t, c.Volumes, source)
			}
		}
		if s.Build.Dockerfile != "" {
			require.FileExists(t, filepath.Join("..", s.Build.Dockerfile))
		}
	}
}

// Addresses in the services' configs are those of services.
func TestComposeConfigsNameItsServices(t *testing.T) {
	c := documents[compose](t, "../docker-compose.yml")[0]
	for _, path := range find(t, "docker/*.yml") {
		loaded, err := config.Load(path)
		require.NoError(t, err)
		for _, address := range append(loaded.Kafka.Brokers, loaded.Etcd.Endpoints...) {
			host, _, _ := strings.Cut(address, ":")
			require.Contains(t, c.Services, host, path)
		}
		advertised := c.Services["kafka"].Environment["KAFKA_ADVERTISED_LISTENERS"]
		require.Contains(t, advertised, "//"+loaded.Kafka.Brokers[0])
	}
}

type podSpec struct {
	Containers []struct {
		Name            string
		Args            []string
		LivenessProbe   map[string]any `yaml:"livenessProbe"`
		ReadinessProbe  map[string]any `yaml:"readinessProbe"`
		Resources       map[string]map[string]string
		SecurityContext struct {
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct{ Drop, Add []string }
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	Volumes []struct{ Name string }
	Grace   int `yaml:"terminationGracePeriodSeconds"`
}

func TestPodsAreProbedBoundedAndConfined(t *testing.T) {
	for _, path := range []string{"kubernetes/agent.yml", "kubernetes/transfer.yml"} {
		type workload struct {
			Kind string
			Spec struct{ Template struct{ Spec podSpec } }
		}
		w := documents[workload](t, path)[0]
		pod := w.Spec.Template.Spec
		require.Greater(t, pod.Grace, 30, "%s: shutdown_timeout must fit in", path)
		volumes := map[string]bool{}
		for _, v := range pod.Volumes {
			volumes[v.Name] = true
		}
		require.Len(t, pod.Containers, 1)
		c := pod.Containers[0]
		require.Equal(t, map[string]any{"path": "/healthz", "port": "admin"}, c.LivenessProbe["httpGet"])
		require.Equal(t, map[string]any{"path": "/readyz", "port": "admin"}, c.ReadinessProbe["httpGet"])
		require.NotEmpty(t, c.Resources["limits"]["memory"])
		require.NotNil(t, c.SecurityContext.AllowPrivilegeEscalation)
		require.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
		require.True(t, c.SecurityContext.ReadOnlyRootFilesystem)
		require.Equal(t, []string{"ALL"}, c.SecurityContext.Capabilities.Drop)
		require.Empty(t, c.SecurityContext.Capabilities.Add)
		for _, m := range c.VolumeMounts {
			require.True(t, volumes[m.Name], "%s: no volume %s", path, m.Name)
			require.Equal(t, m.Name != "data", m.ReadOnly, "%s: %s", path, m.MountPath)
		}
	}
}

func TestUnitsAreHardened(t *testing.T) {
	for _, path := range find(t, "systemd/*.service") {
		unit := string(read(t, path))
		for _, line := range []string{
			"NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "PrivateDevices=yes", "User=logferry",
			"MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service", "RestartPreventExitStatus=2", "StateDirectoryMode=0700",
		} {
			require.Contains(t, unit, "\n"+line+"\n", path)
		}
		require.Regexp(t, `(?m)^MemoryMax=`, unit)
		require.Regexp(t, `(?m)^LimitNOFILE=`, unit)
	}
}

func TestElasticFilesAreForTheIndicesOfTheExample(t *testing.T) {
	var template struct {
		Patterns []string `json:"index_patterns"`
		Template struct {
			Mappings struct{ Properties map[string]any }
		}
	}
	require.NoError(t, json.Unmarshal(read(t, "elastic/index-template.json"), &template))
	require.Contains(t, template.Template.Mappings.Properties, "@timestamp")
	var role struct {
		Indices []struct{ Names, Privileges []string }
	}
	require.NoError(t, json.Unmarshal(read(t, "elastic/role.json"), &role))
	require.Len(t, role.Indices, 1)
	require.NotContains(t, role.Indices[0].Privileges, "write")
	require.NotContains(t, role.Indices[0].Privileges, "all")

	t.Setenv("CREDENTIALS_DIRECTORY", secrets(t))
	c, err := config.Load("examples/transfer-secure.yml")
	require.NoError(t, err)
	require.Equal(t, c.Elasticsearch.AllowedIndices, template.Patterns)
	require.Equal(t, c.Elasticsearch.AllowedIndices, role.Indices[0].Names)
}
