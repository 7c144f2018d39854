package e2e

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// server is a capmon serve process that only one test uses.
type server struct{ *capmontest.Server }

// serve starts a server with these additional options.
func serve(t *testing.T, options ...string) *server {
	t.Helper()
	return serveAt(t, os.Getenv("DOCKER_HOST"), options...)
}

// serveAt is like [serve], but with the engine at this host.
func serveAt(t *testing.T, host string, options ...string) *server {
	t.Helper()
	return &server{capmontest.Serve(t, binary, host, options...)}
}

// observation returns the process that runs now.
func (s *server) observation() *observation { return &observation{s.Process} }

// interrupt ends the process as Ctrl-C does and returns its output.
func (s *server) interrupt() result { return s.observation().interrupt() }

// await returns once the engine has reported a container of this name to the server.
func (s *server) await(name string) { s.observation().await(name) }

// ready waits until the server reports that it is ready. It does not while a save takes long.
func (s *server) ready() {
	s.T.Helper()
	eventually(s.T, "serve is ready", func() bool {
		status, body := s.Get("/readyz")
		return status == http.StatusOK && body == "ready\n"
	})
}

// setuids returns how often containers made a check of CAP_SETUID with setuid(0), by their names, from the database.
func setuids(t *testing.T, database string) map[string]uint64 {
	t.Helper()
	return setuidsIn(t, mustExecute(t, binary, "report", "--db", database, "-o", "json"))
}

// setuidsIn returns the same from a report.
func setuidsIn(t *testing.T, out string) map[string]uint64 {
	t.Helper()
	var report struct {
		Containers []struct {
			Name string
			Uses []struct {
				Capability, Class, Call string
				Count                   uint64
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]uint64)
	for _, c := range report.Containers {
		for _, use := range c.Uses {
			if use.Capability == "SETUID" && use.Class != "setup" && strings.HasPrefix(use.Call, "setuid(0") {
				counts[c.Name] += use.Count
			}
		}
	}
	return counts
}

// startChecking starts a container and returns a function that makes it do this many checks.
func startChecking(t *testing.T, name string) (check func(times int)) {
	t.Helper()
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	mustExecute(t, "docker", "run", "-d", "--name", name, "bb", "sleep", "1000")
	return func(times int) {
		t.Helper()
		mustExecute(t, "docker", "exec", name, "probe", "repeat", fmt.Sprint(times), "setuid0")
	}
}

func TestServeSavesUsesOfContainers(t *testing.T) {
	t.Parallel()
	s := serve(t)
	mustExecute(t, append([]string{"docker", "run", "--rm", "--name", "served", "bb"}, sh("ping -c1 127.0.0.1 && probe setuid0")...)...)
	s.Saved()
	s.ready()
	flags := mustExecute(t, binary, "flags", "--db", s.Database, "--container", "served")
	if flags != "--cap-drop=ALL --cap-add=NET_RAW\n" {
		t.Errorf("flags: %s", flags)
	}
	_, body := s.Get("/api/v1/flags?container=served")
	var settings struct{ Text string }
	if err := json.Unmarshal([]byte(body), &settings); err != nil || settings.Text != flags {
		t.Errorf("response: %s", body)
	}
	_, body = s.Get("/api/v1/report?container=served")
	valid(t, "report", body)
	_, body = s.Get("/api/v1/profile?image=bb*")
	valid(t, "profile", body)
	if r := s.interrupt(); r.code != 0 || !strings.Contains(r.stderr, "the kernel continues to record") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	if got := setuids(t, s.Database)["served"]; got != 1 {
		t.Errorf("counted %d, wanted 1", got)
	}
}

func TestServeIsKilledAndNothingIsLostOrCountedTwice(t *testing.T) {
	t.Parallel()
	s := serve(t)
	check := startChecking(t, "while-killed")
	recording := s.State().ID
	wanted := 0
	for range 3 {
		check(1000)
		s.Kill()
		check(1000)
		mustExecute(t, "docker", "run", "--rm", "--name", "unseen", "bb", "probe", "setuid0") // its whole life
		s.Start()
		wanted += 2000
	}
	check(500)
	s.Saved()
	if state := s.State(); state.ID != recording || !state.Resumed || state.Losses.Any() {
		t.Errorf("recording %s: %+v", recording, state)
	}
	if got := setuids(t, s.Database); got["while-killed"] != uint64(wanted+500) || got["unseen"] != 3 {
		t.Errorf("counted %v, wanted %d and 3", got, wanted+500)
	}
	mustExecute(t, binary, "db", "check", "--db", s.Database)
}

// Another version, or other options, require other programs and maps in the kernel.
func TestServeWithOtherProgramsLosesNothingAndCountsOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	check := startChecking(t, "while-replaced")
	for _, name := range []string{"watched-first", "watched-again"} { // capmon already observes these calls when the second container starts
		t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
		mustExecute(t, "docker", "run", "-d", "--name", name, "--cap-add=SYS_NICE", "bb", "sleep", "1000")
		s.await(name)
	}
	watched := func() capmontest.Kept { return capmontest.KeptIn(t, binary, s.Database)[idOf(t, "watched-again")] }
	s.Saved()
	same(t, "observed too late", watched().Unwatched, nil)
	recording := s.State().ID
	usual := s.Command
	for i, options := range [][]string{{"--max-checks=70000"}, {"--outcomes=false"}, {"--max-containers=2000", "--hook=tp_btf"}, nil} {
		check(1000)
		s.Kill()
		check(1000)
		mustExecute(t, "docker", "run", "--rm", "--name", "between", "bb", "probe", "setuid0")
		s.Command = slices.Concat(usual, options)
		s.Start()
		if i == 0 {
			s.Saved()
			same(t, "system calls that the new programs did not observe from the start", watched().Unwatched, caps("SYS_NICE"))
		}
	}
	check(500)
	s.Saved()
	state := s.State()
	if state.ID != recording || !state.Resumed || state.Losses.Any() {
		t.Errorf("recording %s: %+v", recording, state)
	}
	if got := setuids(t, s.Database); got["while-replaced"] != 8500 || got["between"] != 4 {
		t.Errorf("counted %v, wanted 8500 and 4", got)
	}
	mustExecute(t, binary, "db", "check", "--db", s.Database)
}

