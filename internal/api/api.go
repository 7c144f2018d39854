// Package api is the HTTP API of capmon serve.
package api

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/store"
)

// openAPI is the OpenAPI description of the responses of [Handler].
//
//go:embed openapi.json
var openAPI []byte

const (
	// readTimeout is the timeout of reading the database for a response.
	readTimeout = 30 * time.Second
	// maxRead is the maximum size of the runs or alerts that are read for a response, in bytes. maxResponse is the
	// maximum size of a response.
	maxRead     = 32 << 20
	maxResponse = 64 << 20
	// retryAfter is the number of seconds in Retry-After.
	retryAfter = 5
	// maxScrapes is the maximum number of concurrent requests for metrics.
	maxScrapes = 2
)

// Source is the source of the data, usually a [daemon.Daemon]. Its methods are safe for concurrent use.
type Source interface {
	State() daemon.State
	// Latest returns what the last save read from the kernel. Current reads the kernel, and returns when.
	Latest() profile.Profile
	Current() (profile.Profile, time.Time, error)
	// Profile and Alerts read the database.
	Profile(ctx context.Context, selection store.Selection) (profile.Profile, store.Missing, error)
	Alerts(ctx context.Context, selection store.Selection) ([]alert.Alert, store.MissingAlerts, error)
	// Subscribe returns the latest alerts and those that arrive later. The caller closes the subscription.
	Subscribe() *daemon.AlertSubscription
}

// unsavedParameter is the parameter that adds the data that is not in the database yet.
const unsavedParameter = "unsaved"

// Headers that describe data that may match the request, but is not in the response.
const (
	prunedHeader  = "X-Capmon-Pruned"
	unknownHeader = "X-Capmon-Unknown"
)

// Options are the options of [Handler].
type Options struct {
	// Token that every request must contain; "" for none, if the permissions of the socket control access.
	Token string
	// Pprof adds Go's profiler below /debug/pprof/.
	Pprof bool
	// Stale is the maximum age of the last save. If the last save is older, the daemon is not ready.
	Stale time.Duration
	// Settled is how long the daemon is not ready after a loss.
	Settled time.Duration
	// Version of capmon. VersionNumber is the version without its commit.
	Version, VersionNumber string
	// Limiter limits the number of concurrent responses from the database. Handlers can share it. nil for a limit of
	// one.
	Limiter Limiter
	// Ending ends the streams of events when it is done. nil for never.
	Ending context.Context
	Log    *zap.Logger
}

// Limiter limits the number of concurrent requests. It is safe for concurrent use.
type Limiter chan struct{}

// NewLimiter returns a Limiter for n concurrent requests.
func NewLimiter(n int) Limiter { return make(Limiter, n) }

// limit returns a handler that rejects requests beyond the limit with 503 and Retry-After. A client that reads slowly
// occupies a place until writeTimeout at most, because its response is in memory until then.
func (l Limiter) limit(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case l <- struct{}{}:
			defer func() { <-l }()
			next(w, r)
		default:
			tooMany(w)
		}
	}
}

// wait waits for a place, for limiterTimeout at most. Call release to free the place.
func (l Limiter) wait(ctx context.Context) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, limiterTimeout)
	defer cancel()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, errTooMany
	}
}

var errTooMany = errors.New("too many requests at the same time")

// tooMany responds that there are too many requests at the same time.
func tooMany(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	problem(w, http.StatusServiceUnavailable, fmt.Errorf("%w: try again in %d seconds", errTooMany, retryAfter))
}

type server struct {
	source  Source
	options Options
	streams Limiter
	cache   pageCache
	span    pageSpan
	current containersResponse
}

