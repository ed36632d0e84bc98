package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Load reads the files that the section names and returns the settings of a
// client: TLS 1.2 or later, the server's certificate verified. The client's
// own certificate is read again for each connection. A nil section is nil.
func (t *TLS) Load() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		certFile, keyFile := t.CertFile, t.KeyFile
		if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(certFile, keyFile)
			return &cert, err
		}
	}
	return c, nil
}

func (t *TLS) check(d *decoder, key string) {
	if t == nil {
		return
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		d.fail(key, "cert_file and key_file belong together; write both or neither")
		return
	}
	ca := TLS{CAFile: t.CAFile}
	if _, err := ca.Load(); err != nil {
		d.fail(key+".ca_file", "%s", err)
	}
	own := TLS{CertFile: t.CertFile, KeyFile: t.KeyFile}
	if _, err := own.Load(); err != nil {
		d.fail(key+".cert_file", "%s", err)
	}
}
