package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Of a container that was running before it was watched there is no list that might keep it from
// starting, unless somebody asks for it in so many words.
func TestListsWithoutAStartAreRefused(t *testing.T) {
	const name = "start-unseen"
	startSleeper(t, name)
	directory := t.TempDir()
	saved, compose, before := filepath.Join(directory, "profile.json"), filepath.Join(directory, "compose.yaml"), "services:\n  "+name+":\n    image: bb\n"
	writeFile(t, compose, before)
	observation := watch(t, name, "--save", saved)
	mustExecute(t, "docker", "exec", name, "probe", "rawsock")
	got := only(t, parseReport(t, observation.interrupt()), name)
	if got.StartSeen || len(got.Flags) > 0 || !strings.Contains(strings.Join(got.Cautions, "\n"), "capmon profile --save=FILE -- docker run … bb") {
		t.Errorf("start seen %v, flags %v, %v", got.StartSeen, got.Flags, got.Cautions)
	}
	merged := filepath.Join(directory, "merged.json")
	if r := execute(t, binary, "merge", saved, saved, "-o", merged); r.code != 0 || !strings.Contains(r.stderr, "its start was not seen") {
		t.Errorf("merge: exit code %d, %s", r.code, r.stderr)
	}
	for _, command := range [][]string{
		{"flags", saved},
		{"flags", merged},
		{"flags", "--for", "compose", saved},
		{"flags", "--for", "kubernetes", saved},
		{"flags", "--for", "compose", "--patch", compose, "--service", name, saved},
		{"report", "-o", "flags", saved},
	} {
		r := execute(t, append([]string{binary}, command...)...)
		if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, "start was not seen") {
			t.Errorf("%v: exit code %d, %q, %s", command, r.code, r.stdout, r.stderr)
		}
	}
	if text, err := os.ReadFile(compose); err != nil || string(text) != before {
		t.Errorf("the compose file is %q, %v", text, err)
	}
	table := mustExecute(t, binary, "report", saved)
	if !strings.Contains(table, "START NOT SEEN") || !strings.Contains(table, "\n  incomplete: docker run --cap-drop=ALL --cap-add=NET_RAW …\n") {
		t.Error(table)
	}
	if got := mustExecute(t, binary, "flags", "--even-if-start-unseen", saved); got != "--cap-drop=ALL --cap-add=NET_RAW\n" {
		t.Errorf("asked for: %q", got)
	}
	for _, rule := range [][]string{{"--deny", "SYS_ADMIN"}, {"--allow", "NET_RAW"}} {
		check := append([]string{binary, "check"}, rule...)
		if r := execute(t, append(check, saved)...); r.code != exitFound || !strings.Contains(r.stdout, "capmon did not see it start") {
			t.Errorf("check %v: exit code %d, %s", rule, r.code, r.stdout)
		}
		mustExecute(t, append(check, "--even-if-start-unseen", saved)...)
	}
	// A start of the same, and its list is printed.
	mustExecute(t, "docker", "rm", "-f", name)
	started := filepath.Join(directory, "started.json")
	mustExecute(t, binary, "profile", "--save", started, "--", "docker", "run", "-d", "--name", name, "bb", "sleep", "1000")
	if got := mustExecute(t, binary, "flags", saved, started); got != "--cap-drop=ALL --cap-add=NET_RAW\n" {
		t.Errorf("with a start: %q", got)
	}
}

// The day that serve is installed it has not seen any start.
func TestServeRefusesListsWithoutAStart(t *testing.T) {
	t.Parallel()
	const name = "serve-start-unseen"
	startSleeper(t, name)
	s := serve(t)
	s.saved()
	if status, body := s.get("/api/v1/flags?container=" + name); status != http.StatusConflict || !strings.Contains(body, "its start was not seen") {
		t.Errorf("%d, %s", status, body)
	}
	if status, body := s.get("/api/v1/flags?even-if-start-unseen=true&container=" + name); status != http.StatusOK || !strings.Contains(body, "--cap-drop=ALL") {
		t.Errorf("asked for: %d, %s", status, body)
	}
	if r := execute(t, binary, "flags", "--db", s.database, "--container", name); r.code != exitUsage || r.stdout != "" {
		t.Errorf("flags: exit code %d, %q", r.code, r.stdout)
	}
}