// Handler returns the handler of the API. It registers the metrics of the source with the registry.
func Handler(source Source, registry *prometheus.Registry, options Options) http.Handler {
	if options.Limiter == nil {
		options.Limiter = NewLimiter(1)
	}
	s := &server{source: source, options: options, streams: NewLimiter(maxStreams)}
	registry.MustRegister(newMetrics(source, options.Version))
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry: registry, ErrorLog: zap.NewStdLog(options.Log), ErrorHandling: promhttp.ContinueOnError,
	})
	for path, handle := range s.routes(NewLimiter(maxScrapes).limit(metrics.ServeHTTP)) {
		if path == "/" {
			path = "/{$}" // without the paths below it
		}
		mux.HandleFunc("GET "+path, handle)
		mux.HandleFunc(path, onlyGet)
	}
	mux.HandleFunc("/", unknown)
	if options.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/", onlyGet)
	}
	return notForOtherSites(s.requireToken(s.rejectOtherSites(withProblems(mux))))
}

// routes returns the handlers by path. openAPI describes the same paths.
func (s *server) routes(metrics http.HandlerFunc) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/":                    s.page,
		"/healthz":             s.health,
		"/readyz":              s.ready,
		"/metrics":             metrics,
		"/api/v1/openapi.json": s.describe,
		"/api/v1/state":        s.state,
		"/api/v1/containers":   s.containers,
		"/api/v1/report":       s.options.Limiter.limit(s.report),
		"/api/v1/profile":      s.options.Limiter.limit(s.profile),
		"/api/v1/flags":        s.options.Limiter.limit(s.flags),
		"/api/v1/alerts":       s.options.Limiter.limit(s.alerts),
		"/api/v1/events":       s.streams.limit(s.events),
	}
}

func onlyGet(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	problem(w, http.StatusMethodNotAllowed, fmt.Errorf("%s accepts only GET and HEAD", r.URL.Path))
}

func unknown(w http.ResponseWriter, r *http.Request) {
	problem(w, http.StatusNotFound, fmt.Errorf("unknown path %q: /api/v1/openapi.json describes the API", r.URL.Path))
}

func (s *server) describe(w http.ResponseWriter, _ *http.Request) {
	respond(w, "application/json", openAPI)
}

// health responds with 200, which shows that the process works.
func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	respond(w, "text/plain", []byte("ok\n"))
}

// ready responds with 200 if all recorded data reaches the database, and otherwise with the reason why it does not.
func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if reason := s.unready(s.source.State()); reason != "" {
		problem(w, http.StatusServiceUnavailable, errors.New(reason))
		return
	}
	respond(w, "text/plain", []byte("ready\n"))
}

// unready returns why the daemon is not ready; "" if it is.
func (s *server) unready(state daemon.State) string {
	switch {
	case state.Trouble != "":
		return state.Trouble
	case state.Saved.IsZero():
		return "nothing was saved yet"
	case time.Since(state.Saved) > s.options.Stale:
		return fmt.Sprintf("nothing was saved since %s", state.Saved.Format(time.RFC3339))
	case !state.LossNoticed.IsZero() && time.Since(state.LossNoticed) <= s.options.Settled:
		return fmt.Sprintf("capmon lost records (noticed at %s): %s; ready again at %s unless more is lost",
			state.LossNoticed.Format(time.RFC3339), state.LastLoss, state.LossNoticed.Add(s.options.Settled).Format(time.RFC3339))
	}
	return ""
}

func (s *server) state(w http.ResponseWriter, _ *http.Request) {
	respondJSON(w, s.source.State())
}

// report responds with the output of capmon report -o json.
func (s *server) report(w http.ResponseWriter, r *http.Request) {
	p, ok := s.selected(w, r, nil)
	if !ok {
		return
	}
	var out, notes bytes.Buffer
	evidence := profile.Evidence{Scope: scopeOf(r), Created: time.Now().UTC(), Capmon: s.options.VersionNumber}.WithRuns(p.Runs)
	if err := report.Write(&out, &notes, p, report.JSON, report.Options{Evidence: evidence}); err != nil {
		problem(w, http.StatusInternalServerError, err)
		return
	}
	respond(w, "application/json", out.Bytes())
}

// scopeOf describes in words what a valid request selects.
func scopeOf(r *http.Request) string {
	const all = "database of capmon serve"
	selection, _ := selectionOf(r, nil)
	if options := selection.WithoutLabelValues().Options(); options != "" {
		return all + ", " + options
	}
	return all
}

