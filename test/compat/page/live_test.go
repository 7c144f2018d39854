package page_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/api/apitest"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report/reporttest"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
)

// growing is a source of the API with a growing number of containers.
type growing struct {
	apitest.Source
	mu         sync.Mutex
	containers int
}

func (f *growing) State() daemon.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Daemon
}

func (f *growing) Profile(context.Context, store.Selection) (profile.Profile, store.Missing, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return reporttest.Fleet(f.containers), store.Missing{}, nil
}

func (f *growing) grow(containers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.containers, f.Daemon.Saved = containers, time.Now()
}

// serveLive serves a growing source. end ends the server.
func serveLive(t *testing.T, f *growing, address, token string) (server *httptest.Server, end func()) {
	t.Helper()
	ending, cancel := context.WithCancel(context.Background())
	handler := api.Handler(f, prometheus.NewRegistry(), api.Options{Token: token, Stale: time.Hour, Settled: time.Minute, Version: "1", Ending: ending, Log: zap.NewNop()})
	server = httptest.NewUnstartedServer(handler)
	if address != "" {
		_ = server.Listener.Close()
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server.Listener = listener
	}
	server.Start()
	end = func() { cancel(); server.CloseClientConnections(); server.Close() }
	t.Cleanup(end)
	return server, end
}

func newGrowing() *growing {
	f := &growing{Source: *apitest.Working(), containers: 40}
	f.Queue = daemon.NewAlertQueue(zap.NewNop())
	return f
}

// visit opens an address. When the test ends, it verifies that the page reported no error.
func visit(t *testing.T, address string) *tab {
	t.Helper()
	tab := newTab(t)
	tab.do(chromedp.Navigate(address))
	t.Cleanup(func() {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, fault := range tab.faults {
			if !strings.HasPrefix(fault, "Failed to load resource") { // the server has ended
				t.Errorf("the page reports: %s", fault)
			}
		}
	})
	return tab
}

const (
	liveState = `document.getElementById("live").textContent.split(" ").slice(0, 2).join(" ")`
	allRows   = `document.querySelectorAll("#grid tbody tr").length`
	alertRows = `document.querySelectorAll("#alerts tbody tr").length`
)

func TestALivePageKeepsThePlaceOfTheReader(t *testing.T) {
	f := newGrowing()
	server, _ := serveLive(t, f, "", "")
	tab := visit(t, server.URL+"/#q=shop&sort=Container")
	expect(tab, liveState, "live")
	expect(tab, allRows, 40)
	const focused = `(() => { const cell = document.activeElement.closest("td, th"); return cell.closest("tr").cells[0].textContent + " " + cell.cellIndex })()`
	eval[any](tab, `(() => {
		const grid = document.getElementById("grid");
		const cell = grid.querySelectorAll("tbody tr")[20].cells[0].querySelector("a");
		cell.focus();
		grid.scrollTo(120, 240);
		scrollTo(0, 150);
	})()`)
	const place = `[document.getElementById("grid").scrollLeft, document.getElementById("grid").scrollTop, scrollY, location.hash, document.getElementById("q").value].join(" ")`
	before, at := eval[string](tab, focused), eval[string](tab, place)
	f.grow(60)
	expect(tab, allRows, 60)
	expect(tab, focused, before)
	expect(tab, place, at)

	// In the details, as well.
	eval[any](tab, `document.querySelectorAll("#grid tbody tr")[20].cells[1].click()`)
	expect(tab, `document.getElementById("dialog").open`, true)
	eval[any](tab, `(() => {
		const dialog = document.getElementById("dialog");
		dialog.querySelector("select").focus();
		dialog.scrollTop = 200;
		getSelection().selectAllChildren(dialog.querySelector(".block h3"));
	})()`)
	const details = `[document.getElementById("dialog-title").textContent, document.getElementById("dialog").scrollTop, document.activeElement.tagName, getSelection().toString().length].join(" ")`
	before = eval[string](tab, details)
	f.grow(70)
	expect(tab, allRows, 70)
	expect(tab, details, before)
}

func TestALivePageShowsTheFirstContainers(t *testing.T) {
	f := newGrowing()
	f.containers = 0
	server, _ := serveLive(t, f, "", "")
	tab := visit(t, server.URL)
	expect(tab, liveState, "live")
	expect(tab, allRows, 0)
	f.grow(7)
	expect(tab, allRows, 7)
	expect(tab, `document.querySelectorAll("#cap option").length > 1`, true)
}

func TestALivePageListsAlerts(t *testing.T) {
	f := newGrowing()
	server, end := serveLive(t, f, "", "")
	hostile := strings.ToValidUTF8(apitest.Hostile, "\U0001f600\U000e0001") // the script gets no other bytes
	raise := func(container string, n int) {
		f.Queue.Add(alert.New("raw-socket", alert.Warning, fmt.Sprintf("summary %d", n), 1, uses.Use{
			Time: apitest.Saturday.Add(time.Duration(n) * time.Second), Capability: capability.NetRaw,
			Container: uses.ContainerRef{ID: container, Name: hostile + "<b>" + container}, Process: uses.Process{Program: hostile},
		}))
	}
	raise("01", 1)
	tab := visit(t, server.URL)
	expect(tab, liveState, "live")
	expect(tab, alertRows, 1)
	first := eval[string](tab, `document.querySelector("#alerts tbody tr").innerHTML`)
	raise("01", 2)
	expect(tab, alertRows, 2)
	const texts = `[...document.querySelectorAll("#alerts tbody tr:first-child td")].map((cell) => cell.textContent).join("|")`
	escaped := eval[string](tab, `document.querySelector("#alerts tbody tr:last-child").cells[2].textContent`)
	program := eval[string](tab, `document.querySelector("#alerts tbody tr:last-child").cells[4].textContent`)
	expect(tab, texts, "2026-08-01 12:00:02 UTC|warning|"+escaped+"|NET_RAW|"+program+"|summary 2")
	expect(tab, `document.getElementById("alert-news").textContent`, "New alert: summary 2")

	for n := range 300 { // a flood
		raise("02", 10+n)
	}
	expect(tab, alertRows, 100)
	expect(tab, `[...document.querySelectorAll("#alerts tbody tr")].filter((row) => /summary [12]$/.test(row.textContent)).length`, 2)
	expect(tab, `document.querySelector("#alerts tbody tr:last-child").innerHTML`, first)

	address := server.Listener.Addr().String()
	end()
	expect(tab, liveState, "reconnecting since")
	_, _ = serveLive(t, f, address, "")
	expect(tab, liveState, "live")
	expect(tab, alertRows, 100)
}

// The browser sends the token that the reader entered as the password also for the events.
func TestALivePageIsReadableWithTheToken(t *testing.T) {
	server, _ := serveLive(t, newGrowing(), "", "0123456789abcdef")
	tab := visit(t, strings.Replace(server.URL, "http://", "http://any:0123456789abcdef@", 1))
	expect(tab, liveState, "live")
}

func TestALivePageConnectsAgainAfterAnError(t *testing.T) {
	f := newGrowing()
	refuse := false
	var mu sync.Mutex
	server, _ := serveLive(t, f, "", "")
	inner := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if refuse && r.URL.Path != "/" {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		mu.Unlock()
		inner.ServeHTTP(w, r)
		mu.Lock()
	})
	refuse = true
	tab := visit(t, server.URL)
	expect(tab, liveState, "reconnecting since") // the browser does not connect again after 503
	mu.Lock()
	refuse = false
	mu.Unlock()
	expect(tab, liveState, "live")
}
