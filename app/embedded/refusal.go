package embedded

import (
	"fmt"
	"net/http"
	"strings"
)

// refusal is an error in Elasticsearch's words, of one item or of a request.
type refusal struct {
	status                 int
	kind, reason           string
	causeKind, causeReason string // empty: no cause
}

func notJSON(d *document, why string) *refusal {
	return &refusal{
		status: http.StatusBadRequest, kind: "document_parsing_exception",
		reason:    fmt.Sprintf("[1:1] failed to parse: document with id '%s'", d.id),
		causeKind: "x_content_parse_exception", causeReason: clip(why),
	}
}

func metadataField(d *document, name string) *refusal {
	r := notJSON(d, "")
	r.reason = fmt.Sprintf("[1:1] Field [%s] is a metadata field and cannot be added inside a document. Use the index API request parameters.", name)
	r.causeKind = ""
	return r
}

func tooManyFields(d *document) *refusal {
	r := notJSON(d, fmt.Sprintf("Limit of total fields [%d] has been exceeded", maxFields))
	r.causeKind = "illegal_argument_exception"
	return r
}

func tooLarge(_ *document, size int) *refusal {
	return &refusal{
		status: http.StatusBadRequest, kind: "illegal_argument_exception",
		reason: fmt.Sprintf("a document of %d bytes is larger than the %d bytes that this store takes", size, maxRowBytes),
	}
}

func conflict(id string) *refusal {
	return &refusal{
		status: http.StatusConflict, kind: "version_conflict_engine_exception",
		reason: fmt.Sprintf("[%s]: version conflict, document already exists (current version [1])", id),
	}
}

func notSupported(action string) *refusal {
	return &refusal{
		status: http.StatusBadRequest, kind: "illegal_argument_exception",
		reason: fmt.Sprintf("this store takes create and index, and changes no document: [%s] is not supported", action),
	}
}

func badRequest(kind, format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, kind: kind, reason: fmt.Sprintf(format, args...)}
}

// checkIndex says what Elasticsearch would say against an index name.
func checkIndex(name string) *refusal {
	why := ""
	switch {
	case name == "":
		why = "must not be empty"
	case len(name) > 255:
		why = "index name is too long, (" + fmt.Sprint(len(name)) + " > 255)"
	case name == "." || name == "..":
		why = "must not be '.' or '..'"
	case strings.ContainsAny(name, "\\/*?\"<>| ,#:"):
		why = `must not contain the following characters [' ','"','*',',','/','<','>','?','\','|','#',':']`
	case strings.ContainsAny(name[:1], "_-+"):
		why = "must not start with '_', '-', or '+'"
	case strings.ToLower(name) != name:
		why = "must be lowercase"
	default:
		return nil
	}
	return badRequest("invalid_index_name_exception", "Invalid index name [%s], %s", clip(name), why)
}

// clip keeps what outsiders sent from filling an answer.
func clip(s string) string {
	if len(s) > 512 {
		return strings.ToValidUTF8(s[:512], "") + "..."
	}
	return s
}
