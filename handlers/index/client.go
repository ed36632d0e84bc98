package index

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/klauspost/compress/gzip"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

const (
	// requestTimeout bounds one _bulk request. What a request that ran into it
	// has stored is found again as conflicts.
	requestTimeout = time.Minute
	pingTimeout    = 10 * time.Second

	// maxIdleConnections is above any sensible in_flight, so that each request
	// under way finds a warm connection.
	maxIdleConnections = 64

	// gzipLevel 1 takes a third of the CPU of the default level and leaves logs
	// a tenth larger.
	gzipLevel = 1
)

// filterPath asks for the part of an answer that verdicts are made of. Each
// item keeps its status, so none vanishes.
var filterPath = []string{
	"errors",
	"items.*.status",
	"items.*.failure_store",
	"items.*.error.type",
	"items.*.error.reason",
	"items.*.error.caused_by.reason",
}

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
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
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
	c.api, err = elastictransport.New(elastictransport.Config{
		URLs:         urls,
		UserAgent:    "logferry",
		APIKey:       string(cfg.APIKey),
		Username:     cfg.Username,
		Password:     string(cfg.Password),
		DisableRetry: true,
		Transport:    c.transport,
		Interceptors: []elastictransport.InterceptorFunc{prepare},
	})
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

// wire carries a request body through the transport, and what became of it
// back.
type wire struct {
	body   []byte
	read   int
	host   string
	closed atomic.Bool
}

type wireKey struct{}

// Read and Close are called by the HTTP transport alone.
func (w *wire) Read(p []byte) (int, error) {
	if w.read == len(w.body) {
		return 0, io.EOF
	}
	n := copy(p, w.body[w.read:])
	w.read += n
	return n, nil
}

// Close says that the transport will not read the body any more, which can be
// after the answer has come.
func (w *wire) Close() error {
	w.closed.Store(true)
	return nil
}

func (w *wire) where(c *Client) string {
	if w.host != "" {
		return w.host
	}
	return strings.Join(c.addresses, ", ")
}

// prepare notes where a request goes, and says how long its body is, which
// esapi cannot know.
func prepare(next elastictransport.RoundTripFunc) elastictransport.RoundTripFunc {
	return func(req *http.Request) (*http.Response, error) {
		if w, ok := req.Context().Value(wireKey{}).(*wire); ok {
			w.host = nameOf(req.URL)
		}
		if w, ok := req.Body.(*wire); ok {
			req.ContentLength = int64(len(w.body))
		}
		return next(req)
	}
}

// answer is what came back for one _bulk request.
type answer struct {
	status     int
	body       []byte
	retryAfter time.Duration
	where      string
	sent       int // bytes on the wire
}

// exchange is the memory of one request under way. Its owner uses it for one
// request after the other.
type exchange struct {
	packed   []byte
	answered []byte
	zip      *gzip.Writer
}

// bulk posts one body. It returns when the answer was read, at most limit
// bytes of it, and says whether body may be used again: not while the
// transport might still read from it. The error is from the connection.
func (c *Client) bulk(ctx context.Context, body []byte, limit int64, x *exchange) (a answer, reusable bool, err error) {
	within, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	w := &wire{body: body}
	req := esapi.BulkRequest{Body: w, FilterPath: filterPath}
	if c.gzip {
		x.pack(body)
		// esapi makes this very map the request's, and the transport writes the
		// credentials into it.
		w.body, req.Header = x.packed, http.Header{"Content-Encoding": {"gzip"}}
	}
	a.sent = len(w.body)
	resp, err := req.Do(context.WithValue(within, wireKey{}, w), c.api)
	a.where = w.where(c)
	if err == nil {
		a.status = resp.StatusCode
		a.retryAfter = retryAfter(resp.Header.Get("Retry-After"))
		x.answered, err = readAll(x.answered[:0], resp.Body, limit)
		a.body = x.answered
		_ = resp.Body.Close()
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %v", c.timeout)
	}
	reusable = w.closed.Load()
	if c.gzip {
		if !reusable {
			x.packed = nil
		}
		reusable = true
	}
	return a, reusable, err
}

func (x *exchange) pack(body []byte) {
	out := sink{x.packed[:0]}
	if x.zip == nil {
		x.zip, _ = gzip.NewWriterLevel(&out, gzipLevel) // the level is valid
	} else {
		x.zip.Reset(&out)
	}
	_, _ = x.zip.Write(body) // a sink takes everything
	_ = x.zip.Close()
	x.packed = out.b
}

type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// errTooLong says that an answer was longer than any honest one.
var errTooLong = errors.New("the answer is too long")

func readAll(dst []byte, r io.Reader, limit int64) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, make([]byte, max(4096, len(dst)))...)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if int64(len(dst)) > limit {
			return dst, errTooLong
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, fmt.Errorf("read the answer: %w", err)
		}
	}
}

// retryAfter reads the header's seconds; its date form is rare and left alone.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.Atoi(strings.TrimSpace(header))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Minute)
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
