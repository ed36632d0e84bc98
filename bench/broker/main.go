// Broker is a Kafka broker in a process of its own, so that its CPU is not
// counted as a shipper's. It prints its address, and ends at SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	dir := flag.String("dir", "", "where records are kept; empty keeps them in memory")
	partitions := flag.Int("partitions", 1, "partitions of a topic that is made at its first use")
	flag.Parse()

	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.AllowAutoTopicCreation(),
		kfake.DefaultNumPartitions(*partitions),
	}
	if *dir != "" {
		opts = append(opts, kfake.DataDir(*dir))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "start broker:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Println(cluster.ListenAddrs()[0])
	<-ctx.Done()
	cluster.Close()
}
