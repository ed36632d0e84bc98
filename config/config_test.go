package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDefaults(t *testing.T) {
	c, err := Parse("x", nil)
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host, c.Node)
	require.Nil(t, c.Etcd)
	require.Nil(t, c.Agent.AllowedPaths)
	require.Equal(t, []string{"*"}, c.Agent.AllowedTopics)
	require.Equal(t, Size(64<<20), c.Agent.MaxInFlightBytes)
	require.Equal(t, 30*time.Second, c.ShutdownTimeout.D())

	c, err = Parse("x", []byte("etcd: {}\nagent: {inputs: [{name: a, paths: [a], topic: a, retry: {jitter: 0}}]}"))
	require.NoError(t, err)
	require.Equal(t, []string{"/var/log"}, c.Agent.AllowedPaths)
	c.Node, c.Labels = "n", map[string]string{"zone": "z", "tier": "web"}
	require.Equal(t, []string{
		"/logferry/v1/agent", "/logferry/v1/agent/labels/tier=web", "/logferry/v1/agent/labels/zone=z",
		"/logferry/v1/agent/nodes/n", "/collect_log_conf",
		"/logferry/v1/canary/agent", "/logferry/v1/canary/agent/labels/tier=web", "/logferry/v1/canary/agent/labels/zone=z",
	}, c.AgentKeys().All())
	require.Equal(t, []string{"/logferry/v1/transfer", "/collect_log_conf", "/logferry/v1/canary/transfer"}, c.TransferKeys().All())
	in := Default[Input]()
	in.Name, in.Paths, in.Topic, in.Retry.Jitter = "a", []string{"a"}, "a", 0
	require.Equal(t, in, c.Agent.Inputs[0])
	require.Equal(t, Retry{Duration(100 * time.Millisecond), Duration(30 * time.Second), 2, 0, 0}, in.Retry)
}

func TestAllowedPathsAreAbsolute(t *testing.T) {
	c, err := Parse("x", []byte("agent: {allowed_paths: [logs/../x, /var/log/]}"))
	require.NoError(t, err)
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(here, "x"), "/var/log"}, c.Agent.AllowedPaths)
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "512": 512, "512B": 512, "64KiB": 64 << 10, "5 MiB": 5 << 20, "1gib": 1 << 30, "1TiB": 1 << 40,
		"1KB": 1000, "3MB": 3e6, "-1B": -1, "8388607TiB": 8388607 << 40,
	} {
		got, err := ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		again, err := ParseSize(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, text := range []string{"", "B", "x", "1.5MiB", "64K", "+1", "8388608TiB", "1 2", "1KiBKiB", "0x10"} {
		_, err := ParseSize(text)
		require.Error(t, err, text)
	}
	require.Equal(t, "64MiB", Size(64<<20).String())
	require.Equal(t, "1025B", Size(1025).String())
	require.Equal(t, "0B", Size(0).String())
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 5 * time.Minute: "5m", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 200 * time.Millisecond: "200ms",
	} {
		require.Equal(t, want, Duration(d).String())
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(path, []byte("hunter2\n"), 0o600))
	data := fmt.Sprintf("elasticsearch: {username: u, password_file: %s}\nkafka: {sasl: {mechanism: PLAIN, username: u, password: hunter3}}", path)
	c, err := Parse("x", []byte(data))
	require.NoError(t, err)
	require.Equal(t, "hunter2", string(c.Elasticsearch.Password))
	var out bytes.Buffer
	asJSON, err := json.Marshal(c)
	require.NoError(t, err)
	fmt.Fprintf(&out, "%v %+v %#v %s %s", c, c, c.Elasticsearch, c.Kafka.SASL.Password, asJSON)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", c.Elasticsearch.Password, "all", c.Elasticsearch)
	require.NotContains(t, out.String(), "hunter")

	require.NoError(t, os.WriteFile(path, []byte("renewed"), 0o600))
	c, err = Parse("x", []byte(data))
	require.NoError(t, err)
	require.Equal(t, "renewed", string(c.Elasticsearch.Password))
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LOGFERRY_TEST_A", "a")
	t.Setenv("LOGFERRY_TEST_EMPTY", "")
	for text, want := range map[string]string{
		"x${LOGFERRY_TEST_A}y":                 "xay",
		"${LOGFERRY_TEST_A}${LOGFERRY_TEST_A}": "aa",
		"${LOGFERRY_TEST_NONE:-b:-c}":          "b:-c",
		"${LOGFERRY_TEST_EMPTY:-d}":            "d",
		"${LOGFERRY_TEST_EMPTY}":               "",
		"${LOGFERRY_TEST_NONE:-}":              "",
		"$${LOGFERRY_TEST_A} $1 {$}":           "${LOGFERRY_TEST_A} $1 {$}",
	} {
		got, err := expandEnv(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"${LOGFERRY_TEST_NONE}", "${", "${}", "${:-a}", "${a b}"} {
		_, err := expandEnv(text)
		require.Error(t, err, text)
	}
	t.Setenv("LOGFERRY_TEST_N", "7")
	c, err := Parse("x", []byte("shutdown_timeout: ${LOGFERRY_TEST_N}s"))
	require.NoError(t, err)
	require.Equal(t, 7*time.Second, c.ShutdownTimeout.D())
}

func TestAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("agent: {inputs: [&a {name: a, topic: a, paths: &p [")
	b.WriteString(strings.Repeat("x, ", 999) + "x]}")
	b.WriteString(strings.Repeat(", *a", 999) + "]}")
	_, err := Parse("x", []byte(b.String()))
	require.ErrorContains(t, err, "more than 200000 values")
}

