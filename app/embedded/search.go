package embedded

import (
	"net/http"
	"strings"

	"github.com/VictoriaMetrics/VictoriaMetrics/app/vlselect"
)

// searchHandler serves VictoriaLogs' API and page under /select/, and leads
// everybody else to the page.
func searchHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/":
			http.Redirect(w, r, "/select/vmui/", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/select/") && vlselect.RequestHandler(w, r):
		default:
			http.NotFound(w, r)
		}
	})
}
