package pipeline

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/logferry/logferry/app/oracle"
)

// link is a network between clients and a server that can be made to fail.
type link struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

func newLink(t *testing.T, upstream string) *link {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // one of the toxics has a logger of its own
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &link{t, toxiproxy.NewProxy(server, "link", "127.0.0.1:0", upstream)}
	require.NoError(t, l.proxy.Start())
	t.Cleanup(l.proxy.Stop)
	return l
}

// suffer adds toxics, in toxiproxy's JSON, and returns how to remove them.
func (l *link) suffer(toxics ...string) (heal func()) {
	l.t.Helper()
	for _, toxic := range toxics {
		_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
		require.NoError(l.t, err)
	}
	return func() { l.proxy.Toxics.ResetToxics(l.t.Context()) }
}

// cut closes all connections and refuses new ones.
func (l *link) cut() (heal func()) {
	l.proxy.Stop()
	return func() { require.NoError(l.t, l.proxy.Start()) }
}

// elsewhere is a listener that says that it listens at another address.
type elsewhere struct {
	net.Listener
	addr net.Addr
}

func (l elsewhere) Addr() net.Addr { return l.addr }

// TestTheNetworkFails lets everything happen to the connections of agent and
// transfer with the broker, and with Elasticsearch, while lines are written.
func TestTheNetworkFails(t *testing.T) {
	var kafka *link
	w := newWorld(t, kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		if err != nil {
			return nil, err
		}
		kafka = newLink(t, l.Addr().String())
		shown, err := net.ResolveTCPAddr("tcp", kafka.proxy.Listen)
		return elsewhere{l, shown}, err
	}))
	elastic := newLink(t, w.elastic.server.Listener.Addr().String())
	w.elastic.server.URL = "http://" + elastic.proxy.Listen

	w.agent(w.agentFile())
	w.transfer(w.transferFile())
	ledger := oracle.NewLedger(oracle.Text{Run: "net", Buffer: 400})
	write := func(n int) {
		first := ledger.Claim(n)
		for id := first; id < first+n; id++ {
			w.append("a.log", string(ledger.Append(nil, id)))
		}
		ledger.Owe(first, n)
	}
	for _, fault := range []struct {
		name string
		on   func(l *link) (heal func())
	}{
		{"slow", func(l *link) func() {
			return l.suffer(`{"type":"latency","stream":"upstream","attributes":{"latency":100,"jitter":90}}`,
				`{"type":"latency","stream":"downstream","attributes":{"latency":100,"jitter":90}}`)
		}},
		{"narrow", func(l *link) func() {
			return l.suffer(`{"type":"bandwidth","stream":"upstream","attributes":{"rate":100}}`)
		}},
		{"in slices", func(l *link) func() {
			return l.suffer(`{"type":"slicer","stream":"upstream","attributes":{"average_size":300,"size_variation":200,"delay":50}}`,
				`{"type":"slicer","stream":"downstream","attributes":{"average_size":30,"size_variation":20,"delay":50}}`)
		}},
		{"answers reset", func(l *link) func() {
			return l.suffer(`{"type":"reset_peer","stream":"downstream","attributes":{"timeout":30}}`)
		}},
		{"requests reset", func(l *link) func() {
			return l.suffer(`{"type":"reset_peer","stream":"upstream","attributes":{"timeout":30}}`)
		}},
		{"requests swallowed", func(l *link) func() {
			return l.suffer(`{"type":"timeout","stream":"upstream","attributes":{"timeout":0}}`)
		}},
		{"answers swallowed", func(l *link) func() {
			return l.suffer(`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
		}},
		{"cut inside an answer", func(l *link) func() {
			return l.suffer(`{"type":"limit_data","stream":"downstream","attributes":{"bytes":1500}}`)
		}},
		{"cut inside a request", func(l *link) func() {
			return l.suffer(`{"type":"limit_data","stream":"upstream","attributes":{"bytes":15000}}`)
		}},
		{"away", (*link).cut},
	} {
		for _, l := range []*link{kafka, elastic} {
			heal := fault.on(l)
			for range 10 {
				write(100)
				time.Sleep(30 * time.Millisecond)
			}
			heal()
		}
	}
	healed := time.Now()
	owed := ledger.Owed()
	eventually(t, "all lines", func() bool { return w.elastic.len("web") >= owed })
	t.Logf("all was there %s after the last fault; %d documents were sent again", time.Since(healed), w.elastic.repeats())
	inTopic, inIndex := ledger.Tally(), ledger.Tally()
	// With the repeats of requests whose answers were lost.
	for _, r := range w.records("web_log", w.inTopic("web_log")()) {
		inTopic.See(r.Value)
	}
	require.NoError(t, inTopic.Verdict().AtLeastOnce())
	for message, n := range w.elastic.counts("web", "message") {
		for range n {
			inIndex.See([]byte(message))
		}
	}
	require.NoError(t, inIndex.Verdict().ExactlyOnce())
	require.Positive(t, w.elastic.repeats(), "an answer that is lost makes the request come again")
}
