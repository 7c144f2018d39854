package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api/apitest"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
)

// changing is a source that tests change while it is in use.
type changing struct {
	mu     sync.Mutex
	source apitest.Source
	checks uint64 // in the profile
	reads  int
}

func newChanging() *changing {
	c := &changing{source: *apitest.Working()}
	c.source.Queue = daemon.NewAlertQueue(zap.NewNop())
	return c
}

// change changes the source, and saves.
func (c *changing) change(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.source.Daemon.Saved = time.Now()
}

func (c *changing) State() daemon.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.source.Daemon
}

func (c *changing) Latest() profile.Profile { return c.source.Latest() }

func (c *changing) Current() (profile.Profile, time.Time, error) { return c.source.Current() }

func (c *changing) Subscribe() *daemon.AlertSubscription { return c.source.Subscribe() }

func (c *changing) Profile(ctx context.Context, selection store.Selection) (profile.Profile, store.Missing, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	p, missing, err := c.source.Profile(ctx, selection)
	for i := range p.Runs {
		p.Runs[i].Checks += c.checks
	}
	return p, missing, err
}

func (c *changing) Alerts(ctx context.Context, selection store.Selection) ([]alert.Alert, store.MissingAlerts, error) {
	return c.source.Alerts(ctx, selection)
}

// connection is the side of a client of a response. It reads until it is closed or stalled.
type connection struct {
	header  http.Header
	stalled chan struct{} // closed: the client no longer reads

	mu       sync.Mutex
	status   int
	text     strings.Builder
	deadline time.Time
}

func (c *connection) Header() http.Header { return c.header }

func (c *connection) WriteHeader(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

func (c *connection) Write(text []byte) (int, error) {
	select {
	case <-c.stalled:
		time.Sleep(time.Until(c.deadline))
		return 0, os.ErrDeadlineExceeded
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(text)
}

func (c *connection) SetWriteDeadline(at time.Time) error {
	c.deadline = at
	return nil
}

func (c *connection) SetReadDeadline(time.Time) error { return nil }

func (c *connection) FlushError() error { return nil }

// client is a client of a stream of events.
type client struct {
	connection
	end   context.CancelFunc
	ended chan struct{}
}

func connect(handler http.Handler, path, last string) *client {
	ctx, end := context.WithCancel(context.Background())
	c := &client{connection{header: http.Header{}, stalled: make(chan struct{}), status: 200}, end, make(chan struct{})}
	request := requestFor(http.MethodGet, path).WithContext(ctx)
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	go func() {
		defer close(c.ended)
		handler.ServeHTTP(c, request)
	}()
	return c
}

// close disconnects the client and waits for the end of the response.
func (c *client) close() {
	c.end()
	<-c.ended
}

type event struct{ id, name, data string }

// take returns the events that the client has received since the last call.
func (c *client) take(t *testing.T) (events []event) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	scanner := bufio.NewScanner(strings.NewReader(c.text.String()))
	scanner.Buffer(nil, 1<<20)
	c.text.Reset()
	var current event
	for scanner.Scan() {
		name, value, _ := strings.Cut(scanner.Text(), ": ")
		switch name {
		case "id":
			current.id = value
		case "event":
			current.name = value
		case "data":
			if !json.Valid([]byte(value)) {
				t.Errorf("not JSON: %q", value)
			}
			current.data = value
		case "retry":
		case "":
			if current.name != "" {
				events = append(events, current)
			}
			current = event{}
		default:
			t.Errorf("unknown line %q", scanner.Text())
		}
	}
	return events
}

func names(events []event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.name)
	}
	return strings.Join(all, " ")
}

func liveHandler(source Source, ending context.Context) http.Handler {
	return Handler(source, prometheus.NewRegistry(), Options{Stale: time.Hour, Settled: time.Minute, Version: "1", Ending: ending, Log: zap.NewNop()})
}

func rawSocket(container string, n int) alert.Alert {
	return alert.New("raw-socket", alert.Warning, fmt.Sprintf("summary %d", n), 1, uses.Use{
		Time: time.Now(), Container: uses.ContainerRef{ID: container, Name: container, Image: "image"},
		Process: uses.Process{Program: apitest.Hostile}, Capability: capability.NetRaw,
	})
}

func wait(t time.Duration) {
	time.Sleep(t)
	synctest.Wait()
}

func TestPageEventsFollowChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newChanging()
		c := connect(liveHandler(source, nil), "/api/v1/events", "")
		defer c.close()
		synctest.Wait()
		first := c.take(t)
		if names(first) != "page" || first[0].id == "" || !strings.Contains(first[0].data, `"CHOWN"`) {
			t.Fatalf("%+v", first)
		}
		if got := c.header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("content type %s", got)
		}
		wait(10 * time.Second)
		if got := c.take(t); len(got) > 0 {
			t.Errorf("without a change: %s", names(got))
		}
		source.change(func() {}) // a save without new data
		wait(10 * time.Second)
		if got := names(c.take(t)); got != "heartbeat" {
			t.Errorf("after a save without new data: %s", got)
		}
		for range 20 {
			source.change(func() { source.checks++ })
			wait(time.Second)
		}
		if got := c.take(t); len(got) < 3 || len(got) > 5 || got[len(got)-1].id == first[0].id {
			t.Errorf("20 changes in 20 seconds: %s", names(got))
		}
		wait(pageInterval) // the last change
		c.take(t)
		source.change(func() { source.checks = 0 })
		wait(pageInterval)
		if got := c.take(t); names(got) != "page" || got[0].id != first[0].id {
			t.Errorf("the page of the first data: %s", names(got))
		}
		source.change(func() { source.source.Daemon.Trouble = "no room" + apitest.Hostile })
		wait(pageInterval)
		if got := c.take(t); names(got) != "page" || !strings.Contains(got[0].data, `may be incomplete or old: no room`) {
			t.Errorf("after a failed save: %+v", got)
		}
	})
}

func TestStreamsReportAnUnreadableDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newChanging()
		c := connect(liveHandler(source, nil), "/api/v1/events", "")
		defer c.close()
		synctest.Wait()
		c.take(t)
		wait(time.Second)
		source.change(func() { source.source.Err = fmt.Errorf("no room") })
		wait(14 * time.Second)
		if got := c.take(t); names(got) != "problem" || !strings.Contains(got[0].data, `"detail":"no room","status":503`) {
			t.Errorf("%+v", got)
		}
		source.change(func() { source.source.Err = nil })
		wait(2 * pageInterval)
		if got := names(c.take(t)); !strings.Contains(got, "page") {
			t.Errorf("when the database is readable again: %s", got)
		}
	})
}

func TestAReconnectedClientGetsWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newChanging()
		handler := liveHandler(source, nil)
		source.source.Queue.Add(rawSocket("01", 1))
		c := connect(handler, "/api/v1/events", "")
		synctest.Wait()
		got := c.take(t)
		c.close()
		if names(got) != "alert page" {
			t.Fatal(names(got))
		}
		again := connect(handler, "/api/v1/events", got[1].id)
		synctest.Wait()
		if got := names(again.take(t)); got != "alert" {
			t.Errorf("without a change: %s", got)
		}
		again.close()
		source.change(func() { source.checks++ })
		changed := connect(handler, "/api/v1/events", got[1].id)
		synctest.Wait()
		if got := names(changed.take(t)); got != "alert page" {
			t.Errorf("after a change: %s", got)
		}
		changed.close()
	})
}

func TestAlertsArriveAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newChanging()
		handler := liveHandler(source, nil)
		all, selected := connect(handler, "/api/v1/events", ""), connect(handler, "/api/v1/events?container=02", "")
		defer all.close()
		defer selected.close()
		synctest.Wait()
		all.take(t)
		selected.take(t)
		source.source.Queue.Add(rawSocket("01", 1))
		source.source.Queue.Add(alert.NewLoss(time.Now(), "lost", alert.Loss{})) // no container is known
		// The stream may have sent the first alert before the second one existed.
		wait(burstInterval)
		got := all.take(t)
		var one alert.Alert
		if names(got) != "alert alert" {
			t.Fatal(names(got))
		}
		if err := json.Unmarshal([]byte(got[0].data), &one); err != nil || one.Use.Container.Name != "01" || one.Summary != "summary 1" {
			t.Errorf("%v, %+v", err, one)
		}
		if got := selected.take(t); names(got) != "alert" || !strings.Contains(got[0].data, "capmon-loss") {
			t.Errorf("alerts of another container: %+v", got)
		}
	})
}

// A flood of alerts does not delay or remove the alerts of other containers, and it is bounded.
func TestAFloodOfAlertsLeavesRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newChanging()
		c := connect(liveHandler(source, nil), "/api/v1/events", "")
		defer c.close()
		synctest.Wait()
		c.take(t)
		for n := range 10_000 {
			source.source.Queue.Add(rawSocket("f100d", n))
		}
		source.source.Queue.Add(rawSocket("01", 77))
		wait(burstInterval)
		got := c.take(t)
		if !strings.Contains(fmt.Sprint(got), "summary 77") || len(got) > 2*maxBurst {
			t.Errorf("%d events, without the alert of the other container", len(got))
		}
		wait(10 * time.Second)
		if got = append(got, c.take(t)...); len(got) > 300 || !strings.Contains(fmt.Sprint(got), `"rule":"capmon-alerts-dropped"`) {
			t.Errorf("%d events", len(got))
		}
		late := connect(liveHandler(source, nil), "/api/v1/events", "")
		defer late.close()
		wait(time.Second)
		if got := late.take(t); !strings.Contains(fmt.Sprint(got), "summary 77") || len(got) > 101 {
			t.Errorf("%d events for a new client, without the alert of the other container", len(got))
		}
	})
}

