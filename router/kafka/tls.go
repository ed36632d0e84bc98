package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/logferry/logferry/config"
)

// clientTLS reads the files of cfg. Its own certificate is read again for each
// connection.
func clientTLS(cfg *config.TLS) (*tls.Config, error) {
	c, err := cfg.Load()
	if err != nil {
		return nil, fmt.Errorf("read ca_file, cert_file and key_file: %w", err)
	}
	return c, nil
}

// tlsDialer reads the certificates to trust again for each connection, so that
// renewed ones are used without a restart. The name that the broker's
// certificate must carry is that of its address, unless cfg overrides it.
func tlsDialer(cfg *config.TLS) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := clientTLS(cfg)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return (&tls.Dialer{Config: c}).DialContext(ctx, network, addr)
	}
}
