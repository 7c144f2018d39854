// Package api_test compares the responses of capmon's HTTP API with their OpenAPI description.
package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/api/apitest"
	"github.com/capmon/capmon/internal/store"
)

func handlerOf(source api.Source, token string) http.Handler {
	return api.Handler(source, prometheus.NewRegistry(), api.Options{Token: token, Stale: time.Hour, Settled: time.Minute, Version: "1", Log: zap.NewNop()})
}

func init() {
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.RegisteredBodyDecoder("text/plain"))
}

// description returns openapi.json after validating it.
func description(t testing.TB) *openapi3.T {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromFile("../../../internal/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return document
}

// asDescribed sends a request and validates the response against the description.
func asDescribed(t testing.TB, document *openapi3.T, handler http.Handler, path, query string) *httptest.ResponseRecorder {
	t.Helper()
	request := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}, Body: http.NoBody}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	item := document.Paths.Value(path)
	err := openapi3filter.ValidateResponse(context.Background(), (&openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: request, Route: &routers.Route{Spec: document, Path: path, PathItem: item, Method: http.MethodGet, Operation: item.Get},
		},
		Status: recorder.Code, Header: recorder.Header(),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}).SetBodyBytes(recorder.Body.Bytes()))
	if err != nil {
		t.Errorf("%s?%s: %d: %v", path, query, recorder.Code, err)
	}
	return recorder
}

func TestResponsesAreAsDescribed(t *testing.T) {
	document := description(t)
	stale, unsaved, broken := apitest.Working(), apitest.Working(), apitest.Working()
	stale.Daemon.Saved = apitest.Saturday
	unsaved.Daemon.Saved = time.Time{}
	broken.Err, broken.Daemon.Trouble, broken.Daemon.Failures = errors.New("no room"), "no room", 3
	lossy, settled, much := apitest.Working(), apitest.Working(), apitest.Working()
	lossy.Daemon.LossNoticed, lossy.Daemon.LastLoss = time.Now(), "12 checks found no room; flood has 131000 entries"
	settled.Daemon.LossNoticed, settled.Daemon.LastLoss = time.Now().Add(-2*time.Minute), "12 checks found no room"
	much.Err = fmt.Errorf("%w: more than 32MiB", store.ErrTooMuch)
	for _, test := range []struct {
		source *apitest.Source
		token  string
		path   string
		query  string
		want   int
		says   string
	}{
		{apitest.Working(), "", "/", "", 200, "<!DOCTYPE html>"},
		{apitest.Working(), "", "/", "container=nothing", 200, "<!DOCTYPE html>"},
		{broken, "", "/", "", 503, "no room"},
		{much, "", "/", "", 422, "narrow it with container"},
		{apitest.Working(), "", "/", "images=a", 400, `unknown parameter \"images\"`},
		{apitest.Working(), "", "/api/v1/events", "images=a", 400, `unknown parameter \"images\"`},
		{apitest.Working(), "0123456789abcdef", "/", "", 401, "as the password of HTTP Basic"},
		{apitest.Working(), "0123456789abcdef", "/api/v1/events", "", 401, "Authorization: Bearer"},
		{apitest.Working(), "", "/healthz", "", 200, "ok\n"},
		{apitest.Working(), "", "/readyz", "", 200, "ready\n"},
		{stale, "", "/readyz", "", 503, "nothing was saved since 2026-08-01"},
		{unsaved, "", "/readyz", "", 503, "nothing was saved yet"},
		{broken, "", "/readyz", "", 503, "no room"},
		{broken, "", "/healthz", "", 200, "ok\n"},
		{lossy, "", "/readyz", "", 503, "flood has 131000 entries; ready again at"},
		{lossy, "", "/api/v1/state", "", 200, `"lastLoss":"12 checks`},
		{settled, "", "/readyz", "", 200, "ready\n"},
		{much, "", "/api/v1/report", "", 422, "narrow it with container"},
		{much, "", "/api/v1/alerts", "", 422, "narrow it with container"},
		{apitest.Working(), "", "/metrics", "", 200, `capmon_build_info{hook="tp_btf",version="1"} 1`},
		{unsaved, "", "/metrics", "", 200, "capmon_last_save_timestamp_seconds 0"},
		{broken, "", "/metrics", "", 200, "capmon_save_failures_total 3"},
		{apitest.Working(), "", "/api/v1/openapi.json", "", 200, `"openapi"`},
		{apitest.Working(), "", "/api/v1/state", "", 200, `"recording":"0123"`},
		{broken, "", "/api/v1/state", "", 200, `"trouble":"no room"`},
		{apitest.Working(), "", "/api/v1/state", "", 200, `"engine":"docker"`},
		{apitest.Working(), "", "/api/v1/containers", "", 200, `"used":["CHOWN"]`},
		{broken, "", "/api/v1/containers", "", 503, "no room"},
		{apitest.Working(), "", "/api/v1/profile", "unsaved=true", 200, `"format":"capmon profile"`},
		{apitest.Working(), "", "/api/v1/profile", "unsaved=1", 400, "must be true or false"},
		{apitest.Working(), "", "/api/v1/report", "", 200, `"CHOWN"`},
		{apitest.Working(), "", "/api/v1/report", "container=nothing", 200, `"containers": []`},
		{apitest.Working(), "", "/api/v1/profile", "image=a*", 200, `"format":"capmon profile"`},
		{apitest.Working(), "", "/api/v1/flags", "", 200, "--cap-drop=ALL --cap-add=CHOWN"},
		{apitest.Working(), "", "/api/v1/flags", "for=kubernetes&style=absolute", 200, `"target":"kubernetes"`},
		{apitest.Working(), "", "/api/v1/alerts", "since=2026-08-01T12:00:00Z", 200, "raw-socket"},
		{broken, "", "/api/v1/report", "", 503, "no room"},
		{broken, "", "/api/v1/profile", "", 503, "no room"},
		{broken, "", "/api/v1/flags", "", 503, "no room"},
		{broken, "", "/api/v1/alerts", "", 503, "no room"},
		{apitest.Working(), "", "/api/v1/report", "images=a", 400, `unknown parameter \"images\"`},
		{apitest.Working(), "", "/api/v1/report", "image=%zz", 400, "invalid query string"},
		{apitest.Working(), "", "/api/v1/report", "image=a;image=b", 400, "invalid query string"},
		{apitest.Working(), "", "/api/v1/report", "image=[", 400, "["},
		{apitest.Working(), "", "/api/v1/profile", "since=yesterday", 400, "is not a time"},
		{apitest.Working(), "", "/api/v1/profile", "since=2026-08-01T12:00:00Z&since=2026-08-01T12:00:00Z", 400, "set it once"},
		{apitest.Working(), "", "/api/v1/alerts", "for=docker", 400, "unknown parameter"},
		{apitest.Working(), "", "/api/v1/flags", "for=dockerr", 400, `unknown target \"dockerr\"`},
		{apitest.Working(), "", "/api/v1/flags", "for=", 400, `unknown target \"\"`},
		{apitest.Working(), "", "/api/v1/flags", "for=docker&for=podman", 400, "set it once"},
		{apitest.Working(), "", "/api/v1/flags", "style=none", 400, "unknown style"},
		{apitest.Working(), "0123456789abcdef", "/healthz", "", 401, "Authorization: Bearer"},
		{apitest.Working(), "0123456789abcdef", "/metrics", "", 401, "Authorization: Bearer"},
		{apitest.Working(), "0123456789abcdef", "/api/v1/flags", "", 401, "Authorization: Bearer"},
	} {
		t.Run(fmt.Sprintf("%s?%s %d", test.path, test.query, test.want), func(t *testing.T) {
			got := asDescribed(t, document, handlerOf(test.source, test.token), test.path, test.query)
			if got.Code != test.want || !strings.Contains(got.Body.String(), test.says) {
				t.Errorf("%d, %s; wanted %d, %s", got.Code, got.Body, test.want, test.says)
			}
		})
	}
}

