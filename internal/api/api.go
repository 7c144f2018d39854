// Package api answers over HTTP what a daemon knows.
package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
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

// openAPI describes what Handler answers.
//
//go:embed openapi.json
var openAPI []byte

const (
	// answerTime bounds an answer from the database.
	answerTime = 30 * time.Second
	// maxRead is how many bytes of runs or alerts one answer reads of the database at most, and
	// maxAnswer how large an answer may be.
	maxRead   = 32 << 20
	maxAnswer = 64 << 20
	// retryAfter is how many seconds later a client should ask again that was turned away.
	retryAfter = 5
	// scrapes is how many requests for metrics are answered at the same time.
	scrapes = 2
)

// Source is what a daemon knows.
type Source interface {
	State() daemon.State
	Latest() profile.Profile
	Profile(ctx context.Context, selection store.Selection) (profile.Profile, store.Missing, error)
	Alerts(ctx context.Context, selection store.Selection) ([]alert.Alert, store.MissingAlerts, error)
}

// Headers that tell what may be meant and is not in an answer.
const (
	prunedHeader  = "X-Capmon-Pruned"
	unknownHeader = "X-Capmon-Unknown"
)

// Options of a Handler.
type Options struct {
	// Token that every request has to bear; "" for none, where the socket's permissions
	// decide.
	Token string
	// Pprof answers below /debug/pprof/.
	Pprof bool
	// Stale is how old the last save may be for the daemon to count as ready.
	Stale time.Duration
	// Settled is how long nothing may have been lost for the daemon to count as ready.
	Settled time.Duration
	// Version of capmon.
	Version string
	// Turn lets one answer at a time be made of what the database has, by all Handlers that share it;
	// nil for a turn of its own.
	Turn Turn
	Log  *zap.Logger
}

// Turn is for one at a time.
type Turn chan struct{}

// NewTurn makes one that nobody has, for some at a time.
func NewTurn(places int) Turn { return make(Turn, places) }

// inTurn answers if it is free, and otherwise asks the client to come later. A client that reads
// slowly keeps it, for writeTime at most: its answer is in memory until then.
func (t Turn) inTurn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case t <- struct{}{}:
			defer func() { <-t }()
			next(w, r)
		default:
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
			problem(w, http.StatusServiceUnavailable, fmt.Errorf("another answer is being made, and there is one at a time: ask again in %d seconds", retryAfter))
		}
	}
}

type server struct {
	source  Source
	options Options
}

// Handler answers for a source.
func Handler(source Source, registry *prometheus.Registry, options Options) http.Handler {
	if options.Turn == nil {
		options.Turn = NewTurn(1)
	}
	s := &server{source, options}
	registry.MustRegister(newMetrics(source, options.Version))
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry: registry, ErrorLog: zap.NewStdLog(options.Log), ErrorHandling: promhttp.ContinueOnError,
	})
	for path, handle := range s.routes(NewTurn(scrapes).inTurn(metrics.ServeHTTP)) {
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
	return s.guarded(withProblems(mux))
}

// routes are what openAPI describes.
func (s *server) routes(metrics http.HandlerFunc) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/healthz":             s.health,
		"/readyz":              s.ready,
		"/metrics":             metrics,
		"/api/v1/openapi.json": s.describe,
		"/api/v1/state":        s.state,
		"/api/v1/report":       s.options.Turn.inTurn(s.report),
		"/api/v1/profile":      s.options.Turn.inTurn(s.profile),
		"/api/v1/flags":        s.options.Turn.inTurn(s.flags),
		"/api/v1/alerts":       s.options.Turn.inTurn(s.alerts),
	}
}

func onlyGet(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	problem(w, http.StatusMethodNotAllowed, fmt.Errorf("%s takes GET alone", r.URL.Path))
}

func unknown(w http.ResponseWriter, r *http.Request) {
	problem(w, http.StatusNotFound, fmt.Errorf("there is no %q: /api/v1/openapi.json describes what there is", r.URL.Path))
}

