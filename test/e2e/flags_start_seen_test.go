package e2e

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/shell"
)

// capmon prints no list for a container that was running before the recording, since a container might not start with
// the list. A flag makes capmon print it anyway.
func TestListsWithoutAStartAreRejected(t *testing.T) {
	t.Parallel()
	const name = "start-unseen"
	startSleeper(t, name)
	directory := t.TempDir()
	saved, compose := filepath.Join(directory, "profile.json"), filepath.Join(directory, "compose.yaml")
	writeFile(t, compose, "services:\n  "+name+":\n    image: bb\n")
	observation := watch(t, name, "--save", saved)
	mustExecute(t, "docker", "exec", name, "probe", "rawsock")
	got := only(t, parseReport(t, observation.interrupt()), name)
	if got.StartSeen || len(got.Flags) > 0 || !strings.Contains(strings.Join(got.Cautions, "\n"), "capmon profile --save=FILE -- docker run … bb") {
		t.Errorf("start seen %v, flags %v, %v", got.StartSeen, got.Flags, got.Cautions)
	}
	merged := filepath.Join(directory, "merged.json")
	if r := execute(t, binary, "merge", saved, saved, "-o", merged); r.code != 0 || !strings.Contains(r.stderr, "capmon did not see the start of the container") {
		t.Errorf("merge: exit code %d, %s", r.code, r.stderr)
	}
	manifest, quadlet := filepath.Join(directory, "pod.yaml"), filepath.Join(directory, "web.container")
	writeFile(t, manifest, "kind: Pod\nspec: {containers: [{name: "+name+", image: bb}]}\n")
	writeFile(t, quadlet, "[Container]\nContainerName="+name+"\nImage=bb\n")
	commands := [][]string{
		{"flags", saved},
		{"flags", merged},
		{"flags", "--for", "compose", "--patch", compose, "--service", name, saved},
		{"flags", "--for", "kubernetes", "--patch", manifest, saved},
		{"flags", "--for", "quadlet", "--patch", quadlet, saved},
		{"report", "-o", "flags", saved},
	}
	for _, target := range settings.TargetNames() {
		commands = append(commands, []string{"flags", "--for", target, saved})
	}
	for _, command := range commands {
		r := execute(t, append([]string{binary}, command...)...)
		if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, "did not see the start of the container") {
			t.Errorf("%v: exit code %d, %q, %s", command, r.code, r.stdout, r.stderr)
		}
	}
	for _, file := range []string{compose, manifest, quadlet} {
		if text := readText(t, file); strings.Contains(strings.ToLower(text), "cap") {
			t.Errorf("%s is %q", file, text)
		}
	}
	table := mustExecute(t, binary, "report", saved)
	if !strings.Contains(table, "START NOT SEEN") || !strings.Contains(table, "\n  start not seen: docker run --cap-drop=ALL --cap-add=NET_RAW …\n") {
		t.Error(table)
	}
	if got := mustExecute(t, binary, "flags", "--even-if-start-unseen", saved); got != "--cap-drop=ALL --cap-add=NET_RAW\n" {
		t.Errorf("with --even-if-start-unseen: %q", got)
	}
	for _, rule := range [][]string{{"--deny", "SYS_ADMIN"}, {"--allow", "NET_RAW"}} {
		check := append([]string{binary, "check"}, rule...)
		if r := execute(t, append(check, saved)...); r.code != exitFindings || !strings.Contains(r.stdout, "capmon did not see the start of the container") {
			t.Errorf("check %v: exit code %d, %s", rule, r.code, r.stdout)
		}
		mustExecute(t, append(check, "--even-if-start-unseen", saved)...)
	}
	// With a profile of a start, capmon prints the list.
	mustExecute(t, "docker", "rm", "-f", name)
	started := filepath.Join(directory, "started.json")
	mustExecute(t, binary, "profile", "--save", started, "--", "docker", "run", "--name", name, "bb", "true") // not -d: docker run -d may return before the program starts
	if got := mustExecute(t, binary, "flags", saved, started); got != "--cap-drop=ALL --cap-add=NET_RAW\n" {
		t.Errorf("with a start: %q", got)
	}
}

