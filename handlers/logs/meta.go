package logs

// Names of the headers that the agent writes into each Kafka record.
const (
	HeaderNode  = "lf-node"  // name of the host
	HeaderPath  = "lf-path"  // the file's name when the line was read
	HeaderFile  = "lf-file"  // identity and generation of the file
	HeaderPos   = "lf-pos"   // position of the line's first byte, decimal
	HeaderPart  = "lf-part"  // number of the part of a split line
	HeaderFlags = "lf-flags" // split, truncated, stderr
	HeaderTime  = "lf-time"  // when the line was written, RFC 3339, where that is known
)

// Names of the headers that a replayed letter carries beside those of the
// original record, so that its document is the one that was refused. Its
// lf-time is the record's own time then, unless it had one.
const (
	HeaderReplays = "lf-replays" // how often it was replayed, decimal
	HeaderOrigin  = "lf-origin"  // where it was first read: topic/partition/offset
)

// Names of the headers that a letter in the poison topic carries beside those
// of the original record. The first four are Watermill's.
const (
	PoisonReason     = "reason_poisoned"
	PoisonTopic      = "topic_poisoned"
	PoisonHandler    = "handler_poisoned"
	PoisonSubscriber = "subscriber_poisoned"
	PoisonPartition  = "partition_poisoned"
	PoisonOffset     = "offset_poisoned"
	PoisonIndex      = "index_poisoned"
	PoisonStatus     = "status_poisoned"
	PoisonType       = "type_poisoned"
	PoisonTime       = "time_poisoned"
	PoisonKey        = "key_poisoned"
	PoisonRecordTime = "record_time_poisoned" // the original record's own time
)
