package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

const problemType = "application/problem+json"

// problem responds with an error in the format of RFC 9457.
func problem(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(status)
	_, _ = w.Write(append(problemText(status, err), '\n'))
}

// problemText returns an error in the format of RFC 9457.
func problemText(status int, err error) []byte {
	text, _ := json.Marshal(map[string]any{"title": http.StatusText(status), "status": status, "detail": err.Error()}) // cannot fail for strings and a number
	return text
}

// withProblems returns a handler that converts errors of other handlers to problems: of the multiplexer, the metrics
// and pprof.
func withProblems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &problemWriter{ResponseWriter: w}
		next.ServeHTTP(p, r)
		if p.status != 0 {
			w.Header().Del("Content-Length")
			problem(w, p.status, errors.New(cmp.Or(strings.TrimSpace(p.text.String()), http.StatusText(p.status))))
		}
	})
}

// problemWriter keeps the text of an error that is not a problem yet.
type problemWriter struct {
	http.ResponseWriter
	status int // of the error; 0 for none
	text   bytes.Buffer
}

func (p *problemWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest && p.Header().Get("Content-Type") != problemType {
		p.status = status
		return
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *problemWriter) Write(body []byte) (int, error) {
	if p.status != 0 {
		return p.text.Write(body)
	}
	return p.ResponseWriter.Write(body)
}

// Unwrap is for [http.ResponseController].
func (p *problemWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
