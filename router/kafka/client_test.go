package kafka

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func TestLoginByEachMechanism(t *testing.T) {
	for _, m := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(m, func(t *testing.T) {
			t.Parallel()
			_, cfg := broker(t, kfake.EnableSASL(), kfake.Superuser(m, "ann", "secret"), kfake.SeedTopics(1, "t"))
			cfg.SASL = &config.SASL{Mechanism: m, Username: "ann", Password: "secret"}
			require.NoError(t, Ping(context.Background(), cfg))
			require.NoError(t, newPublisher(t, cfg).Publish("t", batchMessage(context.Background(), batchOf("k", "one"))))
			require.NoError(t, newLetters(t, cfg).Publish("t", message.NewMessage("id", []byte("two"))))
			require.Equal(t, []string{"one", "two"}, valuesOf(read(t, cfg, "t", 2)))

			cfg.SASL = &config.SASL{Mechanism: m, Username: "ann", Password: "xyzzy"}
			err := Ping(context.Background(), cfg)
			require.ErrorContains(t, err, "login")
			require.NotContains(t, err.Error(), "xyzzy")
			p := newPublisher(t, cfg)
			p.limits.timeout = 200 * time.Millisecond
			err = p.Publish("t", batchMessage(context.Background(), batchOf("k", "one")))
			require.Equal(t, logs.Unavailable, logs.KindOf(err))
			require.ErrorContains(t, err, "connect to kafka broker")
		})
	}
}

// TestARefusedLoginIsNoAnswer refuses a login in words, as Kafka does, and not
// by hanging up: that says nothing about the topic.
func TestARefusedLoginIsNoAnswer(t *testing.T) {
	t.Parallel()
	c, cfg := broker(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "ann", "secret"), kfake.SeedTopics(1, "t"))
	cfg.SASL = &config.SASL{Mechanism: "PLAIN", Username: "ann", Password: "secret"}
	var refused atomic.Bool
	refused.Store(true)
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !refused.Load() {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	p := newPublisher(t, cfg)
	p.limits.timeout = time.Second
	b := batchOf("k", "one")
	err := p.Publish("t", batchMessage(context.Background(), b))
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	require.ErrorContains(t, err, "SASL")
	_, learned := p.limits.known.Load("t")
	require.False(t, learned)
	refused.Store(false)
	require.Eventually(t, func() bool { return p.Publish("t", batchMessage(context.Background(), b)) == nil }, wait, 10*time.Millisecond)
	require.Equal(t, []string{"one"}, valuesOf(read(t, cfg, "t", 1)))
}

func TestPingSaysWhatIsAbsent(t *testing.T) {
	c, cfg := broker(t)
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := Ping(ctx, cfg)
	require.ErrorContains(t, err, "refused")
	require.ErrorContains(t, err, cfg.Brokers[0])
	_, err = NewClient(config.Kafka{})
	require.Error(t, err)
	_, err = NewClient(config.Kafka{Brokers: []string{"x:1"}, TLS: &config.TLS{CAFile: "/absent"}})
	require.ErrorContains(t, err, "ca_file")
}

func TestRightsThatComeLater(t *testing.T) {
	t.Parallel()
	read := kfake.ACL{
		Resource: kmsg.ACLResourceTypeGroup, Name: "g", Pattern: kmsg.ACLResourcePatternTypeLiteral,
		Operation: kmsg.ACLOperationRead, Allow: true,
	}
	_, cfg := broker(t, kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "root", "root"), kfake.User("PLAIN", "ann", "secret", read))
	root := cfg
	root.SASL = &config.SASL{Mechanism: "PLAIN", Username: "root", Password: "root"}
	cfg.SASL = &config.SASL{Mechanism: "PLAIN", Username: "ann", Password: "secret"}
	p := newPublisher(t, cfg)
	b := batchOf("k", "one")
	err := p.Publish("t", batchMessage(context.Background(), b))
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
	s, ch := subscribe(t, cfg, SubscriberOptions{Topics: []string{"t"}})
	require.Eventually(t, func() bool { return strings.Contains(s.Stats().LastError, "AUTHORIZATION") }, wait, 10*time.Millisecond)

	cl, err := NewClient(root)
	require.NoError(t, err)
	defer cl.Close()
	_, err = admin(cl).CreateACLs(context.Background(), kadm.NewACLs().Topics("t").ResourcePatternType(kadm.ACLPatternLiteral).
		Operations(kadm.OpAll).Allow("User:ann").AllowHosts("*"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return p.Publish("t", batchMessage(context.Background(), b)) == nil
	}, wait, 10*time.Millisecond)
	require.Equal(t, []string{"one"}, collect(t, ch, 1))
}