// A restarted container finds state of its first start, and may need less than a new container.
func TestRestartsAreNotStartsOfNewContainers(t *testing.T) {
	t.Parallel()
	const name = "restarted-only"
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	first := append([]string{"docker", "run", "-d", "--name", name, "bb"}, sh("[ -e /tmp/made ] || chown 5 /tmp; touch /tmp/made /tmp/runs; exec sleep 1000")...)
	const awaited = " && until docker exec " + name + " test -e /tmp/runs; do :; done" // docker may return before the program starts
	mustExecute(t, sh(shell.Line(first)+awaited)...)
	directory := t.TempDir()
	restarted, started := filepath.Join(directory, "restarted.json"), filepath.Join(directory, "started.json")
	profile := func(file string, command ...string) {
		t.Helper()
		mustExecute(t, append([]string{binary, "profile", "--save", file, "--"}, command...)...)
	}
	mustExecute(t, "docker", "exec", name, "rm", "/tmp/runs")
	profile(restarted, sh("docker restart --time=0 "+name+awaited)...)
	r := execute(t, binary, "flags", restarted)
	if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, "capmon saw only restarts of the container") {
		t.Errorf("flags: exit code %d, %q, %s", r.code, r.stdout, r.stderr)
	}
	if table := mustExecute(t, binary, "report", restarted); !strings.Contains(table, "ONLY RESTARTS SEEN") || !strings.Contains(table, "a new container may fail to start with this list") {
		t.Error(table)
	}
	if r := execute(t, binary, "check", "--deny", "SYS_ADMIN", restarted); r.code != exitFindings || !strings.Contains(r.stdout, "capmon saw only restarts of the container") {
		t.Errorf("check: exit code %d, %s", r.code, r.stdout)
	}
	mustExecute(t, "docker", "rm", "-f", name)
	profile(started, sh(shell.Line(first)+awaited)...)
	if got := mustExecute(t, binary, "flags", restarted, started); got != "--cap-drop=ALL --cap-add=CHOWN\n" {
		t.Errorf("with the start of a new container: %q", got)
	}
}

// A newly installed serve has not seen any start.
func TestServeRejectsListsWithoutAStart(t *testing.T) {
	t.Parallel()
	const name = "serve-start-unseen"
	startSleeper(t, name)
	s := serve(t)
	s.Saved()
	if status, body := s.Get("/api/v1/flags?container=" + name); status != http.StatusConflict || !strings.Contains(body, "capmon did not see the start of the container") {
		t.Errorf("%d, %s", status, body)
	}
	if status, body := s.Get("/api/v1/flags?even-if-start-unseen=true&container=" + name); status != http.StatusOK || !strings.Contains(body, "--cap-drop=ALL") {
		t.Errorf("with even-if-start-unseen: %d, %s", status, body)
	}
	if r := execute(t, binary, "flags", "--db", s.Database, "--container", name); r.code != exitUsage || r.stdout != "" {
		t.Errorf("flags: exit code %d, %q", r.code, r.stdout)
	}
}

// An unseen start only prevents patches that need this start.
func TestPatchRequiresStartsOfPatchedServices(t *testing.T) {
	t.Parallel()
	const other, name = "start-unseen-beside", "start-seen"
	startSleeper(t, other, "--label", "com.docker.compose.service=db")
	directory := t.TempDir()
	unseen, seen := filepath.Join(directory, "unseen.json"), filepath.Join(directory, "seen.json")
	web, both := filepath.Join(directory, "web.yaml"), filepath.Join(directory, "both.yaml")
	observation := watch(t, other, "--save", unseen)
	mustExecute(t, "docker", "exec", other, "probe", "rawsock")
	observation.interrupt()
	mustExecute(t, slices.Concat([]string{binary, "profile", "--save", seen, "--", "docker", "run", "--rm", "--name", name, "--label", "com.docker.compose.service=web", "bb"},
		sh("touch /tmp/f && chown 5 /tmp/f"))...)
	writeFile(t, web, "services:\n  web: {image: bb}\n")
	writeFile(t, both, "services:\n  web: {image: bb}\n  db: {image: bb}\n")
	patch := func(file string, options ...string) result {
		return execute(t, append([]string{binary, "flags", "--for", "compose", "--dry-run", "--patch", file, unseen, seen}, options...)...)
	}
	for _, r := range []result{patch(web), patch(both, "--service=web")} {
		if r.code != 0 || !strings.Contains(r.stdout, "cap_add: [CHOWN]") {
			t.Errorf("%+v", r)
		}
	}
	for _, r := range []result{patch(both), patch(both, "--service=db")} {
		if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, "capmon did not see the start of the container") {
			t.Errorf("%+v", r)
		}
	}
}

// A server that started as root and became another user has an empty effective set, but needed capabilities to change
// the user.
func TestServersThatDroppedRootMayNeedCapabilities(t *testing.T) {
	t.Parallel()
	const name = "gave-up-root"
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	mustExecute(t, "docker", "run", "-d", "--name", name, "bb", "su", "user", "-c", "exec sleep 1000")
	eventually(t, "it runs as another user", func() bool {
		return execute(t, "docker", "exec", name, "grep", "-q", "^CapEff:.*00000000$", "/proc/1/status").code == 0
	})
	got := only(t, parseReport(t, watch(t, name).interrupt()), name)
	if text := strings.Join(got.Cautions, "\n"); strings.Contains(text, "remove all granted capabilities") || !strings.Contains(text, "capmon did not see the start of the container") || len(got.Flags) > 0 {
		t.Errorf("flags %v, %s", got.Flags, text)
	}
}
