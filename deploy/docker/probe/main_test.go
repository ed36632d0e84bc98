package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAskTellsReadyFromWaiting(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "waiting for kafka", status)
	}))
	require.NoError(t, ask(server.URL))
	status = http.StatusServiceUnavailable
	require.ErrorContains(t, ask(server.URL), "waiting for kafka")
	server.Close()
	require.Error(t, ask(server.URL))
}