// guarded lets only those in who bear the token, if there is one.
func (s *server) guarded(next http.Handler) http.Handler {
	if s.options.Token == "" {
		return next
	}
	wanted := sha256.Sum256([]byte(s.options.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, bears := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		given := sha256.Sum256([]byte(token))
		if !bears || subtle.ConstantTimeCompare(given[:], wanted[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Set("Connection", "close") // a stranger keeps no connection
			problem(w, http.StatusUnauthorized, errors.New("this takes the token: Authorization: Bearer …"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) describe(w http.ResponseWriter, _ *http.Request) {
	answer(w, "application/json", openAPI)
}

// health is whether the process works at all.
func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, "text/plain", []byte("ok\n"))
}

// ready is whether all that is recorded gets into the database.
func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if reason := s.unready(s.source.State()); reason != "" {
		problem(w, http.StatusServiceUnavailable, errors.New(reason))
		return
	}
	answer(w, "text/plain", []byte("ready\n"))
}

func (s *server) unready(state daemon.State) string {
	switch {
	case state.Trouble != "":
		return state.Trouble
	case state.Saved.IsZero():
		return "nothing has been saved yet"
	case time.Since(state.Saved) > s.options.Stale:
		return fmt.Sprintf("nothing was saved since %s", state.Saved.Format(time.RFC3339))
	case !state.LossNoticed.IsZero() && time.Since(state.LossNoticed) <= s.options.Settled:
		return fmt.Sprintf("capmon lost what it should have recorded, and noticed it at %s: %s; ready again at %s unless it loses more",
			state.LossNoticed.Format(time.RFC3339), state.LastLoss, state.LossNoticed.Add(s.options.Settled).Format(time.RFC3339))
	}
	return ""
}

func (s *server) state(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, s.source.State())
}

// report is what capmon report -o json prints.
func (s *server) report(w http.ResponseWriter, r *http.Request) {
	p, ok := s.selected(w, r, nil)
	if !ok {
		return
	}
	var out, notes bytes.Buffer
	if err := report.Write(&out, &notes, p, report.JSON, report.Options{}); err != nil {
		problem(w, http.StatusInternalServerError, err)
		return
	}
	answer(w, "application/json", out.Bytes())
}

// profile is what capmon profile --save writes.
func (s *server) profile(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.selected(w, r, nil); ok {
		answerJSON(w, p)
	}
}

// Settings grant containers their lists, in the words of a target.
type Settings struct {
	Target string `json:"target"`
	Style  string `json:"style"`
	// Text to put into the target's file, or command line. Containers without settings are
	// missing there, and in the notes.
	Text string `json:"text"`
	// What to know before relying on it, and of which container.
	Notes []Note `json:"notes"`
}

// Note is what to know of a container.
type Note struct {
	Container string `json:"container"`
	Text      string `json:"text"`
}

// flags are the settings that grant the lists, for a target.
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
		settings.TakeAnyStart(all)
	}
	text, notes, err := target.Settings(all, style)
	if err != nil {
		problem(w, http.StatusConflict, err)
		return
	}
	settings := Settings{Target: target.Name, Style: string(style), Text: text, Notes: []Note{}}
	for _, note := range notes {
		settings.Notes = append(settings.Notes, Note{note.Label, note.Text})
	}
	for _, c := range all {
		for _, caution := range slices.Concat(report.Cautions(c.Summary), report.Substitutes(c.Summary)) {
			settings.Notes = append(settings.Notes, Note{c.Label, caution})
		}
	}
	answerJSON(w, settings)
}

