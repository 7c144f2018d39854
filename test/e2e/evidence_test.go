package e2e

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/profile"
)

// otherHostName returns a command that runs capmon under another host name, as in a container.
func otherHostName(command ...string) []string {
	return slices.Concat([]string{"unshare", "--uts", "sh", "-ec", `echo elsewhere >/proc/sys/kernel/hostname; exec "$@"`, "sh"}, command)
}

// recorder returns where the engine of the tests runs, and the version of the tested capmon.
func recorder(t *testing.T) profile.Recorder {
	t.Helper()
	version, _, _ := strings.Cut(strings.TrimPrefix(mustExecute(t, binary, "--version"), "capmon version "), " ")
	return profile.Recorder{
		Host:   strings.TrimSpace(mustExecute(t, "docker", "info", "--format={{.Name}}")),
		Engine: "docker " + strings.TrimSpace(mustExecute(t, "docker", "version", "--format={{.Server.Version}}")),
		Capmon: version,
	}
}

// evidenceIn returns the evidence of an output in JSON.
func evidenceIn(t *testing.T, r result) profile.Evidence {
	t.Helper()
	var output struct{ Evidence profile.Evidence }
	if err := json.Unmarshal([]byte(r.stdout), &output); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	return output.Evidence
}

// recordedBy verifies that all recordings of an output are of this recorder, and were made since a time.
func recordedBy(t *testing.T, e profile.Evidence, by profile.Recorder, since time.Time) {
	t.Helper()
	got := [][]string{e.Hosts, e.Engines, e.RecordedBy, {e.Capmon}}
	if diff := cmp.Diff([][]string{{by.Host}, {by.Engine}, {by.Capmon}, {by.Capmon}}, got); diff != "" {
		t.Errorf("%s: %s", e.Scope, diff)
	}
	// The clock of the kernel and the wall clock may differ a little.
	if e.From.Before(since.Add(-time.Minute)) || e.To.Before(e.From) || e.To.After(time.Now().Add(time.Minute)) || e.Created.Before(since.Add(-time.Minute)) {
		t.Errorf("%s: recorded from %v to %v, created %v; the test began %v", e.Scope, e.From, e.To, e.Created, since)
	}
}

// A reader of a file learns which host, engine and capmon it is from, also if capmon ran in a container with another
// host name.
func TestOutputsHaveTheirEvidence(t *testing.T) {
	t.Parallel()
	began, by := time.Now(), recorder(t)
	const name = "evidence"
	startSleeper(t, name)
	file := filepath.Join(t.TempDir(), "profile.json")
	r := execute(t, otherHostName(binary, "profile", "-o", "json", "--save", file, "--", "docker", "restart", "--time=0", name)...)
	e := evidenceIn(t, r)
	recordedBy(t, e, by, began)
	if e.Scope != "containers that docker started" {
		t.Errorf("scope %q", e.Scope)
	}

	for scope, command := range map[string][]string{
		"profile " + file:                {"report", "-o", "json", file},
		"profile " + file + ", --image ": {"report", "-o", "json", "--image=bb", file},
		"profile " + file + ", baseline ": {
			"check", "--even-if-start-unseen", "--baseline", file, "-o", "json", file,
		},
		"container " + name + ", uses from profile " + file: {"audit", "-o", "json", "--profile", file, name},
	} {
		e := evidenceIn(t, execute(t, append([]string{binary}, command...)...))
		recordedBy(t, e, by, began)
		if !strings.HasPrefix(e.Scope, scope) {
			t.Errorf("%v: scope %q", command, e.Scope)
		}
		if audited := (profile.AuditedEngine{Host: by.Host, Engine: by.Engine}); command[0] == "audit" && (e.Audited == nil || *e.Audited != audited) {
			t.Errorf("%v: audited %+v, wanted %+v", command, e.Audited, audited)
		}
	}
	for _, command := range [][]string{{"report", file}, {"check", "--deny=SYS_ADMIN", "--even-if-start-unseen", file}, {"audit", "--static", name}} {
		text := execute(t, append([]string{binary}, command...)...).stdout
		if first, _, _ := strings.Cut(text, "\n"); !strings.HasPrefix(first, "host "+by.Host+" · engine "+by.Engine) {
			t.Errorf("%v: the first line is %q", command, first)
		}
	}
	both := expected(t, exitDone, []string{"diff", file, file}, "before: host "+by.Host, "after: host "+by.Host)
	valid(t, "diff", expected(t, exitDone, []string{"diff", "-o", "json", file, file}).stdout)
	if strings.Count(both.stdout, "capmon "+by.Capmon) != 1 {
		t.Errorf("diff:\n%s", both.stdout)
	}

	p, r := prove(t, "--", "docker", "run", "--rm", "bb", "chroot", "/", "true")
	e = evidenceIn(t, r)
	recordedBy(t, e, by, began)
	if len(p.Members) == 0 || !strings.HasSuffix(e.Scope, ", list from its first run") {
		t.Errorf("verify: scope %q", e.Scope)
	}
}

// Without an engine, the host is the one that capmon sees.
func TestEvidenceWithoutAnEngine(t *testing.T) {
	t.Parallel()
	began, by := time.Now(), recorder(t)
	startSleeper(t, "evidence-alone")
	by.Host, by.Engine = "elsewhere", ""
	r := execute(t, otherHostName("env", "DOCKER_HOST=unix:///nowhere.sock", binary, "profile", "-o", "json", "--for=1s")...)
	e := evidenceIn(t, r)
	e.From = began // other containers were started earlier
	recordedBy(t, e, by, began)
}
