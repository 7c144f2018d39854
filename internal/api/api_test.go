package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// hostile is a name that a container could choose.
const hostile = "a\x1b[2J\"\\\n</script>\u202e\x00\xff"

var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// fake is a source with one container, whose names are hostile.
type fake struct {
	state daemon.State
	err   error // of the database
}

func (f *fake) State() daemon.State { return f.state }

func (f *fake) Latest() profile.Profile {
	defaults := capability.DockerDefault()
	return profile.New(profile.Run{
		ID:          "observation/1",
		Observation: profile.Observation{ID: "observation", Kernel: "6.18.1", Hook: monitor.Tracepoint, Start: saturday, End: saturday.Add(time.Hour)},
		Container:   profile.Container{ID: strings.Repeat("01", 32), Name: hostile, Image: hostile, Labels: map[string]string{hostile: hostile}},
		Grants:      profile.Grants{Engine: &defaults, Kernel: &defaults, Permitted: &defaults},
		Started:     &saturday, Ended: saturday.Add(time.Minute), Running: true, Processes: 1, Checks: 1, Incomplete: []string{},
		Uses: []profile.Use{{
			Capability: capability.Chown, Class: classify.Required, Granted: true, Program: hostile, Call: hostile, Site: hostile,
			Count: 1, First: saturday, Last: saturday,
		}},
	})
}

func (f *fake) Profile(_ context.Context, selection store.Selection) (profile.Profile, store.Missing, error) {
	if f.err != nil {
		return profile.Profile{}, store.Missing{}, f.err
	}
	p, err := selection.Of(f.Latest())
	return p, store.Missing{Pruned: []store.Pruned{{Image: hostile, Number: 1, Until: saturday}}, Unknown: store.Unknown{Containers: []string{hostile}}}, err
}

func (f *fake) Alerts(context.Context, store.Selection) ([]alert.Alert, store.MissingAlerts, error) {
	if f.err != nil {
		return nil, store.MissingAlerts{}, f.err
	}
	one := alert.New("raw-socket", alert.Warning, "a summary", 1, uses.Use{Time: saturday, Process: uses.Process{Program: hostile}})
	return []alert.Alert{one}, store.MissingAlerts{Pruned: 1, Until: saturday, Unknown: []alert.Alert{one}}, nil
}

// twins is a source with two running containers whose IDs have the same first twelve digits.
type twins struct{ fake }

func (f *twins) Latest() profile.Profile {
	p := f.fake.Latest()
	other := p.Runs[0]
	other.ID, other.Container.ID = "observation/2", p.Runs[0].Container.ID[:12]+strings.Repeat("f", 52)
	return profile.New(append(p.Runs, other)...)
}

func TestContainersWithSimilarIDsHaveSeparateMetrics(t *testing.T) {
	source := &twins{*working()}
	got := asDescribed(t, description(t), handlerOf(source, ""), "/metrics", "", "")
	for _, run := range source.Latest().Runs {
		if got.Code != 200 || !strings.Contains(got.Body.String(), `container_id="`+run.Container.ID+`"`) {
			t.Errorf("%d: no series of %s", got.Code, run.Container.ID)
		}
	}
}

// blocked is a source whose database blocks until it is released.
type blocked struct {
	fake
	reading, release chan struct{}
}

func (f *blocked) Profile(ctx context.Context, selection store.Selection) (profile.Profile, store.Missing, error) {
	f.reading <- struct{}{}
	<-f.release
	return f.fake.Profile(ctx, selection)
}

func TestOneResponseFromTheDatabaseAtATime(t *testing.T) {
	source := &blocked{*working(), make(chan struct{}), make(chan struct{})}
	document, handler := description(t), handlerOf(source, "")
	first := make(chan int)
	go func() { first <- asDescribed(t, document, handler, "/api/v1/report", "", "").Code }()
	<-source.reading
	for _, path := range []string{"/api/v1/report", "/api/v1/profile", "/api/v1/flags", "/api/v1/alerts"} {
		if got := asDescribed(t, document, handler, path, "", ""); got.Code != 503 || got.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, %s", path, got.Code, got.Body)
		}
	}
	for _, path := range []string{"/readyz", "/metrics", "/api/v1/state"} {
		if got := asDescribed(t, document, handler, path, "", ""); got.Code != 200 {
			t.Errorf("%s is blocked by a report: %d", path, got.Code)
		}
	}
	close(source.release)
	if got := <-first; got != 200 {
		t.Errorf("the first request got %d", got)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404},
		{"GET", "/api/v1/nothing", 404},
		{"GET", "/api/v1/report/", 404},
		{"POST", "/nothing", 404},
		{"POST", "/api/v1/report", 405},
		{"DELETE", "/readyz", 405},
		{"OPTIONS", "*", 400},
		{"GET", "/debug/pprof/nothing", 404},
		{"GET", "/debug/pprof/heap?seconds=x", 400},
		{"POST", "/debug/pprof/", 405},
		{"PUT", "/debug/pprof/profile", 405},
	} {
		handler := Handler(working(), prometheus.NewRegistry(), Options{Pprof: true, Stale: time.Hour, Settled: time.Minute, Version: "1", Log: zap.NewNop()})
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(test.method, test.path, nil))
		var got struct {
			Title, Detail string
			Status        int
		}
		err := json.Unmarshal(recorder.Body.Bytes(), &got)
		if err != nil || recorder.Code != test.want || got.Status != test.want || got.Title == "" || got.Detail == "" ||
			recorder.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d, %v, %s", test.method, test.path, recorder.Code, recorder.Header(), recorder.Body)
		}
		if allow := recorder.Header().Get("Allow"); (test.want == 405) != (allow == "GET, HEAD") {
			t.Errorf("%s %s: Allow: %s", test.method, test.path, allow)
		}
	}
}

