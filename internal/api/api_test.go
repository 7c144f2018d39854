package api

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/api/apitest"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// twins is a source with two running containers whose IDs have the same first twelve digits.
type twins struct{ apitest.Source }

func (f *twins) Latest() profile.Profile {
	p := f.Source.Latest()
	other := p.Runs[0]
	other.ID, other.Container.ID = "observation/2", p.Runs[0].Container.ID[:12]+strings.Repeat("f", 52)
	return profile.New(append(p.Runs, other)...)
}

func TestContainersWithSimilarIDsHaveSeparateMetrics(t *testing.T) {
	source := &twins{*apitest.Working()}
	got := get(handlerOf(source, ""), "/metrics", "")
	for _, run := range source.Latest().Runs {
		if got.Code != 200 || !strings.Contains(got.Body.String(), `container_id="`+run.Container.ID+`"`) {
			t.Errorf("%d: no series of %s", got.Code, run.Container.ID)
		}
	}
}

// blocked is a source whose database blocks until it is released.
type blocked struct {
	apitest.Source
	reading, release chan struct{}
}

func (f *blocked) Profile(ctx context.Context, selection store.Selection) (profile.Profile, store.Missing, error) {
	f.reading <- struct{}{}
	<-f.release
	return f.Source.Profile(ctx, selection)
}