// profile responds with a profile in the format of capmon profile --save.
func (s *server) profile(w http.ResponseWriter, r *http.Request) {
	unsaved, err := flagOf(r, unsavedParameter)
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	p, ok := s.selected(w, r, []string{unsavedParameter})
	if !ok {
		return
	}
	if unsaved {
		if p, err = s.withUnsaved(r, p); err != nil {
			problem(w, http.StatusServiceUnavailable, err)
			return
		}
	}
	respondJSON(w, p)
}

// withUnsaved adds the selected runs that are in the kernel to the runs of the database.
func (s *server) withUnsaved(r *http.Request, saved profile.Profile) (profile.Profile, error) {
	current, _, err := s.source.Current()
	if err != nil {
		return profile.Profile{}, err
	}
	selection, err := selectionOf(r, []string{unsavedParameter})
	if err != nil {
		return profile.Profile{}, err
	}
	if current, err = selection.Of(current); err != nil {
		return profile.Profile{}, err
	}
	return profile.Merge(saved, current), nil
}

// Settings are the settings of a target that grant containers their lists.
type Settings struct {
	Target string `json:"target"`
	Style  string `json:"style"`
	// Text for the target's file or command line. Containers without settings are only in Notes.
	Text string `json:"text"`
	// Notes to read before you use the text.
	Notes []Note `json:"notes"`
}

// Note is a note about a container.
type Note struct {
	Container string `json:"container"`
	Text      string `json:"text"`
}

// flags responds with the settings of a target that grant the lists.
func (s *server) flags(w http.ResponseWriter, r *http.Request) {
	target, style, anyStart, err := settingsOf(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	p, ok := s.selected(w, r, []string{"for", "style", settings.EvenIfStartUnseen})
	if !ok {
		return
	}
	all := settings.Containers(p)
	if anyStart {
		settings.AcceptAnyStart(all)
	}
	text, notes, err := target.Settings(all, style)
	if unseen := (*settings.StartUnseenError)(nil); errors.As(err, &unseen) {
		err = errors.New(unseen.Explain(settings.EvenIfStartUnseen + "=true"))
	}
	if err != nil {
		problem(w, http.StatusConflict, err)
		return
	}
	settings := Settings{Target: target.Name, Style: string(style), Text: text, Notes: []Note{}}
	for _, note := range notes {
		settings.Notes = append(settings.Notes, Note{note.Label, note.Text})
	}
	for _, c := range all {
		for _, text := range report.Notes(c.Summary) {
			settings.Notes = append(settings.Notes, Note{c.Label, text})
		}
	}
	respondJSON(w, settings)
}

// settingsOf reads the parameters that select the settings. The default is Docker's.
func settingsOf(r *http.Request) (target settings.Target, style settings.Style, anyStart bool, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return target, style, false, fmt.Errorf("invalid query string: %w", err)
	}
	named, err := once(query, "for", settings.Docker)
	if err == nil {
		target, err = settings.ParseTarget(named)
	}
	if err != nil {
		return target, style, false, err
	}
	if named, err = once(query, "style", string(settings.Absolute)); err == nil {
		style, err = settings.ParseStyle(named)
	}
	if err != nil {
		return target, style, false, err
	}
	anyStart, err = flagOf(r, settings.EvenIfStartUnseen)
	return target, style, anyStart, err
}

// flagOf reads a parameter that is true or false. The default is false.
func flagOf(r *http.Request, name string) (bool, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return false, fmt.Errorf("invalid query string: %w", err)
	}
	value, err := once(query, name, "false")
	switch {
	case err != nil:
		return false, err
	case value != "true" && value != "false":
		return false, fmt.Errorf("%s must be true or false, not %q", name, value)
	}
	return value == "true", nil
}

