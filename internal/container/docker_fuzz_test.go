package container

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/client"

	"github.com/capmon/capmon/capability"
)

// answering returns an engine that sends the same answer to every request.
func answering(t *testing.T, status int, body []byte) *Docker {
	t.Helper()
	api, err := client.NewClientWithOpts(client.WithHost("tcp://engine:1"), client.WithHTTPClient(&http.Client{Transport: answer{status, body}}), client.WithVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	return &Docker{client: api, podman: new(bool)}
}

type answer struct {
	status int
	body   []byte
}

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(a.body)),
		ContentLength: int64(len(a.body)), Request: r,
	}, nil
}

// real adds a recorded answer of an engine as seed, whole and truncated.
func real(f *testing.F, file string) {
	f.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(http.StatusOK, body)
	f.Add(http.StatusOK, body[:len(body)/2])
	f.Add(http.StatusNotFound, []byte(`{"message":"No such container"}`))
	f.Add(http.StatusOK, []byte("null"))
	f.Add(http.StatusOK, []byte("{}"))
	f.Add(http.StatusOK, []byte("[null]"))
}

// Any answer is either understood or an error, and an error in one setting does not affect the others.
func FuzzInspect(f *testing.F) {
	real(f, "inspect.json")
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		docker := answering(t, status, body)
		info, err := docker.Inspect(t.Context(), "web")
		if _, settingsErr := docker.Settings(t.Context(), "web"); err != nil && settingsErr == nil && !strings.Contains(err.Error(), "incomplete") {
			t.Errorf("Settings succeeded, but Inspect failed: %v", err)
		}
		if err != nil {
			if info.Inspected || !strings.Contains(err.Error(), "web") {
				t.Errorf("%+v with an error: %v", info, err)
			}
			return
		}
		if !info.Inspected {
			t.Errorf("%+v", info)
		}
		granted, err := capability.Granted(info.CapAdd, info.CapDrop, info.Privileged, capability.CheckpointRestore)
		if err == nil && info.Seccomp != nil {
			_, _ = info.Seccomp.Unlocked(granted)
		}
	})
}

func FuzzList(f *testing.F) {
	real(f, "list.json")
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		infos, err := answering(t, status, body).List(t.Context(), true)
		if err != nil && len(infos) > 0 {
			t.Errorf("%d containers with an error: %v", len(infos), err)
		}
		for _, info := range infos {
			if strings.Contains(info.Name, "/") || info.Inspected {
				t.Errorf("%+v", info)
			}
		}
	})
}

func FuzzEvents(f *testing.F) {
	real(f, "events.json")
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		past, _ := answering(t, status, body).Past(t.Context(), time.Unix(1, 0), time.Unix(2, 0))
		for _, event := range past {
			switch event.Type {
			case Created, Started, Died, Renamed, Removed, Killed:
			default:
				t.Errorf("%+v", event)
			}
			if event.Labels == nil {
				t.Errorf("nil labels: %+v", event)
			}
		}
	})
}

// FuzzDaemon fuzzes the daemon's own settings.
func FuzzDaemon(f *testing.F) {
	real(f, "info.json")
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if bytes.Contains(body, []byte("profile=")) && !bytes.Contains(body, []byte("profile=builtin")) && !bytes.Contains(body, []byte("profile=default")) {
			return // would read a file of this machine
		}
		docker := answering(t, status, body)
		profile, err := docker.seccompOf(t.Context(), nil)
		if (profile == nil) != (err != nil) {
			t.Errorf("%v, %v", profile, err)
		}
		_, _ = docker.Version(t.Context())
	})
}
