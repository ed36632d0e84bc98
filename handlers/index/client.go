package index

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

const (
	pingTimeout = 10 * time.Second
	dialTimeout = 10 * time.Second

	// maxIdleConnections is above any sensible in_flight, so that each request
	// under way finds a warm connection.
	maxIdleConnections = 64
)

// Client speaks to one Elasticsearch cluster over go-elasticsearch's API and
// transport. It asks the addresses in turn, leaves out dead ones for a while,
// never looks for others, and never retries by itself. It is safe for
// concurrent use.
type Client struct {
	addresses []string // for people: scheme and host, no credentials
	gzip      bool
	api       *elastictransport.Client
	transport *http.Transport
	timeout   time.Duration // of one _bulk request
	logger    *slog.Logger
}

// NewClient returns a client; it opens no connection. The error names the
// address, certificate or key that cannot be used.
func NewClient(cfg config.Elasticsearch, logger *slog.Logger) (*Client, error) {
	c := &Client{gzip: cfg.Compression != "none", timeout: requestTimeout, logger: logger}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("elasticsearch.addresses is empty")
	}
	urls := make([]*url.URL, 0, len(cfg.Addresses))
	for _, address := range cfg.Addresses {
		u, err := url.Parse(strings.TrimRight(address, "/"))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			// The address may hold a password, so the error does not repeat it.
			return nil, errors.New("elasticsearch.addresses: an address looks like https://host:9200")
		}
		urls = append(urls, u)
		c.addresses = append(c.addresses, nameOf(u))
	}
	tlsConfig, err := clientTLS(cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("elasticsearch.tls: %w", err)
	}
	c.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConns:          0,
		MaxIdleConnsPerHost:   maxIdleConnections,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		// Small answers cost more to inflate than to read, and none is a bomb.
		DisableCompression: true,
	}
	c.api, err = elastictransport.NewClient(
		elastictransport.WithURLs(urls...),
		elastictransport.WithUserAgent("logferry"),
		elastictransport.WithAPIKey(string(cfg.APIKey)),
		elastictransport.WithBasicAuth(cfg.Username, string(cfg.Password)),
		elastictransport.WithDisableRetry(),
		elastictransport.WithTransport(c.transport),
		elastictransport.WithInterceptors(prepare),
	)
	if err != nil {
		return nil, fmt.Errorf("set up elasticsearch client: %w", err)
	}
	return c, nil
}

// Close closes idle connections and ends the watch over dead addresses. It is
// for when no request is under way any more: those that follow fail.
func (c *Client) Close() {
	_ = c.api.Close(context.Background()) // fails only when it is closed
	c.transport.CloseIdleConnections()
}

// Ping asks each address in turn who it is, until one answers. The error is
// unavailable, and says what was asked and where, and what came back. A server
// that does not say that it is Elasticsearch is logged and taken.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	var err error
	for range c.addresses {
		if err = c.ping(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return logs.AsUnavailable(fmt.Errorf("reach elasticsearch: %w", err))
	}
	return nil
}

func (c *Client) ping(ctx context.Context) error {
	w := &wire{}
	resp, err := esapi.InfoRequest{}.Do(context.WithValue(ctx, wireKey{}, w), c.api)
	if err != nil {
		return fmt.Errorf("%s: %w", w.where(c), err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s refuses the credentials: %s", w.where(c), describe(resp.StatusCode, body))
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("%s: %s", w.where(c), describe(resp.StatusCode, body))
	}
	if resp.Header.Get("X-Elastic-Product") != "Elasticsearch" {
		c.logger.WarnContext(ctx, "the server does not say that it is Elasticsearch", "address", w.where(c))
	}
	return nil
}

// nameOf names a server for people, without the credentials a URL may hold.
func nameOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

func clientTLS(cfg *config.TLS) (*tls.Config, error) {
	if cfg == nil {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %q holds no certificate", cfg.CAFile)
		}
	}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		// Read again for each handshake, so that a renewed certificate is taken.
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("load cert_file and key_file: %w", err)
		}
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return out, nil
}
