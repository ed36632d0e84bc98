// Package kafka is Watermill's two interfaces over batches: a [Publisher] that
// makes one Kafka record of each line of a batch, a [Subscriber] that makes one
// message of many records of a partition, both on franz-go, and a publisher of
// letters on watermill-kafka.
//
// What a batch holds is not copied on its way: the records that are handed to
// the client alias the batch, so Publish returns only when the client has let
// go of all of them. What a poll holds aliases what was fetched.
package kafka