func TestServeRemovesOldRuns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit          []string
		pruned, header string
	}{
		{[]string{"--older-than", "30d"}, "pruned    3 runs (latest end ", "1 runs until 2026-08-01T"},
		{[]string{"--max-size", "1KiB"}, "runs (latest end ", " runs until "}, // plus runs of other containers of this machine
	} {
		limit := test.limit
		db := imported(t, storedFile(t))
		s := serve(t, append(limit, "--db", db)...)
		check := startChecking(t, "kept"+limit[0])
		check(7)
		s.Saved()
		if got := setuids(t, db)["kept"+limit[0]]; got != 7 {
			t.Errorf("%v: %d of the new checks are kept, wanted 7", limit, got)
		}
		if status, _ := s.Get("/api/v1/report?image=app:1"); status != http.StatusOK {
			t.Errorf("%v: status %d", limit, status)
		}
		if header := s.Header("/api/v1/report?image=app:1", "X-Capmon-Pruned"); !strings.Contains(header, test.header) {
			t.Errorf("%v: header %q", limit, header)
		}
		expected(t, exitDone, []string{"db", "info", "--db", db}, test.pruned)
		s.Kill()
	}
}

// Whatever the trouble with the database, it has everything that was recorded once the trouble is over.
func TestServeSurvivesDatabaseTrouble(t *testing.T) {
	t.Parallel()
	shell := func(script string) func(*testing.T, *server) {
		return func(t *testing.T, s *server) {
			mustExecute(t, "sh", "-c", "cd "+filepath.Dir(s.Database)+" && "+script)
		}
	}
	var lock *sql.Tx
	for name, trouble := range map[string]struct {
		begin, end func(*testing.T, *server)
		trouble    string // in the server's state
		logged     string // when serve starts a new database
		unserved   bool   // the trouble begins while serve does not run
	}{
		"full": {begin: shell("cat /dev/zero >filler 2>/dev/null; true"), end: shell("rm filler"), trouble: "no space is left"},
		"read-only": {
			begin: shell("mount -o remount,ro ."), end: shell("mount -o remount,rw ."),
			trouble: "it is read-only", unserved: true,
		},
		"locked": {
			begin: func(t *testing.T, s *server) {
				db, err := sql.Open("sqlite", "file:"+s.Database+"?_txlock=immediate")
				if err == nil {
					t.Cleanup(func() { _ = db.Close() })
					lock, err = db.Begin()
				}
				if err != nil {
					t.Fatal(err)
				}
			},
			end:     func(*testing.T, *server) { _ = lock.Rollback() },
			trouble: "another process has locked it",
		},
		"deleted": {begin: shell("rm capmon.db capmon.db-wal capmon.db-shm"), logged: "deleted or replaced"},
		"corrupt": {begin: shell("dd if=/dev/urandom of=capmon.db bs=4k count=40 conv=notrunc status=none"), logged: "was damaged, so capmon started a new one", unserved: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			directory := testutil.SmallDisk(t, "16m")
			s := serve(t, "--db", filepath.Join(directory, "capmon.db"))
			s.Database = filepath.Join(directory, "capmon.db")
			container := "trouble-" + name
			check := startChecking(t, container)
			check(100)
			s.Saved()
			if trouble.unserved {
				s.Kill()
			}
			trouble.begin(t, s)
			check(100)
			mustExecute(t, "docker", "run", "--rm", "--name", container+"-short", "bb", "probe", "setuid0")
			if trouble.unserved {
				s.Start()
			}
			if trouble.trouble != "" {
				s.Until("serve reports the trouble", func(state daemon.State) bool { return strings.Contains(state.Trouble, trouble.trouble) })
				if status, body := s.Get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, trouble.trouble) {
					t.Errorf("ready: %d, %s", status, body)
				}
			}
			eventually(t, "serve logs that the database was lost", func() bool { return strings.Contains(s.Stderr.String(), trouble.logged) })
			s.Kill() // the next serve starts with the trouble
			s.Start()
			check(100)
			if trouble.end != nil {
				trouble.end(t, s)
			}
			s.Saved()
			if got := setuids(t, s.Database); got[container] != 300 || got[container+"-short"] != 1 {
				t.Errorf("counted %v, wanted 300 and 1", got)
			}
			mustExecute(t, binary, "db", "check", "--db", s.Database)
		})
	}
}

