// Package app is who lives: each mode of the binary as one run.Group.
//
// Follow a line, and the same list upwards on the way back; no position moves
// except on the way back:
//
//	app.Agent             the process on every host
//	tail.Source           finds files, takes turns, knows what was acknowledged
//	logs.Batch            one contiguous range of one file
//	router.Agent          one pipeline for each input
//	middleware.Chain      observe, poison, retry, breaker, throttle, recover
//	ship.Handler          topic and key
//	kafka.Publisher       one record a line, acknowledged by all in-sync replicas
//	Kafka
//	kafka.Subscriber      the records of one partition's poll
//	router.Transfer       one pipeline for each route
//	index.Handler         asks the bulker
//	index.Bulker          gathers documents of many polls into _bulk requests
//	index verdict         item by item: stored, retry, refused, wait
//	Elasticsearch
package app