// settingsOf reads which settings are wanted, Docker's unless a request says otherwise.
func settingsOf(r *http.Request) (target settings.Target, style settings.Style, anyStart bool, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return target, style, false, fmt.Errorf("the parameters cannot be read: %w", err)
	}
	named, err := once(query, "for", "docker")
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
	switch named, err = once(query, settings.EvenIfStartUnseen, "false"); {
	case err != nil:
	case named == "true" || named == "false":
		anyStart = named == "true"
	default:
		err = fmt.Errorf("%s is true or false, not %q", settings.EvenIfStartUnseen, named)
	}
	return target, style, anyStart, err
}

func (s *server) alerts(w http.ResponseWriter, r *http.Request) {
	selection, err := selectionOf(r, nil)
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	alerts, missing, err := s.source.Alerts(ctx, selection)
	if err != nil {
		unread(w, err)
		return
	}
	if n := len(missing.Unknown); n > 0 {
		w.Header().Set(unknownHeader, fmt.Sprintf("%d alerts", n))
	}
	if missing.Pruned > 0 {
		w.Header().Set(prunedHeader, fmt.Sprintf("%d alerts until %s", missing.Pruned, missing.Until.Format(time.RFC3339)))
	}
	answerJSON(w, append([]alert.Alert{}, alerts...)) // in JSON never null
}

// selected is what the database has of the runs that a request means; false if it was answered
// why not. What may be meant and is not among them is told in headers.
func (s *server) selected(w http.ResponseWriter, r *http.Request, more []string) (profile.Profile, bool) {
	selection, err := selectionOf(r, more)
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return profile.Profile{}, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	p, missing, err := s.source.Profile(ctx, selection)
	if err != nil {
		unread(w, err)
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

// selectionOf reads the parameters of a request. One that means nothing is an error: a
// mistyped one would select everything.
func selectionOf(r *http.Request, more []string) (selection store.Selection, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return selection, fmt.Errorf("the parameters cannot be read: %w", err)
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
			selection.Since, err = moment(name, query)
		case "until":
			selection.Until, err = moment(name, query)
		default:
			if !slices.Contains(more, name) {
				err = fmt.Errorf("unknown parameter %q: choose among %s", name, strings.Join(append([]string{"container", "image", "label", "compose-service", "since", "until"}, more...), ", "))
			}
		}
		if err != nil {
			return selection, err
		}
	}
	selection.Limit = maxRead
	_, err = selection.Of(profile.Profile{}) // finds faults in patterns
	return selection, err
}

func moment(name string, values url.Values) (time.Time, error) {
	value, err := once(values, name, "")
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return t, fmt.Errorf("%s=%s is no moment such as 2026-01-02T15:04:05Z", name, strconv.Quote(value))
	}
	return t, nil
}

// once is the value of a parameter that is there once at most.
func once(query url.Values, name, usual string) (string, error) {
	switch values := query[name]; len(values) {
	case 0:
		return usual, nil
	case 1:
		return values[0], nil
	default:
		return "", fmt.Errorf("%s is there %d times: give it once", name, len(values))
	}
}

// unread answers why the database was not read.
func unread(w http.ResponseWriter, err error) {
	if errors.Is(err, store.ErrTooMuch) {
		tooMuch(w, err)
		return
	}
	problem(w, http.StatusServiceUnavailable, err)
}

// tooMuch answers that the answer would be too large, as Prometheus does.
func tooMuch(w http.ResponseWriter, err error) {
	problem(w, http.StatusUnprocessableEntity, fmt.Errorf("%w: narrow it by container, image, label, compose-service, since or until, or use the commands capmon report and capmon db alerts, which have no limit", err))
}

func answer(w http.ResponseWriter, kind string, body []byte) {
	if len(body) > maxAnswer {
		tooMuch(w, fmt.Errorf("the answer has %d bytes, more than %d", len(body), maxAnswer))
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) // who asked has gone
}

func answerJSON(w http.ResponseWriter, what any) {
	body, err := json.Marshal(what)
	if err != nil {
		problem(w, http.StatusInternalServerError, err)
		return
	}
	answer(w, "application/json", append(body, '\n'))
}
