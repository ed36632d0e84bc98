package ship_test

import (
	"testing"

	"github.com/logferry/logferry/config"
	"github.com/logferry/logferry/handlers/ship"
)

// BenchmarkHandle is what the stage adds to a batch, however many lines it has.
func BenchmarkHandle(b *testing.B) {
	for name, in := range map[string]config.Input{
		"plain":  {Topic: "web_log", Key: "file"},
		"fields": {Topic: "{path.dir}.{path.name}", Key: "node"},
	} {
		b.Run(name, func(b *testing.B) {
			h := ship.NewHandler(&publisher{}, in, []string{"*"})
			msg := batch(origin)
			b.ReportAllocs()
			for b.Loop() {
				if err := h.Handle(msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
