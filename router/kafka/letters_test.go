package kafka

import (
	"context"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
)

func newLetters(t *testing.T, cfg config.Kafka) *LetterPublisher {
	t.Helper()
	p, err := NewLetterPublisher(cfg, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestLettersKeepAllHeaders(t *testing.T) {
	_, cfg := broker(t, kfake.DefaultNumPartitions(1))
	require.NoError(t, EnsurePoisonTopic(context.Background(), cfg, "poison"))
	require.NoError(t, EnsurePoisonTopic(context.Background(), cfg, "poison"), "it is there")
	p := newLetters(t, cfg)

	letter := message.NewMessage("letter-1", []byte(strings.Repeat("v", 2<<20)))
	logs.AttachHeaders(letter, []logs.Header{
		{Key: "dup", Value: []byte("1")}, {Key: "dup", Value: []byte("2")}, {Key: "none"},
		{Key: "_watermill_message_uuid", Value: []byte("theirs")},
	})
	tombstone := message.NewMessage("letter-0", nil)
	require.NoError(t, p.Publish("poison", letter))
	require.NoError(t, p.Publish("poison", tombstone))
	recs := read(t, cfg, "poison", 2)
	require.Equal(t, "letter-1", string(recs[0].Key))
	require.Equal(t, string(letter.Payload), string(recs[0].Value))
	require.Len(t, recs[0].Headers, 4)
	require.Equal(t, kgo.RecordHeader{Key: "dup", Value: []byte("2")}, recs[0].Headers[1])
	require.Equal(t, "letter-0", string(recs[1].Key))
	require.Nil(t, recs[1].Value, "a tombstone has no value")
}

func TestLettersWaitForTheBroker(t *testing.T) {
	c, cfg := broker(t, kfake.SeedTopics(1, "poison"))
	p := newLetters(t, cfg)
	c.Close()
	err := p.Publish("poison", message.NewMessage("a", []byte("x")))
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	require.NoError(t, p.Close())
	require.Equal(t, logs.Stopped, logs.KindOf(p.Publish("poison", message.NewMessage("a", nil))))
}