// withProblems does not change successful responses, and their handlers can set deadlines.
func TestWithProblemsDoesNotChangeOtherResponses(t *testing.T) {
	server := httptest.NewServer(withProblems(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("unchanged"))
	})))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "unchanged" || response.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("%v: %q, %v", err, body, response.Header)
	}
}

func working() *fake {
	return &fake{state: daemon.State{Hook: monitor.Tracepoint, ID: "0123", Began: saturday, Saved: time.Now()}}
}

func handlerOf(source Source, token string) http.Handler {
	return Handler(source, prometheus.NewRegistry(), Options{Token: token, Stale: time.Hour, Settled: time.Minute, Version: "1", Log: zap.NewNop()})
}

// description returns openapi.json after validating it.
func description(t testing.TB) *openapi3.T {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return document
}

func TestExactlyTheRoutesAreDescribed(t *testing.T) {
	var routed []string
	for path := range (&server{}).routes(nil) {
		routed = append(routed, path)
	}
	slices.Sort(routed)
	paths := description(t).Paths
	if described := paths.InMatchingOrder(); !slices.Equal(slices.Sorted(slices.Values(described)), routed) {
		t.Errorf("described %v, wanted %v", described, routed)
	}
	for path, item := range paths.Map() {
		if operations := item.Operations(); len(operations) != 1 || operations[http.MethodGet] == nil {
			t.Errorf("%s is described for %v", path, operations)
		}
	}
}

