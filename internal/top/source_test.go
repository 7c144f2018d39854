package top

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/api/apitest"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// serve starts the HTTP API with a source at a unix socket, and returns the socket.
func serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "top") // paths of unix sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	socket := filepath.Join(directory, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

func apiOf(source api.Source) http.Handler {
	return api.Handler(source, prometheus.NewRegistry(), api.Options{Stale: time.Hour, Settled: time.Minute, Version: "1", Log: zap.NewNop()})
}

func TestDaemonSource(t *testing.T) {
	t.Parallel()
	working := apitest.Working()
	working.Daemon.LastLoss, working.Daemon.Trouble = "12 checks", "no room"
	working.Daemon.Losses = monitor.Losses{Checks: 12}
	source := NewDaemonSource(serve(t, apiOf(working)))
	got, err := source.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Engine != "docker" || got.Hook != monitor.Tracepoint || got.LastLoss != "12 checks" || got.Trouble != "no room" || got.Losses.Checks != 12 || got.RulesApply {
		t.Errorf("the state is %+v", got)
	}
	if !got.Time.Equal(apitest.Saturday) || len(got.Containers.Containers) != 1 {
		t.Fatalf("the containers are %+v", got.Containers)
	}
	c := got.Containers.Containers[0]
	want := capability.Of(capability.Chown)
	if c.Used != want || *c.Granted != capability.DockerDefault() || c.Unused != capability.DockerDefault().Minus(want) || !c.Running || c.Checks != 1 || c.LastUse.Capability != capability.Chown {
		t.Errorf("the container is %+v", c)
	}
	details, err := source.Details(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if details.Summary.List() != want || len(details.Cautions) < 2 ||
		!strings.Contains(strings.Join(details.Cautions, "\n"), "1 runs until") || !strings.Contains(strings.Join(details.Cautions, "\n"), "1 containers") {
		t.Errorf("the details are %+v", details)
	}
	alerts, err := source.Alerts(t.Context(), apitest.Saturday)
	if err != nil || len(alerts) != 1 || alerts[0].Rule != "raw-socket" {
		t.Errorf("the alerts are %+v, %v", alerts, err)
	}
}

func TestErrorsOfTheDaemonSource(t *testing.T) {
	t.Parallel()
	nothing := NewDaemonSource(filepath.Join(t.TempDir(), "nothing"))
	if _, err := nothing.Read(t.Context()); !NotRunning(err) || !strings.Contains(err.Error(), "does not answer: no such file or directory") || strings.Contains(err.Error(), "http://") {
		t.Errorf("no socket: %v", err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()
	if _, err := NewDaemonSource(socket).Read(t.Context()); !NotRunning(err) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a socket without a listener: %v", err)
	}
	broken := apitest.Working()
	broken.Err = errors.New("no map")
	if _, err := NewDaemonSource(serve(t, apiOf(broken))).Read(t.Context()); err == nil || NotRunning(err) || !strings.Contains(err.Error(), "capmon serve reports an error: no map") {
		t.Errorf("an error of the API: %v", err)
	}
	earlier := http.NewServeMux()
	earlier.HandleFunc("/api/v1/state", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	if _, err := NewDaemonSource(serve(t, earlier)).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "restart capmon serve") {
		t.Errorf("an earlier version: %v", err)
	}
	other := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	if _, err := NewDaemonSource(serve(t, other)).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "reading the answer") {
		t.Errorf("another server: %v", err)
	}
}

// An earlier run of the same name and image belongs to the list, but a run of another image does not.
func TestDetailsHaveAllRunsOfTheContainer(t *testing.T) {
	t.Parallel()
	grants := capability.DockerDefault()
	run := func(id, image string, c capability.Capability) profile.Run {
		return profile.Run{
			ID: "observation/" + id, Observation: profile.Observation{ID: "observation", Start: saturday, End: saturday.Add(time.Hour)},
			Container: profile.Container{ID: strings.Repeat(id, 64), Name: "web", Image: image}, Grants: profile.Grants{Kernel: &grants},
			Started: &saturday, Ended: saturday.Add(time.Hour), Uses: []profile.UsePattern{{Capability: c, Class: "required", Granted: true, Count: 1}},
		}
	}
	p := profile.New(run("1", "nginx:1.27", capability.Chown), run("2", "nginx:1.27", capability.Setuid), run("3", "nginx:1.28", capability.NetRaw))
	details, err := detailsOf(p, api.Container{ID: strings.Repeat("2", 64)}, "first")
	if want := capability.Of(capability.Chown, capability.Setuid); err != nil || details.Summary.List() != want || details.Cautions[0] != "first" {
		t.Errorf("%v: %v with %v", err, details.Summary.List(), details.Cautions)
	}
}

// A container can have the name of the service of others, or the short ID of a container without a name.
func TestDetailsAreNotThoseOfANamesake(t *testing.T) {
	t.Parallel()
	run := func(id string, c profile.Container, of capability.Capability) profile.Run {
		c.ID, c.Image = strings.Repeat(id, 64), "nginx:1.27"
		return profile.Run{
			ID: "observation/" + id, Observation: profile.Observation{ID: "observation", Start: saturday, End: saturday.Add(time.Hour)},
			Container: c, Started: &saturday, Ended: saturday.Add(time.Hour), Uses: []profile.UsePattern{{Capability: of, Class: "required", Granted: true, Count: 1}},
		}
	}
	p := profile.New(
		run("1", profile.Container{Name: "shop"}, capability.SysAdmin),
		run("2", profile.Container{Name: "shop.1.x", Labels: map[string]string{"com.docker.swarm.service.name": "shop"}}, capability.Chown),
		run("3", profile.Container{Name: "444444444444"}, capability.SysAdmin),
		run("4", profile.Container{}, capability.Chown),
	)
	for _, id := range []string{"2", "4"} {
		details, err := detailsOf(p, api.Container{ID: strings.Repeat(id, 64)})
		if want := capability.Of(capability.Chown); err != nil || details.Summary.List() != want {
			t.Errorf("container %s: %v, the list is %v", id, err, details.Summary.List())
		}
	}
}

func TestSelectionOfAContainer(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]api.Container{
		"container=1&container=web": {ID: "1", Name: "web"},
		"container=1":               {ID: "1"},
		"container=12":              {ID: "12", Name: "web", Unconfirmed: "/a"},
		"label=com.docker.swarm.service.name%3Dshop":      {ID: "1", Name: "shop.1.x", Service: "shop"},
		`container=1&container=a%5C%2A%5C%3F%5C%5B%5C%5C`: {ID: "1", Name: `a*?[\`},
	} {
		if got := selectionOf(c).Encode(); got != want {
			t.Errorf("%+v: %s, wanted %s", c, got, want)
		}
	}
}

func TestEndedRunsAreBounded(t *testing.T) {
	t.Parallel()
	var ended endedRuns
	run := func(i int, running bool) profile.Run {
		return profile.Run{ID: fmt.Sprint(i), Running: running, Ended: saturday.Add(time.Duration(i) * time.Second)}
	}
	for i := range maxEndedRuns + 5 {
		for range 2 { // a run may be passed again
			if err := ended.SaveProfile(profile.New(run(i, false), run(-1, true))); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, discarded := ended.profile()
	if len(p.Runs) != maxEndedRuns || discarded != 5 || p.Runs[0].ID != "5" {
		t.Errorf("%d runs from %s, %d discarded", len(p.Runs), p.Runs[0].ID, discarded)
	}
}

func TestAlertsAreKeptOnce(t *testing.T) {
	t.Parallel()
	var log alertLog
	if since := log.since(saturday); !since.Equal(saturday.Add(-24 * time.Hour)) {
		t.Errorf("first read since %v", since)
	}
	tooMany := fmt.Errorf("reading: %w", &statusError{http.StatusUnprocessableEntity, "too much"})
	if log.add(nil, tooMany); log.err != nil || !log.since(saturday).Equal(saturday.Add(-time.Hour)) {
		t.Errorf("too many alerts: %v, since %v", log.err, log.since(saturday))
	}
	busy := &statusError{http.StatusServiceUnavailable, "try again"}
	if log.add(nil, busy); log.err != nil {
		t.Errorf("busy: %v", log.err)
	}
	alerts := someAlerts()
	if !log.add(alerts[:1], nil) || log.add(alerts[:1], nil) || !log.add(alerts, nil) || len(log.alerts) != 2 {
		t.Errorf("the alerts are %+v", log.alerts)
	}
	if since := log.since(saturday); !since.Equal(saturday.Add(-2 * time.Minute)) {
		t.Errorf("next read since %v", since)
	}
	for i := range maxAlerts {
		one := alerts[0]
		one.ID, one.Time = fmt.Sprint("x", i), saturday.Add(time.Duration(i)*time.Second)
		log.add(append(alerts[:0:0], one), nil)
	}
	if len(log.alerts) != maxAlerts || len(log.seen) != maxAlerts || len(log.last) != 1 || log.discarded != 2 {
		t.Errorf("%d alerts, %d seen, %d last, %d discarded", len(log.alerts), len(log.seen), len(log.last), log.discarded)
	}
}

// alertsOf returns alerts of a container, one millisecond after another, the oldest first.
func alertsOf(container string, n int, from time.Time) (all []alert.Alert) {
	for i := range n {
		one := alert.New("raw-socket", alert.Warning, "raw socket", 1, uses.Use{
			Time: from.Add(time.Duration(i) * time.Millisecond), Container: uses.ContainerRef{ID: container, Name: container},
		})
		one.ID = fmt.Sprint(container, i)
		all = append(all, one)
	}
	return all
}

func TestAFloodOfAlertsRemovesNoAlertOfOthers(t *testing.T) {
	t.Parallel()
	var log alertLog
	log.add(alertsOf("victim", 3, saturday), nil)
	flood := alertsOf("flood", 2*maxAlerts, saturday.Add(time.Second))
	log.add(flood, nil)
	if last := log.last["victim"]; len(log.alerts) != maxAlerts || last == nil || last.ID != "victim2" || log.alerts[0].ID != "victim0" {
		t.Errorf("%d alerts, the first is %+v, the last of the victim %+v", len(log.alerts), log.alerts[0], last)
	}
	if log.add(flood, nil) {
		t.Error("a read returned the same alerts again, and they are new")
	}
	log.add(alertsOf("later", 1, saturday.Add(time.Hour)), nil)
	if len(log.seen) > maxAlerts {
		t.Errorf("remembers %d alerts after an hour", len(log.seen))
	}
}

func TestAlertsThatStayUnreadAreATrouble(t *testing.T) {
	t.Parallel()
	var log alertLog
	for range alertSpans {
		log.add(nil, &statusError{http.StatusUnprocessableEntity, "too much"})
	}
	if log.err == nil || !log.skipped {
		t.Errorf("too many alerts even in the shortest time: %v, skipped: %v", log.err, log.skipped)
	}
	log = alertLog{}
	for range mostBusy {
		log.add(nil, &statusError{http.StatusServiceUnavailable, "no database"})
	}
	if log.err == nil {
		t.Error("the database stays unreadable, and there is no error")
	}
	if log.add(nil, nil); log.err != nil {
		t.Errorf("after a successful read: %v", log.err)
	}
}

// BenchmarkReadDaemon measures what a read of 1000 containers costs, in capmon serve and in capmon top together. The
// read of the kernel's maps is not included.
func BenchmarkReadDaemon(b *testing.B) {
	var runs []profile.Run
	grants := capability.DockerDefault()
	for i := range 1000 {
		var all []profile.UsePattern
		for j := range 20 {
			all = append(all, profile.UsePattern{Capability: capability.Capability(j % 8), Class: "required", Granted: true, Count: 1, Program: "nginx", Last: saturday})
		}
		runs = append(runs, profile.Run{
			ID: fmt.Sprintf("observation/%d", i), Container: profile.Container{ID: fmt.Sprintf("%064x", i), Name: fmt.Sprint("service-", i), Image: "nginx:1.27"},
			Grants: profile.Grants{Kernel: &grants}, Started: &saturday, Ended: saturday, Running: true, Checks: 200, Uses: all,
		})
	}
	source := &manyRuns{Source: *apitest.Working(), profile: profile.New(runs...)}
	reader := NewDaemonSource(serve(b, apiOf(source)))
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		if snapshot, err := reader.Read(b.Context()); err != nil || len(snapshot.Containers.Containers) != 1000 {
			b.Fatal(err)
		}
	}
}

// manyRuns is a source of the HTTP API with a given profile.
type manyRuns struct {
	apitest.Source
	profile profile.Profile
	reads   atomic.Int64
}

// Current returns the profile as of another time for each read, so that no response can be used twice.
func (m *manyRuns) Current() (profile.Profile, time.Time, error) {
	return m.profile, saturday.Add(time.Duration(m.reads.Add(1)) * time.Second), nil
}
