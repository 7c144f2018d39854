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

	"github.com/capmon/capmon/internal/capability"
)

// answering is an engine that gives one answer to everything.
func answering(t *testing.T, status int, body []byte) *Docker {
	t.Helper()
	api, err := client.NewClientWithOpts(client.WithHost("tcp://engine:1"), client.WithHTTPClient(&http.Client{Transport: answer{status, body}}), client.WithVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	return &Docker{client: api}
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

// real adds an answer of an engine as seed, whole and cut.
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

// An engine may answer anything: it is understood or an error, and what is wrong with one
// setting is no other's.
func FuzzInspect(f *testing.F) {
	real(f, "inspect.json")
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		docker := answering(t, status, body)
		info, err := docker.Inspect(t.Context(), "web")
		if _, settingsErr := docker.Settings(t.Context(), "web"); err != nil && settingsErr == nil && !strings.Contains(err.Error(), "incomplete") {
			t.Errorf("settings but no answer: %v", err)
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
				t.Errorf("no labels at all: %+v", event)
			}
		}
	})
}

// What the daemon tells of its own settings.
func FuzzDaemon(f *testing.F) {
	real(f, "info.json")
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if bytes.Contains(body, []byte("profile=")) && !bytes.Contains(body, []byte("profile=builtin")) && !bytes.Contains(body, []byte("profile=default")) {
			return // a file of this machine
		}
		docker := answering(t, status, body)
		profile, err := docker.seccompOf(t.Context(), nil)
		if (profile == nil) != (err != nil) {
			t.Errorf("%v, %v", profile, err)
		}
		_, _ = docker.Version(t.Context())
	})
}
