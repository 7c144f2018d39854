package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// events returns the events that a server sends until the test ends, as pairs of name and data.
func events(t *testing.T, s *server) <-chan [2]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://capmon/api/v1/events?container=live-*", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := capmontest.UnixClient(s.Socket).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("%s, %s", response.Status, got)
	}
	all := make(chan [2]string)
	go func() {
		defer close(all)
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 16<<20)
		var current [2]string
		for lines.Scan() {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
			case "event":
				current[0] = value
			case "data":
				current[1] = value
			case "":
				select {
				case all <- current:
				case <-ctx.Done():
					return
				}
				current = [2]string{}
			}
		}
	}()
	return all
}

// The stream of events reports a raw socket as an alert when it is opened, and then in the page.
func TestServeStreamsAlertsAndPages(t *testing.T) {
	t.Parallel()
	s := serve(t, "--rules", "builtin")
	if status, text := s.Get("/?container=live-*"); status != http.StatusOK || strings.Contains(text, "live-raw") || !strings.Contains(text, `id="live"`) {
		t.Errorf("%d, %s", status, text)
	}
	all := events(t, s)
	startSleeper(t, "live-raw")
	mustExecute(t, "docker", "exec", "live-raw", "probe", "rawsock")
	var alerted, shown bool
	for event := range all {
		switch event[0] {
		case "alert":
			var one alert.Alert
			if err := json.Unmarshal([]byte(event[1]), &one); err != nil {
				t.Errorf("%v: %s", err, event[1])
			}
			valid(t, "alert", event[1])
			alerted = alerted || one.Rule == "raw-socket" && one.Use.Container.Name == "live-raw" && one.Use.Process.Program == "probe"
		case "page":
			var page struct {
				Containers []struct{ Title, Cells string }
			}
			if err := json.Unmarshal([]byte(event[1]), &page); err != nil {
				t.Errorf("%v: %s", err, event[1])
			}
			for _, c := range page.Containers {
				shown = shown || c.Title == "live-raw" && strings.ContainsAny(c.Cells, "uUsS")
			}
		}
		if alerted && shown {
			break
		}
	}
	if !alerted || !shown {
		t.Fatalf("alert: %t, page with the use: %t", alerted, shown)
	}
	status, text := s.Get("/?container=live-*")
	if status != http.StatusOK || !strings.Contains(text, "raw socket (IPv4) opened by probe in live-raw") {
		t.Errorf("%d, %s", status, text)
	}
	began := time.Now()
	s.interrupt()
	for range all { // until the stream ends
	}
	if waited := time.Since(began); waited > 20*time.Second {
		t.Errorf("the stream ended %v after Ctrl-C", waited)
	}
}