func TestOneResponseFromTheDatabaseAtATime(t *testing.T) {
	source := &blocked{*apitest.Working(), make(chan struct{}), make(chan struct{})}
	handler := handlerOf(source, "")
	first := make(chan int)
	go func() { first <- get(handler, "/api/v1/report", "").Code }()
	<-source.reading
	for _, path := range []string{"/api/v1/report", "/api/v1/profile", "/api/v1/flags", "/api/v1/alerts"} {
		if got := get(handler, path, ""); got.Code != 503 || got.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, %s", path, got.Code, got.Body)
		}
	}
	for _, path := range []string{"/readyz", "/metrics", "/api/v1/state", "/api/v1/containers"} {
		if got := get(handler, path, ""); got.Code != 200 {
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
		{"POST", "/", 405},
		{"POST", "/api/v1/events", 405},
		{"GET", "/index.html", 404},
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
		handler := Handler(apitest.Working(), prometheus.NewRegistry(), Options{Pprof: true, Stale: time.Hour, Settled: time.Minute, Version: "1", Log: zap.NewNop()})
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, requestFor(test.method, test.path))
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

func handlerOf(source Source, token string) http.Handler {
	return Handler(source, prometheus.NewRegistry(), Options{Token: token, Stale: time.Hour, Settled: time.Minute, Version: "1", VersionNumber: "v0.9", Log: zap.NewNop()})
}

// requestFor returns a request to this machine.
func requestFor(method, path string) *http.Request {
	request := httptest.NewRequest(method, path, nil)
	request.Host = "localhost"
	return request
}

// get sends a request. The authorization is the value of its header; "" for none. test/compat/api compares responses
// with their description.
func get(handler http.Handler, path, authorization string) *httptest.ResponseRecorder {
	request := requestFor(http.MethodGet, path)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func TestExactlyTheRoutesAreDescribed(t *testing.T) {
	var description struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(openAPI, &description); err != nil {
		t.Fatal(err)
	}
	routed := slices.Sorted(maps.Keys((&server{}).routes(nil)))
	if described := slices.Sorted(maps.Keys(description.Paths)); !slices.Equal(described, routed) {
		t.Errorf("described %v, wanted %v", described, routed)
	}
	for path, operations := range description.Paths {
		if len(operations) != 1 || operations["get"] == nil {
			t.Errorf("%s is described for %v", path, slices.Collect(maps.Keys(operations)))
		}
	}
}

func TestHeadersReportWhatMayBeMissing(t *testing.T) {
	handler := handlerOf(apitest.Working(), "")
	for path, want := range map[string][2]string{
		"/api/v1/report": {"1 runs until 2026-08-01T12:00:00Z", "1 containers, which needed nothing"},
		"/api/v1/alerts": {"1 alerts until 2026-08-01T12:00:00Z", "1 alerts"},
	} {
		header := get(handler, path, "").Header()
		if got := [2]string{header.Get("X-Capmon-Pruned"), header.Get("X-Capmon-Unknown")}; got != want {
			t.Errorf("%s: %q, wanted %q", path, got, want)
		}
	}
}

func TestReportHasItsEvidence(t *testing.T) {
	handler := handlerOf(apitest.Working(), "")
	for query, scope := range map[string]string{
		"": "database of capmon serve",
		"?until=2026-08-01T13:00:00Z&label=*%3Dsecret&label=*": `database of capmon serve, --label "*=…" --label "*" --until 2026-08-01T13:00:00Z`,
	} {
		var got struct{ Evidence profile.Evidence }
		if err := json.Unmarshal(get(handler, "/api/v1/report"+query, "").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if e := got.Evidence; e.Scope != scope || e.Capmon != "v0.9" || e.Created.IsZero() || query == "" && (!e.From.Equal(apitest.Saturday) || len(e.Hosts) != 1) {
			t.Errorf("%q: %+v", query, e)
		}
	}
}

func TestCurrentContainers(t *testing.T) {
	source := apitest.Working()
	response := get(handlerOf(source, ""), "/api/v1/containers", "")
	var got Containers
	if err := json.Unmarshal(response.Body.Bytes(), &got); err != nil || response.Code != 200 {
		t.Fatalf("%d, %v: %s", response.Code, err, response.Body)
	}
	chown, defaults := capability.Of(capability.Chown), capability.DockerDefault()
	if len(got.Containers) != 1 || !got.Time.Equal(apitest.Saturday) {
		t.Fatalf("%+v", got)
	}
	c := got.Containers[0]
	if c.Used != chown || *c.Granted != defaults || c.Unused != defaults.Minus(chown) || !c.Denied.Empty() || !c.Running || c.Checks != 1 ||
		c.LastUse == nil || c.LastUse.Capability != capability.Chown || c.LastUse.Denied || !c.LastUse.Time.Equal(apitest.Saturday) {
		t.Errorf("%+v", c)
	}
}

// recording is a source whose current state a test sets. Its database has the run of apitest without uses.
type recording struct {
	apitest.Source
	at      time.Time
	current profile.Profile
}

func (r *recording) Current() (profile.Profile, time.Time, error) { return r.current, r.at, nil }

func (r *recording) Profile(_ context.Context, selection store.Selection) (profile.Profile, store.Missing, error) {
	p := r.Latest()
	p.Runs[0].Uses = nil
	p, err := selection.Of(p)
	return p, store.Missing{}, err
}

func TestTheCurrentStateIsNeverOld(t *testing.T) {
	source := &recording{Source: *apitest.Working(), at: apitest.Saturday}
	handler := handlerOf(source, "")
	count := func() int {
		var got Containers
		if err := json.Unmarshal(get(handler, "/api/v1/containers", "").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		return len(got.Containers)
	}
	if n := count(); n != 0 {
		t.Errorf("%d containers", n)
	}
	source.current = source.Latest()
	source.at = source.at.Add(time.Second)
	if n := count(); n != 1 {
		t.Errorf("%d containers", n)
	}
}

func TestUnsavedDataIsAddedOnRequest(t *testing.T) {
	source := &recording{Source: *apitest.Working(), at: apitest.Saturday}
	source.current = source.Latest()
	source.current.Runs[0].Observation.End = source.current.Runs[0].Observation.End.Add(time.Second)
	for query, want := range map[string]int{"": 0, "?unsaved=false": 0, "?unsaved=true": 1, "?unsaved=true&image=none": -1} {
		var got profile.Profile
		response := get(handlerOf(source, ""), "/api/v1/profile"+query, "")
		if err := json.Unmarshal(response.Body.Bytes(), &got); err != nil || response.Code != 200 {
			t.Fatalf("%s: %d, %v: %s", query, response.Code, err, response.Body)
		}
		if want < 0 && len(got.Runs) != 0 || want >= 0 && (len(got.Runs) != 1 || len(got.Runs[0].Uses) != want) {
			t.Errorf("%s: %+v", query, got.Runs)
		}
	}
	for _, path := range []string{"/api/v1/profile?unsaved=yes", "/api/v1/report?unsaved=true", "/api/v1/profile?unsaved=true&unsaved=true"} {
		if got := get(handlerOf(source, ""), path, ""); got.Code != 400 {
			t.Errorf("%s: %d, %s", path, got.Code, got.Body)
		}
	}
}