func (s *server) alerts(w http.ResponseWriter, r *http.Request) {
	selection, err := selectionOf(r, nil)
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	alerts, missing, err := s.source.Alerts(ctx, selection)
	if err != nil {
		readError(w, err)
		return
	}
	if n := len(missing.Unknown); n > 0 {
		w.Header().Set(unknownHeader, fmt.Sprintf("%d alerts", n))
	}
	if missing.Pruned > 0 {
		w.Header().Set(prunedHeader, fmt.Sprintf("%d alerts until %s", missing.Pruned, missing.Until.Format(time.RFC3339)))
	}
	respondJSON(w, append([]alert.Alert{}, alerts...)) // never null in JSON
}

// selected returns the selected runs in the database. It sets headers that describe further runs that may match the
// request. If it returns false, it has responded with an error. more lists further parameters that the request may
// have.
func (s *server) selected(w http.ResponseWriter, r *http.Request, more []string) (profile.Profile, bool) {
	selection, err := selectionOf(r, more)
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return profile.Profile{}, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	p, missing, err := s.source.Profile(ctx, selection)
	if err != nil {
		readError(w, err)
		return profile.Profile{}, false
	}
	if n := len(missing.Unknown.Containers); n > 0 {
		w.Header().Set(unknownHeader, fmt.Sprintf("%d containers, which needed %s", n, cmp.Or(missing.Unknown.Needed.Text(), "nothing")))
	}
	for _, gone := range missing.Pruned {
		w.Header().Add(prunedHeader, fmt.Sprintf("%d runs until %s", gone.Number, gone.Until.Format(time.RFC3339)))
	}
	return p, true
}

// selectionOf reads the parameters of a request. An unknown parameter is an error, because a typing error would
// otherwise select everything.
func selectionOf(r *http.Request, more []string) (selection store.Selection, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return selection, fmt.Errorf("invalid query string: %w", err)
	}
	for name, values := range query {
		switch name {
		case "container":
			selection.Containers = values
		case "image":
			selection.Images = values
		case "label":
			selection.Labels = values
		case "compose-service":
			selection.ComposeServices = values
		case "since":
			selection.Since, err = parseTime(name, query)
		case "until":
			selection.Until, err = parseTime(name, query)
		default:
			if !slices.Contains(more, name) {
				err = fmt.Errorf("unknown parameter %q: use %s", name, strings.Join(append([]string{"container", "image", "label", "compose-service", "since", "until"}, more...), ", "))
			}
		}
		if err != nil {
			return selection, err
		}
	}
	selection.Limit = maxRead
	_, err = selection.Of(profile.Profile{}) // validates the patterns
	return selection, err
}

func parseTime(name string, values url.Values) (time.Time, error) {
	value, err := once(values, name, "")
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return t, fmt.Errorf("%s=%s is not a time such as 2026-01-02T15:04:05Z", name, strconv.Quote(value))
	}
	return t, nil
}

// once returns the value of a parameter that may occur only once.
func once(query url.Values, name, byDefault string) (string, error) {
	switch values := query[name]; len(values) {
	case 0:
		return byDefault, nil
	case 1:
		return values[0], nil
	default:
		return "", fmt.Errorf("%s occurs %d times: set it once", name, len(values))
	}
}

// readError responds with an error of reading the database.
func readError(w http.ResponseWriter, err error) {
	status, err := readStatus(err)
	problem(w, status, err)
}

// readStatus returns the status code of an error of reading the database, and the error with what to do. If the
// response would be too large, the status code is the same as Prometheus'.
func readStatus(err error) (int, error) {
	if errors.Is(err, store.ErrTooMuch) {
		return http.StatusUnprocessableEntity, fmt.Errorf("%w: narrow it with container, image, label, compose-service, since or until, or use the commands capmon report and capmon db alerts, which have no limit", err)
	}
	return http.StatusServiceUnavailable, err
}

func respond(w http.ResponseWriter, contentType string, body []byte) {
	if len(body) > maxResponse {
		readError(w, fmt.Errorf("%w: the response has %d bytes, more than %d", store.ErrTooMuch, len(body), maxResponse))
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body) // an error means that the client has disconnected
}

func respondJSON(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		problem(w, http.StatusInternalServerError, err)
		return
	}
	respond(w, "application/json", append(body, '\n'))
}
