package poison

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/logferry/logferry/handlers/logs"
)

// letterJSON is a letter without loss: bytes that are no UTF-8 are in the field
// whose name ends in _base64.
type letterJSON struct {
	ID         string       `json:"id"`
	IDBytes    []byte       `json:"id_base64,omitempty"`
	Queue      string       `json:"queue"`
	Partition  int32        `json:"partition"`
	Offset     int64        `json:"offset"`
	Time       time.Time    `json:"time"`
	Topic      string       `json:"topic"`
	Place      string       `json:"place,omitempty"`
	RecordTime *time.Time   `json:"record_time,omitempty"`
	Route      string       `json:"route,omitempty"`
	Handler    string       `json:"handler,omitempty"`
	Subscriber string       `json:"subscriber,omitempty"`
	Index      string       `json:"index,omitempty"`
	Status     int          `json:"status,omitempty"`
	Type       string       `json:"type,omitempty"`
	Reason     string       `json:"reason"`
	Replays    int          `json:"replays"`
	Key        *string      `json:"key"`
	KeyBytes   []byte       `json:"key_base64,omitempty"`
	Value      *string      `json:"value,omitempty"`
	ValueBytes []byte       `json:"value_base64,omitempty"`
	Headers    []headerJSON `json:"headers,omitempty"`
}

type headerJSON struct {
	Key        string  `json:"key"`
	KeyBytes   []byte  `json:"key_base64,omitempty"`
	Value      *string `json:"value"`
	ValueBytes []byte  `json:"value_base64,omitempty"`
}

// MarshalJSON writes the letter without loss.
func (l *Letter) MarshalJSON() ([]byte, error) {
	j := letterJSON{
		Queue: l.Queue, Partition: l.Partition, Offset: l.Offset, Time: l.Time, Topic: l.Topic, Place: l.Place,
		Route: l.Route(), Handler: l.Handler, Subscriber: l.Subscriber,
		Index: l.Index, Status: l.Status, Type: l.Type, Reason: l.Reason, Replays: l.Replays,
	}
	if !l.RecordTime.IsZero() {
		j.RecordTime = &l.RecordTime
	}
	j.ID = l.ID
	if !utf8.ValidString(l.ID) {
		j.IDBytes = []byte(l.ID)
	}
	j.Key, j.KeyBytes = textOrBytes(l.Key)
	j.Value, j.ValueBytes = textOrBytes(l.Value)
	for _, h := range l.Headers {
		to := headerJSON{Key: h.Key}
		if !utf8.ValidString(h.Key) {
			to.KeyBytes = []byte(h.Key)
		}
		to.Value, to.ValueBytes = textOrBytes(h.Value)
		j.Headers = append(j.Headers, to)
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *Letter) UnmarshalJSON(data []byte) error {
	var j letterJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*l = Letter{
		ID: j.ID, Queue: j.Queue, Partition: j.Partition, Offset: j.Offset, Time: j.Time, Topic: j.Topic, Place: j.Place,
		Handler: j.Handler, Subscriber: j.Subscriber, Replays: j.Replays,
		Refusal: logs.Refusal{Index: j.Index, Status: j.Status, Type: j.Type, Reason: j.Reason},
		Key:     bytesOf(j.Key, j.KeyBytes), Value: bytesOf(j.Value, j.ValueBytes),
	}
	if j.IDBytes != nil {
		l.ID = string(j.IDBytes)
	}
	if j.RecordTime != nil {
		l.RecordTime = *j.RecordTime
	}
	for _, h := range j.Headers {
		if h.KeyBytes != nil {
			h.Key = string(h.KeyBytes)
		}
		l.Headers = append(l.Headers, logs.Header{Key: h.Key, Value: bytesOf(h.Value, h.ValueBytes)})
	}
	return nil
}

// textOrBytes returns b as text when it is; nil is neither.
func textOrBytes(b []byte) (*string, []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		text := string(b)
		return &text, nil
	}
	return nil, b
}

func bytesOf(text *string, b []byte) []byte {
	if text != nil {
		return []byte(*text)
	}
	return b
}
