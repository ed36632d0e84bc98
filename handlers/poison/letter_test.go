package poison

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/handlers/logs"
)

type original []logs.Header

func (o original) Headers() []logs.Header { return o }

var (
	refusal = &logs.Refusal{Index: "web_log", Status: 400, Type: "mapper_parsing_exception", Reason: "failed to parse field [code]"}
	where   = Where{Topic: "ignored", Handler: "route web", Subscriber: "kafka.Subscriber",
		Now: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
)

func header(key, value string) logs.Header { return logs.Header{Key: key, Value: []byte(value)} }

// headers returns the letter's headers as key=value.
func headers(hs []logs.Header) []string {
	var out []string
	for _, h := range hs {
		out = append(out, h.Key+"="+string(h.Value))
	}
	return out
}

func TestFromRecord(t *testing.T) {
	r := &logs.Record{Topic: "web_log", Partition: 2, Offset: 17, Key: []byte("k\x00ey"), Value: []byte("bad \xff line"),
		Time:     time.Date(2026, 1, 2, 3, 0, 0, 123e6, time.UTC),
		Original: original{header("a", "1"), header("lf-node", "web-1"), header("a", "2\xff"), {Key: "null"}}}
	msg := FromRecord(r, refusal, where)
	require.Equal(t, "web_log-2-17", msg.UUID)
	require.Equal(t, "bad \xff line", string(msg.Payload))
	require.Equal(t, []string{
		"a=1", "lf-node=web-1", "a=2\xff", "null=",
		"reason_poisoned=failed to parse field [code]", "topic_poisoned=web_log", "handler_poisoned=route web",
		"subscriber_poisoned=kafka.Subscriber", "time_poisoned=2026-01-02T03:04:05.000000006Z",
		"index_poisoned=web_log", "status_poisoned=400", "type_poisoned=mapper_parsing_exception",
		"partition_poisoned=2", "offset_poisoned=17", "record_time_poisoned=2026-01-02T03:00:00.123Z", "key_poisoned=k\x00ey",
	}, headers(logs.HeadersOf(msg)))
	require.Nil(t, logs.HeadersOf(msg)[3].Value, "null is not empty")

	clear(r.Value)
	clear(r.Key)
	require.Equal(t, "bad \xff line", string(msg.Payload), "the letter owns its bytes")
	require.Equal(t, "k\x00ey", string(logs.HeadersOf(msg)[15].Value))
}

func TestFromRecordPoisonedAgain(t *testing.T) {
	r := &logs.Record{Topic: "web_log", Key: []byte("key"), Value: []byte("v"), Original: original{header("a", "1")}}
	first := FromRecord(r, refusal, where)
	letter := &logs.Record{Topic: "logferry.poison", Offset: 5, Key: []byte(first.UUID), Value: first.Payload,
		Original: original(logs.HeadersOf(first))}
	again := FromRecord(letter, &logs.Refusal{Reason: "another"}, where)
	require.Equal(t, []string{
		"a=1", "key_poisoned=key", "reason_poisoned=another", "topic_poisoned=logferry.poison",
		"handler_poisoned=route web", "subscriber_poisoned=kafka.Subscriber",
		"time_poisoned=2026-01-02T03:04:05.000000006Z", "partition_poisoned=0", "offset_poisoned=5",
	}, headers(logs.HeadersOf(again)))
}

func TestFromRecordWithoutKeyAndValue(t *testing.T) {
	msg := FromRecord(&logs.Record{Topic: "t"}, refusal, where)
	require.NotNil(t, msg.Payload, "null would be a tombstone")
	require.NotContains(t, strings.Join(headers(logs.HeadersOf(msg)), " "), logs.PoisonKey)
}

func TestFromLine(t *testing.T) {
	b := &logs.Batch{
		Origin: &logs.Origin{Node: "web-1", Path: "/var/log/a.log", File: "8:1f:1"}, Key: []byte("8:1f:1"),
		Lines: []logs.Line{{Value: []byte("x"), Pos: 9}, {Value: []byte("long"), Pos: 11, Part: 3, Flags: logs.FlagSplit, Time: 6e9}},
	}
	plain := FromLine(b, 0, "web_log", &logs.Refusal{Reason: "too large"}, where)
	require.Equal(t, "web-1/8:1f:1/9", plain.UUID)
	require.Equal(t, []string{
		"lf-node=web-1", "lf-path=/var/log/a.log", "lf-file=8:1f:1", "lf-pos=9",
		"reason_poisoned=too large", "topic_poisoned=web_log", "handler_poisoned=route web",
		"subscriber_poisoned=kafka.Subscriber", "time_poisoned=2026-01-02T03:04:05.000000006Z", "key_poisoned=8:1f:1",
	}, headers(logs.HeadersOf(plain)))

	part := FromLine(b, 1, "web_log", refusal, where)
	require.Equal(t, "web-1/8:1f:1/11/3", part.UUID)
	require.Contains(t, headers(logs.HeadersOf(part)), "lf-part=3")
	require.Contains(t, headers(logs.HeadersOf(part)), "lf-flags=split")
	require.Contains(t, headers(logs.HeadersOf(part)), "lf-time=1970-01-01T00:00:06Z")
}

func TestReasonIsBounded(t *testing.T) {
	long := FromRecord(&logs.Record{Topic: "t"}, &logs.Refusal{Reason: strings.Repeat("ü\xff", 5000)}, where)
	reason := logs.HeadersOf(long)[0].Value
	require.LessOrEqual(t, len(reason), maxReason)
	require.True(t, utf8.Valid(reason))
}
