// Package router says where lines and records go: which stage follows which,
// through which middlewares. A pipeline is one Watermill router with one
// handler, for one input of the agent or one route of the transfer.
package router

// Names of things inside the process.
const (
	// TopicConfigChanged is the internal topic of reload events. A message's
	// payload is a revision; who receives it reads the current snapshot.
	TopicConfigChanged = "config.changed"

	handlerShip  = "ship"
	handlerIndex = "index"

	subscriberTail  = "tail"
	subscriberKafka = "kafka"
)
