package main

import (
	"io"
	"net/http"
	"strings"
)

// A reply about as long as a job's.
var nullJob = []byte(`{"id":"019a0000-0000-7000-8000-000000000000","automationId":1,"userId":null,"status":"pending",` +
	`"parameters":{"month":"2026-11"},"result":null,"retryCount":0,"startedAt":null,"completedAt":null,` +
	`"cancellationRequestedAt":null,"lastHeartbeatAt":null,"createdAt":"2026-11-25T10:00:00.000000+00:00",` +
	`"attempt":0,"queue":"bench.execute","scheduleId":null,"scheduledFor":null}`)

// null serves until it is ended; what the driver reaches here is its own limit, or this server's.
func null(o options) (any, error) {
	return nil, http.ListenAndServe(o.address, http.HandlerFunc(answerNull))
}

func answerNull(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/execute"):
		w.WriteHeader(http.StatusAccepted)
	case strings.HasSuffix(r.URL.Path, "/log"), strings.HasSuffix(r.URL.Path, "/logs"):
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = w.Write(nullJob)
}
