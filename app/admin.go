package app

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/logferry/logferry/config"
)

// Service is what the admin server shows of an agent or a transfer.
type Service interface {
	prometheus.Collector
	// Ready returns nil when the service does its work, or what it waits for.
	Ready() error
	// Status returns what /api/status shows; it marshals to JSON.
	Status() any
}

// Admin serves health, metrics and the API on one address.
type Admin struct {
	listener net.Listener
	server   *http.Server
	log      *slog.Logger
}

// NewAdmin listens on the configured address. services are named for the API:
// "agent", "transfer". It returns nil when no address is configured.
func NewAdmin(c config.Admin, services map[string]Service, log *slog.Logger) (*Admin, error) {
	if c.Listen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on admin.listen: %w", err)
	}
	return newAdmin(l, c.TokenFile, services, log)
}

func newAdmin(l net.Listener, tokenFile string, services map[string]Service, log *slog.Logger) (*Admin, error) {
	var token string
	if tokenFile != "" {
		raw, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read admin.token_file: %w", err), l.Close())
		}
		token = strings.TrimSpace(string(raw))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, s := range services {
		registry.MustRegister(s)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { readyz(w, services) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) { status(w, services) })
	return &Admin{
		listener: l,
		log:      log,
		server: &http.Server{
			Handler:           guard(mux, token),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      60 * time.Second,
			MaxHeaderBytes:    64 << 10,
		},
	}, nil
}

// Addr returns the address that it listens on.
func (a *Admin) Addr() string { return a.listener.Addr().String() }

// Run serves until ctx ends.
func (a *Admin) Run(ctx context.Context) error {
	a.log.Info("admin server listens", "address", a.Addr())
	stopped := context.AfterFunc(ctx, func() { _ = a.server.Close() })
	defer stopped()
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin: %w", err)
	}
	return nil
}

// guard lets in who sends the token, or, without one, who names this host by a
// loopback name: a page of another site cannot reach it by rebinding its name.
// Health needs no token, so that probes can ask.
func guard(next http.Handler, token string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
		case token == "":
			if !loopback(r.Host) {
				http.Error(w, "this address answers to loopback names only", http.StatusForbidden)
				return
			}
		case subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+token)) != 1:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a bearer token is needed: admin.token_file holds it", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

func readyz(w http.ResponseWriter, services map[string]Service) {
	var waiting []string
	for name, s := range services {
		if err := s.Ready(); err != nil {
			waiting = append(waiting, name+": "+err.Error())
		}
	}
	if len(waiting) > 0 {
		http.Error(w, strings.Join(waiting, "\n"), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func status(w http.ResponseWriter, services map[string]Service) {
	all := map[string]any{}
	for name, s := range services {
		all[name] = s.Status()
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(all); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// RunWithAdmin runs a service with its admin server, which may be nil, until
// ctx ends and the service has settled; health is served to the very end.
func RunWithAdmin(ctx context.Context, service func(context.Context) error, admin *Admin) error {
	if admin == nil {
		return service(ctx)
	}
	var (
		g   group
		err error
	)
	g.untilDone(ctx)
	g.add(context.Background(), "service", func(ctx context.Context) error {
		err = service(ctx)
		return err
	}, nil)
	g.add(context.Background(), "admin", admin.Run, nil)
	if failed := g.wait(); failed != nil {
		return failed
	}
	return err
}
