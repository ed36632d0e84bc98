package ship_test

import (
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/logs"
	"github.com/logferry/logferry/handlers/ship"
)

type publisher struct {
	topic string
	key   []byte
}

func (p *publisher) Publish(topic string, msgs ...*message.Message) error {
	p.topic, p.key = topic, logs.BatchOf(msgs[0]).Key
	return nil
}

func (p *publisher) Close() error { return nil }

func batch(o *logs.Origin) *message.Message {
	msg := message.NewMessage("m", nil)
	logs.AttachBatch(msg, &logs.Batch{Origin: o})
	return msg
}

var origin = &logs.Origin{Node: "web 1", Input: "in", Path: "/srv/shop/app.v2.log", File: "fd-1-ab"}

func TestTopicFields(t *testing.T) {
	for template, want := range map[string]string{
		"web_log":                           "web_log",
		"logs.{node}":                       "logs.web_1",
		"{input}-{path.dir}":                "in-shop",
		"{path.base}":                       "app.v2.log",
		"x.{path.name}":                     "x.app.v2",
		strings.Repeat("a", 300) + "{node}": strings.Repeat("a", 249),
	} {
		got, err := ship.NewTopic(template, nil).Of(origin)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestATopicThatIsNotAllowedWaits(t *testing.T) {
	p := &publisher{}
	h := ship.NewHandler(p, config.Input{Topic: "secret"}, []string{"web_*"})
	err := h.Handle(batch(origin))
	require.ErrorContains(t, err, `topic "secret"`)
	require.Equal(t, logs.Unavailable, logs.KindOf(err))
	require.Empty(t, p.topic)

	h.Update(config.Input{Topic: "web_a"}, []string{"web_*"})
	require.NoError(t, h.Handle(batch(origin)))
	require.Equal(t, "web_a", p.topic)
}

func TestKeys(t *testing.T) {
	p := &publisher{}
	for policy, want := range map[string]string{"file": "fd-1-ab", "node": "web 1", "none": ""} {
		require.NoError(t, ship.NewHandler(p, config.Input{Topic: "t", Key: policy}, nil).Handle(batch(origin)))
		require.Equal(t, want, string(p.key))
	}
}

func TestAMessageWithoutABatchIsRefused(t *testing.T) {
	err := ship.NewHandler(&publisher{}, config.Input{Topic: "t"}, nil).Handle(message.NewMessage("m", []byte("x")))
	require.Equal(t, logs.Permanent, logs.KindOf(err))
}
