package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/klauspost/compress/gzip"
)

const (
	// requestTimeout bounds one _bulk request. What a request that ran into it
	// has stored is found again as conflicts.
	requestTimeout = time.Minute

	// gzipLevel 1 takes 0.6 µs for a typical document and leaves an eighth of
	// it; level 6 takes 1.4 µs for a tenth less, and the transport's own
	// compressor, compress/gzip, 1.2 µs at level 1.
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

// rest returns up to n bytes that were not read, and counts them as read.
func (w *wire) rest(n int64) []byte {
	b := w.body[w.read:]
	b = b[:min(int64(len(b)), n)]
	w.read += len(b)
	return b
}

// conn writes a request's body as it lies, in one call. The transport's own way
// copies it through a buffer of 32 KiB: a write for each, and more time for
// the copies than making the document's id takes. TLS has its own way.
type conn struct{ *net.TCPConn }

// ReadFrom is called by the HTTP transport to send a body.
func (c conn) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if w, ok := limited.R.(*wire); ok {
			n, err := c.Write(w.rest(limited.N))
			limited.N -= int64(n)
			return int64(n), err
		}
	}
	return c.TCPConn.ReadFrom(r)
}

// dial connects for the HTTP transport.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	c, err := d.DialContext(ctx, network, address)
	if tcp, ok := c.(*net.TCPConn); ok {
		return conn{tcp}, err
	}
	return c, err
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
		err = fmt.Errorf("%w within %v", errNoAnswer, c.timeout)
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

// errNoAnswer says that a request was given up.
var errNoAnswer = errors.New("no answer")

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
