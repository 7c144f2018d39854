package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/page"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/store"
)

const (
	// maxStreams is the maximum number of concurrent streams of events from a handler.
	maxStreams = 8
	// stateInterval is how often a stream checks whether the data has changed. pageInterval is the minimum time between
	// two pages of a stream.
	stateInterval = time.Second
	pageInterval  = 5 * time.Second
	// heartbeatInterval is the maximum time between two events of a stream.
	heartbeatInterval = 15 * time.Second
	// streamTimeout is how long a client may take to read an event. A stream ends if its client is slower.
	streamTimeout = 10 * time.Second
	// limiterTimeout is how long a page waits at most while other requests read the database.
	limiterTimeout = 10 * time.Second
	// maxBurst is the maximum number of alerts that a stream sends within burstInterval.
	maxBurst      = 50
	burstInterval = 250 * time.Millisecond
	// reconnectDelay is how long a browser waits before it connects again.
	reconnectDelay = 3 * time.Second
)

// page responds with the HTML page: the selected runs and the latest alerts.
func (s *server) page(w http.ResponseWriter, r *http.Request) {
	selection, err := selectionOf(r, nil)
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	release, err := s.options.Limiter.wait(r.Context())
	if err != nil {
		tooMany(w)
		return
	}
	defer release() // after writing, see Limiter.limit
	shown, err := s.currentPage(r.Context(), selection)
	if err != nil {
		readError(w, err)
		return
	}
	subscription := s.source.Subscribe()
	recent, err := selection.OfAlerts(subscription.Take(page.MaxAlerts))
	subscription.Close()
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	shown.Live = page.NewLive(recent)
	var out bytes.Buffer
	if err := page.Write(&out, shown); err != nil {
		problem(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Security-Policy", page.LivePolicy()+"; frame-ancestors 'none'")
	respond(w, "text/html; charset=utf-8", out.Bytes())
}

// currentPage reads the selected runs and returns their page. The caller has a place of the limiter.
func (s *server) currentPage(ctx context.Context, selection store.Selection) (page.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	state := s.source.State()
	p, missing, note, err := s.recentRuns(ctx, selection)
	if err != nil {
		return page.Page{}, err
	}
	made := state.Saved
	if made.IsZero() {
		made = time.Now()
	}
	shown := page.OfProfile(p, page.Options{Version: s.options.Version, Time: made})
	notes := s.troubles(state)
	if note != "" {
		notes = append(notes, note)
	}
	shown.Notes = append(append(notes, cautions(missing)...), shown.Notes...)
	return shown, nil
}

// troubles returns why the data may be incomplete or old.
func (s *server) troubles(state daemon.State) []string {
	if reason := s.unready(state); reason != "" {
		return []string{"This page may be incomplete or old: " + printable.Text(reason)}
	}
	return nil
}

// cautions describes data that may match the selection, but is not in the page.
func cautions(missing store.Missing) (all []string) {
	if n := len(missing.Unknown.Containers); n > 0 {
		all = append(all, fmt.Sprintf("Not in this page: containers that may match the selection, because their name, image or label value is unknown (%d). They needed %s.",
			n, cmp.Or(missing.Unknown.Needed.Text(), "nothing")))
	}
	var runs uint64
	var until time.Time
	for _, gone := range missing.Pruned {
		runs += gone.Number
		if gone.Until.After(until) {
			until = gone.Until
		}
	}
	if runs > 0 {
		all = append(all, fmt.Sprintf("Not in this page: runs that may match the selection, because they were removed from the database (%d). The latest one ended at %s.",
			runs, until.UTC().Format(time.RFC3339)))
	}
	return all
}

// pageEvent is a page for a stream.
type pageEvent struct {
	// version identifies the selection and the state of the source.
	version string
	data    []byte
	// id is the same for pages that show the same data.
	id string
}

// pageCache has the latest pageEvent, for streams with the same selection.
type pageCache struct {
	mu     sync.Mutex
	latest pageEvent
}

func (c *pageCache) get() pageEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

func (c *pageCache) set(latest pageEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = latest
}

// pageEvent returns the page of a selection, from the cache if it has the same version.
func (s *server) pageEvent(ctx context.Context, selection store.Selection, version string) (pageEvent, error) {
	release, err := s.options.Limiter.wait(ctx)
	if err != nil {
		return pageEvent{}, err
	}
	defer release()
	if cached := s.cache.get(); cached.version == version {
		return cached, nil
	}
	shown, err := s.currentPage(ctx, selection)
	if err != nil {
		return pageEvent{}, err
	}
	data, err := page.JSON(shown)
	if err != nil {
		return pageEvent{}, err
	}
	shown.Made = "" // for the ID, only the data counts
	withoutTime, err := page.JSON(shown)
	if err != nil {
		return pageEvent{}, err
	}
	if len(data) > maxResponse {
		return pageEvent{}, fmt.Errorf("%w: the page has %d bytes", store.ErrTooMuch, len(data))
	}
	sum := sha256.Sum256(withoutTime)
	event := pageEvent{version, data, hex.EncodeToString(sum[:8])}
	s.cache.set(event)
	return event, nil
}

// events responds with a stream of events, until the client disconnects.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	selection, err := selectionOf(r, nil)
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	subscription := s.source.Subscribe()
	defer subscription.Close()
	defer s.freePage()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if s.options.Ending != nil {
		defer context.AfterFunc(s.options.Ending, cancel)()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies must not wait for more
	if r.Method == http.MethodHead {
		return
	}
	stream := &stream{
		server: s, selection: selection, query: r.URL.Query().Encode(), out: w, control: http.NewResponseController(w),
		alerts: subscription, sent: r.Header.Get("Last-Event-ID"),
	}
	_ = stream.run(ctx) // an error means that the client has disconnected or reads too slowly
}

// freePage frees the cached page when the last stream ends. The stream that ends still counts as one.
func (s *server) freePage() {
	if len(s.streams) <= 1 {
		s.cache.set(pageEvent{})
	}
}

// stream is a stream of events to a client.
type stream struct {
	server    *server
	selection store.Selection
	query     string // the selection as text
	out       io.Writer
	control   *http.ResponseController
	alerts    *daemon.AlertSubscription

	version string    // of the last page, or of the last attempt
	paged   time.Time // when that was
	sent    string    // the ID of the page that the client has
	trouble string    // the last error that was sent; "" if a page was sent since
	written time.Time // when something was written
}

// run sends events until ctx ends. An error is an error of writing.
func (s *stream) run(ctx context.Context) error {
	_ = s.control.SetReadDeadline(time.Time{}) // the request is complete
	if err := s.write(fmt.Sprintf("retry: %d\n\n", reconnectDelay.Milliseconds())); err != nil {
		return err
	}
	tick := time.NewTicker(stateInterval)
	defer tick.Stop()
	for {
		sent, err := s.sendAlerts()
		if err != nil {
			return err
		}
		if err := s.sendPage(ctx); err != nil {
			return err
		}
		if time.Since(s.written) >= heartbeatInterval {
			if err := s.sendHeartbeat(); err != nil {
				return err
			}
		}
		ready, later := s.alerts.Ready(), (<-chan time.Time)(nil)
		if sent { // there may be many
			ready, later = nil, time.After(burstInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
		case <-later:
		case <-tick.C:
		}
	}
}

// sendAlerts sends some of the waiting alerts. It reports whether there were any.
func (s *stream) sendAlerts() (sent bool, err error) {
	all := s.alerts.Take(maxBurst)
	selected, err := s.selection.OfAlerts(all)
	if err != nil || len(selected) == 0 {
		return len(all) > 0, err
	}
	var text bytes.Buffer
	for _, one := range selected {
		text.WriteString("event: alert\ndata: ")
		if err := one.WriteJSON(&text); err != nil {
			return true, err
		}
		text.WriteString("\n")
	}
	return true, s.write(text.String())
}

// sendPage sends the page if it has changed.
func (s *stream) sendPage(ctx context.Context) error {
	version := s.server.version() + " " + s.query
	if version == s.version || time.Since(s.paged) < pageInterval {
		return nil
	}
	event, err := s.server.pageEvent(ctx, s.selection, version)
	s.paged = time.Now()
	switch {
	case ctx.Err() != nil || errors.Is(err, errTooMany): // try again later
		return nil
	case err != nil && !errors.Is(err, store.ErrTooMuch):
		return s.sendProblem(err)
	}
	s.version = version
	if err != nil {
		return s.sendProblem(err)
	}
	if event.id == s.sent && s.trouble == "" {
		return nil
	}
	if err := s.write("id: ", event.id, "\nevent: page\ndata: ", string(event.data), "\n\n"); err != nil {
		return err
	}
	s.sent, s.trouble = event.id, ""
	return nil
}

// sendProblem sends an error of reading the database, if it is not the last one.
func (s *stream) sendProblem(err error) error {
	if s.trouble == err.Error() {
		return nil
	}
	s.trouble = err.Error()
	return s.write("event: problem\ndata: ", string(problemText(readStatus(err))), "\n\n")
}

func (s *stream) sendHeartbeat() error {
	text, err := json.Marshal(map[string]time.Time{"saved": s.server.source.State().Saved})
	if err != nil {
		return err
	}
	return s.write("event: heartbeat\ndata: ", string(text), "\n\n")
}

func (s *stream) write(texts ...string) error {
	s.written = time.Now()
	_ = s.control.SetWriteDeadline(s.written.Add(streamTimeout))
	for _, text := range texts {
		if _, err := io.WriteString(s.out, text); err != nil {
			return err
		}
	}
	return s.control.Flush()
}

// version returns a text that changes when the data in the database, or what is wrong with it, may have changed.
func (s *server) version() string {
	state := s.source.State()
	return strconv.FormatInt(state.Saved.UnixNano(), 10) + " " + s.unready(state)
}
