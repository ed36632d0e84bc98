package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
)

func TestEachDocumentGetsItsItem(t *testing.T) {
	s := newSink("", false)
	body := strings.Repeat("{\"create\":{}}\n{\"a\":1}\n", 3)
	plain := httptest.NewRecorder()
	s.ServeHTTP(plain, httptest.NewRequest(http.MethodPost, "/_bulk", strings.NewReader(body)))
	require.Equal(t, http.StatusOK, plain.Code)
	require.Equal(t, "Elasticsearch", plain.Header().Get("X-Elastic-Product"))
	require.JSONEq(t, `{"took":1,"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}},{"create":{"status":201}}]}`, plain.Body.String())

	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, err := zw.Write([]byte(body))
	require.NoError(t, err)
	require.NoError(t, zw.Close())
	request := httptest.NewRequest(http.MethodPost, "/some/_bulk", &zipped)
	request.Header.Set("Content-Encoding", "gzip")
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, request)
	require.Equal(t, plain.Body.String(), answer.Body.String())

	count := httptest.NewRecorder()
	s.ServeHTTP(count, httptest.NewRequest(http.MethodGet, "/count", nil))
	require.Equal(t, "6", count.Body.String())
}

func TestHalfADocumentIsRefused(t *testing.T) {
	answer := httptest.NewRecorder()
	newSink("", false).ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/_bulk", strings.NewReader("{\"create\":{}}\n")))
	require.Equal(t, http.StatusBadRequest, answer.Code)
}