// rawSocketAlerts returns the number of alerts of that rule that a query finds, by the containers' names, or their IDs
// if the names are unknown.
func (s *server) rawSocketAlerts(query string) map[string]int {
	s.T.Helper()
	_, body := s.Get("/api/v1/alerts" + query)
	var alerts []alert.Alert
	if err := json.Unmarshal([]byte(body), &alerts); err != nil {
		s.T.Fatalf("%v: %s", err, body)
	}
	names := make(map[string]int)
	for _, one := range alerts {
		if one.Rule != "raw-socket" {
			continue
		}
		name := one.Use.Container.Name
		if name == "" {
			name = one.Use.Container.ID
		}
		names[name]++
	}
	return names
}

// Each first use raises one alert, even if serve did not run at the time.
func TestServeAlertsOnceDespiteKills(t *testing.T) {
	t.Parallel()
	alertOnceThroughKill(t, "killed", "builtin")
}

// New programs in the kernel report each use as a first use again.
func TestServeAlertsOnceWithOtherPrograms(t *testing.T) {
	t.Parallel()
	alertOnceThroughKill(t, "replaced", "builtin", "--max-checks=70000")
}

// Without a rule about later uses, serve does not count uses for alerts.
func TestServeAlertsOnceWithoutCounts(t *testing.T) {
	t.Parallel()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules: [{builtin: raw-socket}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	alertOnceThroughKill(t, "uncounted", rules, "--max-checks=70000")
}

// alertOnceThroughKill kills a serve process and starts it again with these additional options.
func alertOnceThroughKill(t *testing.T, name, rules string, options ...string) {
	t.Helper()
	prefix := "alerted-" + name + "-"
	s := serve(t, "--rules", rules)
	raw := func(name string) {
		mustExecute(t, "docker", "run", "--rm", "--name", prefix+name, "bb", "probe", "rawsock")
	}
	mustExecute(t, "docker", "run", "-d", "--rm", "--name", prefix+"long", "bb", "sleep", "1000")
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", prefix+"long").Run() })
	again := func() { mustExecute(t, "docker", "exec", prefix+"long", "probe", "rawsock") }
	alerts := func() map[string]int { return s.rawSocketAlerts("?container=" + prefix + "*") }
	defer func() {
		if t.Failed() { // some containers may have no name
			t.Logf("the alerts of all containers are %v", s.rawSocketAlerts(""))
		}
	}()
	raw("1")
	again()
	eventually(t, "both uses have raised alerts", func() bool { return len(alerts()) == 2 })
	recording, now := s.State().ID, time.Now()
	s.Until("the database has the alerts", func(state daemon.State) bool { return state.ReportedUntil.After(now) })
	s.Kill()
	raw("2")
	again()
	s.Command = append(s.Command, options...)
	s.Start()
	raw("3")
	again()
	want := map[string]int{prefix + "1": 1, prefix + "2": 1, prefix + "3": 1, prefix + "long": 1}
	eventually(t, "the other uses have raised alerts", func() bool { return len(alerts()) == len(want) })
	s.Saved()
	if got := alerts(); !maps.Equal(got, want) || s.State().ID != recording {
		t.Errorf("got %v, wanted %v", got, want)
	}
	sameAlerts(t, s, prefix)
}

// sameAlerts compares the alerts that capmon db alerts lists with those that serve returns.
func sameAlerts(t *testing.T, s *server, prefix string) {
	t.Helper()
	var answered, listed []alert.Alert
	_, body := s.Get("/api/v1/alerts?container=" + prefix + "*")
	list := []string{binary, "db", "alerts", "--db", s.Database, "--container", prefix + "*"}
	if err := errors.Join(json.Unmarshal([]byte(body), &answered), json.Unmarshal([]byte(mustExecute(t, append(list, "-o", "json")...)), &listed)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(answered, listed); diff != "" || len(listed) == 0 {
		t.Errorf("%d alerts: %s", len(listed), diff)
	}
	table := mustExecute(t, list...)
	for _, one := range listed {
		if !strings.Contains(table, one.Summary) {
			t.Errorf("%s is not in %s", one.Summary, table)
		}
	}
}

func TestServeUninstalls(t *testing.T) {
	t.Parallel()
	s := serve(t)
	uninstall := []string{binary, "serve", "--uninstall", "--pins", s.Pins, "--db", s.Database}
	if r := execute(t, uninstall...); r.code != 2 || !strings.Contains(r.stderr, "end it first") {
		t.Errorf("while serve runs: exit code %d, %s", r.code, r.stderr)
	}
	second := append(append([]string{}, s.Command...), "--socket", s.Socket+"2")
	if r := execute(t, slices.Concat(second, []string{"--db", s.Database + "2"})...); r.code != 2 || !strings.Contains(r.stderr, "another capmon serve is running") {
		t.Errorf("a second serve: exit code %d, %s", r.code, r.stderr)
	}
	// With other pins, a second recording would count everything twice.
	if r := execute(t, append(second, "--pins", s.Pins+"2")...); r.code != 2 || !strings.Contains(r.stderr, "another capmon serve uses the same database, "+s.Database) {
		t.Errorf("a second serve with the same database: exit code %d, %s", r.code, r.stderr)
	}
	s.interrupt()
	if _, err := os.Stat(s.Pins); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, uninstall...)
	if _, err := os.Stat(s.Pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pins are still there: %v", err)
	}
	mustExecute(t, uninstall...) // not an error if there is nothing to do
}
