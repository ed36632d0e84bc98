// Package index makes documents of Kafka's records, brings them into _bulk
// requests, and gives each record the verdict that the answer holds about it.
//
//	handler ─► bulker ─► worker: document, request ─► Elasticsearch
//	   ▲         ▲                                        │
//	   └─ settle ┴────────────── verdicts ◄───────────────┘
package index
