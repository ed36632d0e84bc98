package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.cert, a.key = a.sign(template, "ca", nil)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// sign writes NAME.pem and NAME.key.
func (a *authority) sign(template *x509.Certificate, name string, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	issuer, issuerKey := template, key
	if parent != nil {
		issuer, issuerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	require.NoError(a.t, os.WriteFile(a.path(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(a.t, os.WriteFile(a.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}

// leaf signs a certificate for a host, an address or a DNS name.
func (a *authority) leaf(name, host string, until time.Time) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	a.sign(template, name, a)
	pair, err := tls.LoadX509KeyPair(a.path(name+".pem"), a.path(name+".key"))
	require.NoError(a.t, err)
	return pair
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// requireAllAgree asks each kind of client for the same verdict: ours, and the
// one that letters are sent by.
func requireAllAgree(t *testing.T, cfg config.Kafka, refusal string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	err := Ping(ctx, cfg)
	letterErr := newLetters(t, cfg).Publish("t", message.NewMessage("id", []byte("letter")))
	p := newPublisher(t, cfg)
	if refusal != "" {
		p.limits.timeout = 200 * time.Millisecond
	}
	publishErr := p.Publish("t", batchMessage(ctx, batchOf("k", "one")))
	if refusal == "" {
		require.NoError(t, err)
		require.NoError(t, letterErr)
		require.NoError(t, publishErr)
		require.ElementsMatch(t, []string{"letter", "one"}, valuesOf(read(t, cfg, "t", 2)))
		return
	}
	require.ErrorContains(t, err, refusal)
	require.ErrorContains(t, publishErr, refusal)
	require.Error(t, letterErr)
	require.Equal(t, logs.Unavailable, logs.KindOf(publishErr), "it may be mended: lines wait")
}

func TestWhomTLSBelieves(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	good := &config.TLS{CAFile: ca.path("ca.pem")}
	for name, c := range map[string]struct {
		server  tls.Certificate
		client  *config.TLS
		refusal string
	}{
		"right":           {ca.leaf("a", "127.0.0.1", inAnHour()), good, ""},
		"another name":    {ca.leaf("b", "10.0.0.9", inAnHour()), good, "10.0.0.9"},
		"name overridden": {ca.leaf("c", "kafka.example", inAnHour()), &config.TLS{CAFile: good.CAFile, ServerName: "kafka.example"}, ""},
		"expired":         {ca.leaf("d", "127.0.0.1", time.Now().Add(-time.Minute)), good, "expired"},
		"unknown signer":  {stranger.leaf("e", "127.0.0.1", inAnHour()), good, "unknown authority"},
		"system's roots":  {ca.leaf("f", "127.0.0.1", inAnHour()), &config.TLS{}, "unknown authority"},
		"no TLS at all":   {ca.leaf("g", "127.0.0.1", inAnHour()), nil, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, cfg := broker(t, kfake.SeedTopics(1, "t"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{c.server}}))
			cfg.TLS = c.client
			requireAllAgree(t, cfg, c.refusal)
		})
	}
}

func TestABrokerThatAsksWhoWeAre(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	_, cfg := broker(t, kfake.SeedTopics(1, "t"), kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{ca.leaf("server", "127.0.0.1", inAnHour())},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	}))
	cfg.TLS = &config.TLS{CAFile: ca.path("ca.pem")}
	requireAllAgree(t, cfg, "certificate required")

	stranger.leaf("client", "client", inAnHour())
	cfg.TLS = &config.TLS{CAFile: cfg.TLS.CAFile, CertFile: stranger.path("client.pem"), KeyFile: stranger.path("client.key")}
	ours := newPublisher(t, cfg)
	ours.limits.timeout = 200 * time.Millisecond
	letters := newLetters(t, cfg)
	require.Error(t, ours.Publish("t", batchMessage(context.Background(), batchOf("k", "one"))))
	require.Error(t, letters.Publish("t", message.NewMessage("id", []byte("letter"))))

	// The certificate is renewed, and the same clients heal.
	ca.leaf("client", "client", inAnHour())
	for _, end := range []string{"client.pem", "client.key"} {
		require.NoError(t, os.Rename(ca.path(end), stranger.path(end)))
	}
	require.Eventually(t, func() bool {
		return ours.Publish("t", batchMessage(context.Background(), batchOf("k", "one"))) == nil
	}, wait, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		return letters.Publish("t", message.NewMessage("id", []byte("letter"))) == nil
	}, wait, 10*time.Millisecond)
	require.NoError(t, Ping(context.Background(), cfg))
}
