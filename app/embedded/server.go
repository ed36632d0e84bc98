package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/logferry/logferry/app/embedded/local"
)

// server is one HTTP server on the loopback interface.
type server struct {
	http     *http.Server
	addr     string
	end      context.CancelFunc // ends the requests that are running
	requests sync.WaitGroup
	loop     sync.WaitGroup
}

func serve(addr string, h http.Handler, logger *slog.Logger) (*server, error) {
	l, err := local.Listen(addr, false)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	s := &server{addr: l.Addr().String(), end: end}
	s.http = &http.Server{
		Handler:           s.count(onlyLocal(h)),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	s.loop.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("serve", "address", s.addr, "error", err)
		}
	})
	return s, nil
}

func (s *server) url() string { return "http://" + s.addr }

// close takes no new requests, gives those that run a moment, and waits for the
// last to return.
func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		_ = s.http.Shutdown(ctx)
	}()
	s.end()
	<-idle
	_ = s.http.Close()
	s.requests.Wait()
	s.loop.Wait()
}

// count lets close wait for requests whose connections it has closed.
func (s *server) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		defer s.requests.Done()
		h.ServeHTTP(w, r)
	})
}

// onlyLocal refuses requests that name another host: a web page whose own name
// was made to point at this machine would otherwise read everything here.
func onlyLocal(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r.Host) {
			http.Error(w, fmt.Sprintf("%q is not a name of this server; use 127.0.0.1 or localhost", clip(r.Host)), http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(trimBrackets(host))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func trimBrackets(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