// asDescribed sends a request and validates the response against the description.
func asDescribed(t testing.TB, document *openapi3.T, handler http.Handler, path, query, authorization string) *httptest.ResponseRecorder {
	t.Helper()
	request := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}, Body: http.NoBody}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
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
	stale, unsaved, broken := working(), working(), working()
	stale.state.Saved = saturday
	unsaved.state.Saved = time.Time{}
	broken.err, broken.state.Trouble, broken.state.Failures = errors.New("no room"), "no room", 3
	lossy, settled, much := working(), working(), working()
	lossy.state.LossNoticed, lossy.state.LastLoss = time.Now(), "12 checks found no room; flood has 131000 entries"
	settled.state.LossNoticed, settled.state.LastLoss = time.Now().Add(-2*time.Minute), "12 checks found no room"
	much.err = fmt.Errorf("%w: more than 32MiB", store.ErrTooMuch)
	for _, test := range []struct {
		source *fake
		token  string
		path   string
		query  string
		want   int
		says   string
	}{
		{working(), "", "/healthz", "", 200, "ok\n"},
		{working(), "", "/readyz", "", 200, "ready\n"},
		{stale, "", "/readyz", "", 503, "nothing was saved since 2026-08-01"},
		{unsaved, "", "/readyz", "", 503, "nothing was saved yet"},
		{broken, "", "/readyz", "", 503, "no room"},
		{broken, "", "/healthz", "", 200, "ok\n"},
		{lossy, "", "/readyz", "", 503, "flood has 131000 entries; ready again at"},
		{lossy, "", "/api/v1/state", "", 200, `"lastLoss":"12 checks`},
		{settled, "", "/readyz", "", 200, "ready\n"},
		{much, "", "/api/v1/report", "", 422, "narrow it with container"},
		{much, "", "/api/v1/alerts", "", 422, "narrow it with container"},
		{working(), "", "/metrics", "", 200, `capmon_build_info{hook="tp_btf",version="1"} 1`},
		{unsaved, "", "/metrics", "", 200, "capmon_last_save_timestamp_seconds 0"},
		{broken, "", "/metrics", "", 200, "capmon_save_failures_total 3"},
		{working(), "", "/api/v1/openapi.json", "", 200, `"openapi"`},
		{working(), "", "/api/v1/state", "", 200, `"recording":"0123"`},
		{broken, "", "/api/v1/state", "", 200, `"trouble":"no room"`},
		{working(), "", "/api/v1/report", "", 200, `"CHOWN"`},
		{working(), "", "/api/v1/report", "container=nothing", 200, `"containers": []`},
		{working(), "", "/api/v1/profile", "image=a*", 200, `"format":"capmon profile"`},
		{working(), "", "/api/v1/flags", "", 200, "--cap-drop=ALL --cap-add=CHOWN"},
		{working(), "", "/api/v1/flags", "for=kubernetes&style=absolute", 200, `"target":"kubernetes"`},
		{working(), "", "/api/v1/alerts", "since=2026-08-01T12:00:00Z", 200, "raw-socket"},
		{broken, "", "/api/v1/report", "", 503, "no room"},
		{broken, "", "/api/v1/profile", "", 503, "no room"},
		{broken, "", "/api/v1/flags", "", 503, "no room"},
		{broken, "", "/api/v1/alerts", "", 503, "no room"},
		{working(), "", "/api/v1/report", "images=a", 400, `unknown parameter \"images\"`},
		{working(), "", "/api/v1/report", "image=%zz", 400, "invalid query string"},
		{working(), "", "/api/v1/report", "image=a;image=b", 400, "invalid query string"},
		{working(), "", "/api/v1/report", "image=[", 400, "["},
		{working(), "", "/api/v1/profile", "since=yesterday", 400, "is not a time"},
		{working(), "", "/api/v1/profile", "since=2026-08-01T12:00:00Z&since=2026-08-01T12:00:00Z", 400, "set it once"},
		{working(), "", "/api/v1/alerts", "for=docker", 400, "unknown parameter"},
		{working(), "", "/api/v1/flags", "for=dockerr", 400, `unknown target \"dockerr\"`},
		{working(), "", "/api/v1/flags", "for=", 400, `unknown target \"\"`},
		{working(), "", "/api/v1/flags", "for=docker&for=podman", 400, "set it once"},
		{working(), "", "/api/v1/flags", "style=none", 400, "unknown style"},
		{working(), "0123456789abcdef", "/healthz", "", 401, "Authorization: Bearer"},
		{working(), "0123456789abcdef", "/metrics", "", 401, "Authorization: Bearer"},
		{working(), "0123456789abcdef", "/api/v1/flags", "", 401, "Authorization: Bearer"},
	} {
		t.Run(fmt.Sprintf("%s?%s %d", test.path, test.query, test.want), func(t *testing.T) {
			got := asDescribed(t, document, handlerOf(test.source, test.token), test.path, test.query, "")
			if got.Code != test.want || !strings.Contains(got.Body.String(), test.says) {
				t.Errorf("%d, %s; wanted %d, %s", got.Code, got.Body, test.want, test.says)
			}
		})
	}
}

// For every query, the response is as described and in JSON, and no invalid query selects everything.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{
		"", "container=web&container=db", "image=nginx%3A*", "image=[", "label=a%3Db", "compose-service=shop/db", "since=2026-01-02T15:04:05Z",
		"until=", "for=kubernetes&style=delta", "style=delta", "a;b", "%", "=", "&&", "container=%ff%00%1b", "since=\"\n", "x=" + url.QueryEscape(hostile),
	} {
		f.Add(query)
	}
	document, handler := description(f), handlerOf(working(), "")
	f.Fuzz(func(t *testing.T, query string) {
		parsed, malformed := url.ParseQuery(query)
		for _, path := range []string{"/api/v1/report", "/api/v1/profile", "/api/v1/flags", "/api/v1/alerts"} {
			got := asDescribed(t, document, handler, path, query, "")
			if got.Code != 200 && got.Code != 400 && got.Code != 409 || !json.Valid(got.Body.Bytes()) {
				t.Errorf("%s?%s: %d, %s", path, query, got.Code, got.Body)
			}
			if got.Code == 200 && (malformed != nil || parsed.Has("unknown")) {
				t.Errorf("%s?%s was accepted", path, query)
			}
		}
	})
}

func TestHeadersReportWhatMayBeMissing(t *testing.T) {
	document, handler := description(t), handlerOf(working(), "")
	for path, want := range map[string][2]string{
		"/api/v1/report": {"1 runs until 2026-08-01T12:00:00Z", "1 containers, which needed nothing"},
		"/api/v1/alerts": {"1 alerts until 2026-08-01T12:00:00Z", "1 alerts"},
	} {
		header := asDescribed(t, document, handler, path, "", "").Header()
		if got := [2]string{header.Get("X-Capmon-Pruned"), header.Get("X-Capmon-Unknown")}; got != want {
			t.Errorf("%s: %q, wanted %q", path, got, want)
		}
	}
}
