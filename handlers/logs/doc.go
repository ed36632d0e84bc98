// Package logs holds the words that every stage of logferry shares: the line
// and the batch on the agent's side, the record and the poll on the
// transfer's, what is settled of them, and the kinds of errors.
//
// A line is one line of a file, a record is Kafka's, a document is
// Elasticsearch's. A position is a place in a file, an offset one in a Kafka
// partition. One Watermill message carries one batch or one poll; see
// [AttachBatch] and [AttachPoll].
package logs
