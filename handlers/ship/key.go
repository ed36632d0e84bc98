package ship

import "github.com/logferry/logferry/handlers/logs"

// key returns the records' key under a policy: all lines of a file, or of a
// node, go to one partition and keep their order there; none spreads them.
func key(policy string, o *logs.Origin) []byte {
	switch policy {
	case "node":
		return []byte(o.Node)
	case "none":
		return nil
	default:
		return []byte(o.File)
	}
}
