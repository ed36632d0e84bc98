package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// writeCertificate makes cert.pem and key.pem in dir.
func writeCertificate(t *testing.T, dir string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

// Each bad file has a .txt with the errors that it must give beside it; run
// with UPDATE=1 to write them, and read what was written.
func TestCorpus(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir)
	t.Setenv("LOGFERRY_TEST_DIR", dir)
	t.Setenv("LOGFERRY_TEST_BROKER", "127.0.0.1:9092")

	good, err := filepath.Glob("testdata/*.good.yml")
	require.NoError(t, err)
	require.NotEmpty(t, good)
	for _, path := range good {
		_, err := Load(path)
		require.NoError(t, err)
	}
	bad, err := filepath.Glob("testdata/*.bad.yml")
	require.NoError(t, err)
	require.NotEmpty(t, bad)
	for _, path := range bad {
		c, err := Load(path)
		require.IsType(t, &Errors{}, err, path)
		require.Nil(t, c)
		got := strings.ReplaceAll(err.Error(), dir, "DIR") + "\n"
		expected := strings.TrimSuffix(path, ".yml") + ".txt"
		if os.Getenv("UPDATE") != "" {
			require.NoError(t, os.WriteFile(expected, []byte(got), 0o644))
		}
		want, err := os.ReadFile(expected)
		require.NoError(t, err)
		require.Equal(t, string(want), got, path)
		require.NotContains(t, got, "hunter2", "a secret is in an error")
	}
}
