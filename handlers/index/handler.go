package index

import (
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/logferry/logferry/handlers/logs"
)

// Handler is where the router's goroutine asks the bulker of its route.
type Handler struct{ bulker *Bulker }

// NewHandler returns the handler that asks b, which must be running.
func NewHandler(b *Bulker) *Handler { return &Handler{bulker: b} }

var _ message.NoPublishHandlerFunc = (*Handler)(nil).Handle

// Handle indexes what is pending of the poll that msg carries, and settles
// what was stored; see [Bulker.Index] for the errors.
func (h *Handler) Handle(msg *message.Message) error {
	poll := logs.PollOf(msg)
	if poll == nil {
		return errors.New("index a message: it carries no poll")
	}
	return h.bulker.Index(msg.Context(), poll)
}
