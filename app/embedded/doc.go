// Package embedded holds the servers of `logferry up`: etcd, a Kafka broker and
// a log store with a search page, all in this process, all on the loopback
// interface, all keeping their state in a directory of their own so that a
// second start goes on where the first stopped.
//
//	etcd.go      etcd, one member
//	broker/      the Kafka broker; retention.go gives its disk back
//	store.go     the log store: VictoriaLogs' storage behind two HTTP servers
//	  bulk.go      the `_bulk` front, with Elasticsearch's manners
//	  search.go    VictoriaLogs' own API and page
//	  journal.go   what was accepted and is not yet known to be on the disk
//	  ids.go       the ids of all documents ever accepted
//
// Nothing here is needed in production: the agent and the transfer do not know
// whether the other end is one of these. A lean build has the broker alone,
// which the self-test of a host needs.
package embedded

import "github.com/logferry/logferry/app/embedded/quiet"

func init() { quiet.Over() }
