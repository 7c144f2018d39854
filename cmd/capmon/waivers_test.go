package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// pinging writes a profile of a container that opened a raw socket, and returns the path.
func pinging(t *testing.T) string {
	t.Helper()
	now := time.Now()
	path := filepath.Join(t.TempDir(), "profile.json")
	err := profile.Save(path, profile.New(profile.Run{
		ID: "o/1", Container: profile.Container{ID: strings.Repeat("a", 64), Name: "pinger", Image: "bb:latest"}, Started: &now, Ended: now.Add(time.Second),
		Observation: profile.Observation{ID: "o", Start: now.Add(-time.Second), End: now.Add(time.Second)},
		Uses:        []profile.UsePattern{{Capability: capability.NetRaw, Class: classify.Required, Granted: true, Program: "ping", Call: "socket", Count: 1, First: now, Last: now}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func waiversFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "waivers.yaml")
	if err := os.WriteFile(path, []byte("waivers:\n  - {"+text+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// checked runs capmon check with a file of waivers, and returns the exit code and the output.
func checked(t *testing.T, waivers string, arguments ...string) (code int, output string) {
	t.Helper()
	root, out := newRoot(), bytes.Buffer{}
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"check", "--waivers", waivers}, arguments...))
	err := root.Execute()
	var exit *exitError
	switch {
	case err == nil:
		return exitDone, out.String()
	case errors.As(err, &exit):
		return exit.code, out.String()
	}
	return exitUsage, err.Error()
}

func TestCheckHonoursWaivers(t *testing.T) {
	t.Parallel()
	file := pinging(t)
	const rest = ", reason: it pings, owner: the team"
	for _, test := range []struct {
		waiver string
		code   int
		text   string
	}{
		{"container: pinger, capabilities: [NET_RAW], expires: 2099-12-31" + rest, exitDone, "passed: 1 container; 1 only because of waivers\n"},
		{`image: "bb:*", capabilities: [ALL], expires: 2099-12-31` + rest, exitDone, "waived until 2099-12-31: ALL, accepted by the team: it pings"},
		{"container: pinger, capabilities: [CHOWN], expires: 2099-12-31" + rest, exitFindings, "unused: it matches 1 container, and covers no finding"},
		{"container: web, capabilities: [NET_RAW], expires: 2099-12-31" + rest, exitFindings, "unused: it matches none of these containers"},
		{"container: pinger, capabilities: [NET_RAW], expires: 2026-01-31" + rest, exitFindings, "the waiver expired on 2026-01-31, "},
		{"container: pinger, capabilities: [NET_RAW], expires: 2099-12-31", exitUsage, "waivers.yaml:2: this waiver has no reason: explain why the risk is accepted"},
	} {
		code, output := checked(t, waiversFile(t, test.waiver), "--deny=NET_RAW", file)
		if code != test.code || !strings.Contains(output, test.text) {
			t.Errorf("%s: exit code %d, want %d with %q\n%s", test.waiver, code, test.code, test.text, output)
		}
	}
}

// A mistake in the waivers is reported before capmon reads or observes anything.
func TestWaiversAreReadFirst(t *testing.T) {
	t.Parallel()
	missing, wrong := filepath.Join(t.TempDir(), "missing.yaml"), waiversFile(t, "container: web")
	for file, want := range map[string]string{
		missing: "reading the waivers: open " + missing + ": no such file or directory",
		wrong:   "waivers " + wrong + ":2: this waiver has no capabilities: name those whose risk is accepted, such as [NET_RAW], or [ALL]",
	} {
		for _, arguments := range [][]string{
			{"check", "--deny=ALL", "--waivers", file, "no-such-profile.json"},
			{"audit", "--for=10m", "--waivers", file}, {"audit", "--profile=no-such-profile.json", "--waivers", file},
		} {
			root := newRoot()
			root.SetArgs(arguments)
			if err := root.Execute(); err == nil || err.Error() != want {
				t.Errorf("%q: got %v, want %s", arguments, err, want)
			}
		}
	}
}
