//go:build !lean

package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/logferry/logferry/app/embedded"
	"github.com/logferry/logferry/app/embedded/broker"
	"github.com/logferry/logferry/app/embedded/local"
	"github.com/logferry/logferry/config"
)

// Lean says that this build has no servers for [Up].
const Lean = false

// Up runs everything in one process until ctx ends. The services are the ones
// of production; only the servers are embedded, and the config that points at
// them is written to Dir.
//
//	etcd, broker, store     first up, last down
//	config file             points at the three
//	transfer, agent         as in production; the agent stops first
//	admin                   health and metrics of both
func Up(ctx context.Context, o UpOptions) (err error) {
	limitMemory(upMemory)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("make --dir: %w", err)
	}
	servers, err := startServers(&o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.close()) }()

	path := filepath.Join(o.Dir, "up.yaml")
	if err := writeUpConfig(path, &o, servers.addresses); err != nil {
		return err
	}
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	transfer, err := NewTransfer(c, "", o.Logger)
	if err != nil {
		return err
	}
	agent, err := NewAgent(c, "", o.Logger)
	if err != nil {
		return err
	}
	admin, err := newAdmin(servers.admin, "", map[string]Service{"agent": agent, "transfer": transfer}, o.Logger)
	if err != nil {
		return err
	}
	return runUp(ctx, agent, transfer, admin, func() { o.Ready(servers.addresses) })
}

func runUp(ctx context.Context, agent *Agent, transfer *Transfer, admin *Admin, ready func()) error {
	var (
		g        group
		errs     [2]error
		services = []Service{transfer, agent}
	)
	g.untilDone(ctx)
	background := context.Background()
	g.add(background, "ready", func(ctx context.Context) error { return whenReady(ctx, services, ready) }, nil)
	g.add(background, "agent", func(ctx context.Context) error {
		errs[0] = agent.Run(ctx)
		return errs[0]
	}, nil)
	g.add(background, "transfer", func(ctx context.Context) error {
		errs[1] = transfer.Run(ctx)
		return errs[1]
	}, nil)
	g.add(background, "admin", admin.Run, nil)
	if err := g.wait(); err != nil {
		return err
	}
	return errors.Join(errs[:]...)
}

// whenReady calls f once all services are ready, unless ctx ends before.
func whenReady(ctx context.Context, services []Service, f func()) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ready := true
		for _, s := range services {
			ready = ready && s.Ready() == nil
		}
		if ready {
			f()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// servers are the embedded ones.
type servers struct {
	addresses Addresses
	admin     net.Listener
	closers   []func() error
}

func startServers(o *UpOptions) (s *servers, err error) {
	s = &servers{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.admin, err = local.Listen(o.Console.addr(), !o.Console.Fixed)
	if err != nil {
		return s, fmt.Errorf("listen on --console-port: %w", err)
	}
	etcd, err := start(o.Etcd, "etcd", func(addr string) (*embedded.Etcd, error) {
		return embedded.StartEtcd(embedded.EtcdOptions{Dir: filepath.Join(o.Dir, "etcd"), Addr: addr, Logger: o.Logger})
	})
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, etcd.Close)
	kafka, err := start(o.Kafka, "kafka", func(addr string) (*broker.Broker, error) {
		return broker.Start(broker.Options{Dir: filepath.Join(o.Dir, "kafka"), Addr: addr, Logger: o.Logger})
	})
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, kafka.Close)
	store, err := start(o.Elasticsearch, "elasticsearch", func(bulk string) (*embedded.Store, error) {
		return start(o.Search, "search", func(search string) (*embedded.Store, error) {
			return embedded.StartStore(embedded.StoreOptions{
				Dir: filepath.Join(o.Dir, "store"), BulkAddr: bulk, SearchAddr: search, Logger: o.Logger,
			})
		})
	})
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, store.Close)
	s.addresses = Addresses{
		Etcd:          etcd.Endpoint(),
		Kafka:         kafka.Addr(),
		Elasticsearch: store.BulkURL(),
		Search:        store.SearchURL(),
		Console:       "http://" + s.admin.Addr().String(),
	}
	return s, nil
}

// start starts a server on its port, or on the next free one.
func start[T any](p Port, name string, f func(addr string) (T, error)) (server T, err error) {
	addr, err := local.FreeAddr(p.addr(), !p.Fixed)
	if err != nil {
		return server, fmt.Errorf("listen on --%s-port: %w", name, err)
	}
	if server, err = f(addr); err != nil {
		return server, fmt.Errorf("start %s: %w", name, err)
	}
	return server, nil
}

// close stops the servers in reverse order.
func (s *servers) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

func (p Port) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Number)) }

// upTopic is the topic and index of the GLOBs of `up`.
const upTopic = "logs"

// writeUpConfig writes what a person would write to point the services at the
// embedded servers.
func writeUpConfig(path string, o *UpOptions, a Addresses) error {
	type section = map[string]any
	file := section{
		"data_dir":      o.Dir,
		"log":           section{"level": o.Log.Level, "format": o.Log.Format},
		"etcd":          section{"endpoints": []string{a.Etcd}},
		"kafka":         section{"brokers": []string{a.Kafka}},
		"elasticsearch": section{"addresses": []string{a.Elasticsearch}, "compression": "none"},
		"agent":         section{"allowed_paths": []string{"/"}},
	}
	if len(o.Globs) > 0 {
		globs := make([]string, len(o.Globs))
		for i, g := range o.Globs {
			abs, err := filepath.Abs(g)
			if err != nil {
				return fmt.Errorf("resolve %q: %w", g, err)
			}
			globs[i] = abs
		}
		file["agent"].(section)["inputs"] = []section{{"name": upTopic, "paths": globs, "topic": upTopic}}
	}
	file["transfer"] = section{"routes": []section{{"name": upTopic, "topics": []string{upTopic}, "index": upTopic}}}
	text, err := yaml.Marshal(file)
	if err != nil {
		return err
	}
	header := "# Written by `logferry up` at each start; it points the services at the embedded servers.\n"
	if err := os.WriteFile(path, append([]byte(header), text...), 0o600); err != nil {
		return fmt.Errorf("write the config of up: %w", err)
	}
	return nil
}

// upMemory is the soft limit of the heap of `up`: six programs in one process
// would otherwise each wait for twice what they need. A million lines a minute
// ago leave it at half a gigabyte without, at the same rate.
const upMemory = 384 << 20

// limitMemory sets the garbage collector's soft limit, unless the environment
// says something of its own (GOMEMLIMIT, GOGC).
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" && os.Getenv("GOGC") == "" {
		debug.SetMemoryLimit(bytes)
	}
}