// A client that does not read is dropped. It delays neither the source nor others.
func TestSlowClientsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newChanging()
		handler := liveHandler(source, nil)
		slow, other := connect(handler, "/api/v1/events", ""), connect(handler, "/api/v1/events", "")
		defer slow.close()
		defer other.close()
		synctest.Wait()
		other.take(t)
		wait(pageInterval)
		close(slow.stalled)
		began := time.Now()
		for n := range 5000 {
			source.source.Queue.Add(rawSocket(fmt.Sprint(n), n))
		}
		source.change(func() { source.checks++ })
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the source waited %v", waited)
		}
		wait(pageInterval)
		if got := names(other.take(t)); !strings.Contains(got, "alert") || !strings.Contains(got, "page") {
			t.Errorf("the other client: %s", got)
		}
		select {
		case <-slow.ended:
			t.Error("dropped too early")
		default:
		}
		wait(streamTimeout)
		select {
		case <-slow.ended:
		default:
			t.Error("the slow client is not dropped")
		}
	})
}

func TestTheNumberOfStreamsIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newChanging()
		handler := liveHandler(source, nil)
		var all []*client
		for range maxStreams {
			all = append(all, connect(handler, "/api/v1/events", ""))
		}
		synctest.Wait()
		if source.reads != 1 {
			t.Errorf("%d reads of the database for the same page", source.reads)
		}
		if got := get(handler, "/api/v1/events", ""); got.Code != 503 || got.Header().Get("Retry-After") == "" || got.Header().Get("Content-Type") != problemType {
			t.Errorf("one more: %d, %v, %s", got.Code, got.Header(), got.Body)
		}
		if got := get(handler, "/", ""); got.Code != 200 {
			t.Errorf("the page: %d", got.Code)
		}
		all[0].close()
		again := connect(handler, "/api/v1/events", "")
		synctest.Wait()
		if got := names(again.take(t)); got != "page" {
			t.Errorf("after one has ended: %s", got)
		}
		for _, c := range append(all[1:], again) {
			c.close()
		}
	})
}

func TestStreamsEndWithServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ending, end := context.WithCancel(context.Background())
		c := connect(liveHandler(newChanging(), ending), "/api/v1/events", "")
		synctest.Wait()
		end()
		<-c.ended
	})
}

// The timeouts of the server do not end a stream, and its first events arrive before it ends.
func TestStreamsOutliveTheTimeoutsOfTheServer(t *testing.T) {
	server := httptest.NewUnstartedServer(liveHandler(newChanging(), nil))
	const timeout = 2 * time.Second // shorter than heartbeatInterval; a busy machine needs some of it for the request
	server.Config.ReadTimeout, server.Config.WriteTimeout = timeout, timeout
	server.Start()
	defer server.Close()
	response, err := http.Get(server.URL + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	began := time.Now()
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "event: heartbeat") || time.Since(began) > time.Minute {
			break
		}
	}
	if waited := time.Since(began); lines.Err() != nil || waited < 2*timeout {
		t.Errorf("ended after %v: %v", waited, lines.Err())
	}
}

func TestInvalidSelectionsOfPagesAndStreams(t *testing.T) {
	for _, path := range []string{"/", "/api/v1/events"} {
		for _, query := range []string{"images=a", "image=%5B", "since=yesterday", "for=docker"} {
			if got := get(handlerOf(apitest.Working(), ""), path+"?"+query, ""); got.Code != 400 || got.Header().Get("Content-Type") != problemType {
				t.Errorf("%s?%s: %d, %v", path, query, got.Code, got.Header())
			}
		}
	}
	broken := apitest.Working()
	broken.Err = fmt.Errorf("no room")
	if got := get(handlerOf(broken, ""), "/", ""); got.Code != 503 || got.Header().Get("Content-Type") != problemType {
		t.Errorf("%d, %v", got.Code, got.Header())
	}
}

func TestThePageShowsTheDataWithoutScript(t *testing.T) {
	source := apitest.Working()
	source.Queue = daemon.NewAlertQueue(zap.NewNop())
	hostile := rawSocket("01", 1)
	hostile.Use.Container.Name = apitest.Hostile
	source.Queue.Add(hostile)
	source.Queue.Add(rawSocket("02", 2))
	handler := handlerOf(source, "")
	got := get(handler, "/", "")
	text := got.Body.String()
	if got.Code != 200 || got.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d, %v", got.Code, got.Header())
	}
	for _, want := range []string{
		"<td>NET_RAW</td>", "summary 1", "summary 2", ">CHOWN<", "is unknown (1). They needed nothing.", "were removed from the database (1).",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\u202e") || strings.Contains(text, "</script>\\") || strings.Contains(text, "a\\x1b[2J\"\\\n") {
		t.Error("the page contains hostile text")
	}
	policy := got.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %s", policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("policy %s", policy)
	}
	if text := get(handler, "/?container=02", "").Body.String(); strings.Contains(text, "summary 1") || !strings.Contains(text, "summary 2") {
		t.Error("the alerts are not those of the selected container")
	}
}
