package kafka

import (
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

// envBroker makes of the test's binary a broker, so that benchmarks measure
// their own process alone: one that forgets what it is sent for "produce", and
// one whose topic never ends for "fetch".
const envBroker = "LOGFERRY_TEST_BROKER"

func TestMain(m *testing.M) {
	if os.Getenv(envBroker) != "" {
		serveBroker()
		return
	}
	// sarama counts with this library, whose one goroutine never ends.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
		// Watermill's suite leaves these behind.
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe.func2"),
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe.func3"),
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/pubsub/tests.TestReconnect.func2"),
		// The client's own leave of a group, seen waiting after Close now and
		// then since the suite cuts connections: it holds nothing of ours.
		goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kgo.(*Client).LeaveGroupContext.func1"))
}

func serveBroker() {
	opt := kfake.BlackholeProduce()
	if os.Getenv(envBroker) == "fetch" {
		opt = kfake.SyntheticFetch(kfake.SyntheticBatch{Batch: benchRecords()})
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "bench"), opt)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(c.ListenAddrs()[0])
	_, _ = io.Copy(io.Discard, os.Stdin)
	c.Close()
}