// Whatever the outside bytes are, the answer is an error of bounded size, and soon.
func TestHostileDocuments(t *testing.T) {
	const n = maxDocument
	many := func(s string) string { return strings.Repeat(s, n/len(s)) }
	var keys strings.Builder
	for i := 0; keys.Len() < n-20; i++ {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for name, data := range map[string]string{
		"brackets": many("["), "braces": many("{"), "dashes": many("- "), "keys": keys.String(), "question": many("? "),
		"anchors": "&" + many("a"), "quotes": many("\""), "colons": many(": "), "list": "agent: {inputs: [" + many("a,") + "]}",
		"tags": many("!!a "), "comment": many("#\n"), "large": many("x") + "xxx",
	} {
		started := time.Now()
		_, err := Parse("x", []byte(data[:min(len(data), n+3)]))
		if name != "comment" {
			require.Error(t, err, name)
			require.Less(t, len(err.Error()), 2<<20, name)
		}
		t.Log(name, time.Since(started))
	}
}

func FuzzParse(f *testing.F) {
	corpus, _ := filepath.Glob("testdata/*.yml")
	for _, path := range corpus {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	base, err := Parse("base", []byte("etcd: {}"))
	require.NoError(f, err)
	f.Add([]byte(`"no\e[31m\nde": 1`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("x", data)
		require.Equal(t, err == nil, c != nil)
		if err != nil {
			require.NotEmpty(t, err.(*Errors).All)
			for _, one := range err.(*Errors).All {
				require.Less(t, len(one.Error()), 2*maxText+200)
				require.NotContains(t, one.Error(), "\x1b")
				require.NotContains(t, one.Error(), "\n")
			}
		}
		for _, docs := range []Docs{
			{Agent: &Document{"agent", data, 1}},
			{Transfer: &Document{"transfer", data, 1}},
			{Seed: &Document{"seed", data, 1}},
		} {
			c, used, err := Resolve(base, docs, Docs{})
			require.NotNil(t, c)
			require.Equal(t, err == nil, used.Equal(docs))
			for _, r := range c.Transfer.Routes {
				for _, topic := range r.Topics {
					require.NoError(t, checkIndexTemplate(r.Index, strings.Trim(topic, "/"), []string{"*"}))
				}
			}
		}
	})
}

func TestLastGood(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, err := LoadLastGood(dir, "agent")
	require.ErrorIs(t, err, fs.ErrNotExist)
	docs := Docs{Agent: &Document{"/a", []byte("\xff\x00"), 3}, Labels: []*Document{doc("/l", "x")}, Seed: &Document{"/s", []byte("[]"), 9}}
	for range 2 {
		require.NoError(t, SaveLastGood(dir, "agent", docs))
	}
	got, err := LoadLastGood(dir, "agent")
	require.NoError(t, err)
	require.True(t, docs.Equal(got))
	require.Equal(t, int64(9), got.Revision())
	_, err = LoadLastGood(dir, "transfer")
	require.ErrorIs(t, err, fs.ErrNotExist)

	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1, "no temporary file stays")
	path := filepath.Join(dir, files[0].Name())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for n := range whole {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		_, err := LoadLastGood(dir, "agent")
		require.Error(t, err, "cut at %d", n)
	}
	require.NoError(t, os.WriteFile(path, bytes.Replace(whole, []byte(`:9}`), []byte(`:8}`), 1), 0o600))
	_, err = LoadLastGood(dir, "agent")
	require.ErrorContains(t, err, "checksum")
}
