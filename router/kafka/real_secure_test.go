//go:build real

package kafka

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// secureBroker starts a broker of the test's own that speaks TLS and asks for a
// login, and returns how to reach it with TLS, and without either.
func secureBroker(t *testing.T) (secure, open config.Kafka) {
	t.Helper()
	script := os.Getenv("LOGFERRY_SERVERS")
	if script == "" {
		t.Skip("LOGFERRY_SERVERS names no script that a broker can be started with")
	}
	installed := os.Getenv("SERVERS_HOME")
	if installed == "" {
		user, err := os.UserHomeDir()
		require.NoError(t, err)
		installed = filepath.Join(user, ".cache", "logferry-servers")
	}
	home := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(installed, "dist"), filepath.Join(home, "dist")))
	ports := freePorts(t, 3)
	ca := newAuthority(t)
	ca.leaf("server", "127.0.0.1", inAnHour())
	key, err := os.ReadFile(ca.path("server.key"))
	require.NoError(t, err)
	cert, err := os.ReadFile(ca.path("server.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ca.path("store.pem"), slices.Concat(key, cert), 0o600))
	properties := fmt.Sprintf(`
listeners=PLAINTEXT://127.0.0.1:%[1]d,SECURE://127.0.0.1:%[2]d,CONTROLLER://127.0.0.1:%[3]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d,SECURE://127.0.0.1:%[2]d
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=%[4]s
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="secret";
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
`, ports[0], ports[1], ports[2], ca.path("store.pem"))
	run := func(command string) {
		cmd := exec.Command(script, command, "kafka")
		cmd.Env = append(os.Environ(), "SERVERS_HOME="+home, fmt.Sprint("KAFKA_PORT=", ports[0]),
			fmt.Sprint("KAFKA_CONTROLLER_PORT=", ports[2]), "KAFKA_PROPERTIES="+properties)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	t.Cleanup(func() { run("stop") })
	run("start")
	address := func(port int) config.Kafka {
		return config.Kafka{Brokers: []string{fmt.Sprint("127.0.0.1:", port)}, Compression: "lz4"}
	}
	secure, open = address(ports[1]), address(ports[0])
	secure.TLS = &config.TLS{CAFile: ca.path("ca.pem")}
	return secure, open
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}

func TestRealTLSAndLogin(t *testing.T) {
	ctx := context.Background()
	secure, open := secureBroker(t)
	cl, err := NewClient(open)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		altered, err := admin(cl).AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: "ann", Mechanism: m, Iterations: 4096, Password: "secret"}})
		require.NoError(t, err)
		require.NoError(t, altered.Error())
	}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			topic := "test-" + watermill.NewShortUUID()
			_, err := admin(cl).CreateTopic(ctx, 1, 1, nil, topic)
			require.NoError(t, err)
			cfg := secure
			cfg.SASL = &config.SASL{Mechanism: mechanism, Username: "ann", Password: "secret"}
			require.NoError(t, Ping(ctx, cfg))
			require.NoError(t, newPublisher(t, cfg).Publish(topic, batchMessage(ctx, batchOf("k", "one"))))
			require.NoError(t, newLetters(t, cfg).Publish(topic, message.NewMessage("id", []byte("two"))))
			s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{topic}, Group: topic})
			require.Equal(t, []string{"one", "two"}, collect(t, ch, 2))
			require.NoError(t, s.Drain(ctx))

			cfg.SASL = &config.SASL{Mechanism: mechanism, Username: "ann", Password: "xyzzy"}
			err = Ping(ctx, cfg)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "xyzzy")
			p := newPublisher(t, cfg)
			p.limits.timeout = 200 * time.Millisecond
			require.Equal(t, logs.Unavailable, logs.KindOf(p.Publish(topic, batchMessage(ctx, batchOf("k", "three")))))
			require.Error(t, newLetters(t, cfg).Publish(topic, message.NewMessage("id", []byte("four"))))
		})
	}
	plain := secure
	plain.TLS, plain.SASL = nil, &config.SASL{Mechanism: "PLAIN", Username: "ann", Password: "secret"}
	require.Error(t, Ping(ctx, plain), "nobody tells a password without TLS where the broker speaks it")
	anonymous := secure
	require.Error(t, Ping(ctx, anonymous))
}