func TestResponsesAboutTooManyRequestsAreAsDescribed(t *testing.T) {
	limiter := api.NewLimiter(1)
	limiter <- struct{}{}
	handler := api.Handler(apitest.Working(), prometheus.NewRegistry(), api.Options{Limiter: limiter, Stale: time.Hour, Settled: time.Minute, Version: "1", Log: zap.NewNop()})
	document := description(t)
	for _, path := range []string{"/api/v1/report", "/api/v1/profile", "/api/v1/flags", "/api/v1/alerts"} {
		if got := asDescribed(t, document, handler, path, ""); got.Code != 503 || got.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, %s", path, got.Code, got.Body)
		}
	}
}

// For every query, the response is as described and in JSON, and no invalid query selects everything.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{
		"", "container=web&container=db", "image=nginx%3A*", "image=[", "label=a%3Db", "compose-service=shop/db", "since=2026-01-02T15:04:05Z",
		"until=", "for=kubernetes&style=delta", "style=delta", "a;b", "%", "=", "&&", "container=%ff%00%1b", "since=\"\n", "x=" + url.QueryEscape(apitest.Hostile),
	} {
		f.Add(query)
	}
	document, handler := description(f), handlerOf(apitest.Working(), "")
	f.Fuzz(func(t *testing.T, query string) {
		parsed, malformed := url.ParseQuery(query)
		for _, path := range []string{"/api/v1/report", "/api/v1/profile", "/api/v1/flags", "/api/v1/alerts"} {
			got := asDescribed(t, document, handler, path, query)
			if got.Code != 200 && got.Code != 400 && got.Code != 409 || !json.Valid(got.Body.Bytes()) {
				t.Errorf("%s?%s: %d, %s", path, query, got.Code, got.Body)
			}
			if got.Code == 200 && (malformed != nil || parsed.Has("unknown")) {
				t.Errorf("%s?%s was accepted", path, query)
			}
		}
	})
}
