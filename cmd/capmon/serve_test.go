package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
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
	"github.com/capmon/capmon/internal/testpins"
	"github.com/capmon/capmon/monitor"
)

// server is a capmon serve of a test's own.
type server struct {
	*observation
	t                      *testing.T
	database, pins, socket string
	host                   string // of the engine
	command                []string
}

// serve starts one, with these options besides; what it pins goes with the test.
func serve(t *testing.T, options ...string) *server {
	t.Helper()
	return serveAt(t, os.Getenv("DOCKER_HOST"), options...)
}

// serveAt is serve with the engine at a host of its own.
func serveAt(t *testing.T, host string, options ...string) *server {
	t.Helper()
	directory, err := os.MkdirTemp("", "serve") // a unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		t: t, host: host, database: filepath.Join(directory, "capmon.db"), socket: filepath.Join(directory, "s"),
		pins: testpins.Directory(filepath.Base(directory)),
	}
	s.command = append([]string{binary, "serve", "--db", s.database, "--pins", s.pins, "--socket", s.socket, "--save-every", "1s", "--log-level", "debug"}, options...)
	t.Cleanup(func() {
		s.kill()
		unsaved, err := filepath.Glob(aside(s.database) + "*")
		for _, path := range unsaved {
			err = errors.Join(err, os.Remove(path))
		}
		if err := errors.Join(err, monitor.RemovePins(s.pins), os.RemoveAll(directory)); err != nil {
			t.Error(err)
		}
	})
	s.start()
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.observation = watchBy(s.t, func(cmd *exec.Cmd) error {
		cmd.Env = s.environment()
		return cmd.Start()
	}, s.command...)
}

func (s *server) environment() []string { return append(os.Environ(), "DOCKER_HOST="+s.host) }

// kill kills it, with no chance to do anything.
func (s *server) kill() {
	_ = s.process.Kill()
	<-s.ended
}

// ready waits until it says that it is ready. It does not while a save takes long.
func (s *server) ready() {
	s.t.Helper()
	eventually(s.t, "serve is ready", func() bool {
		status, body := s.get("/readyz")
		return status == http.StatusOK && body == "ready\n"
	})
}

// get asks it.
func (s *server) get(path string) (status int, body string) {
	s.t.Helper()
	status, body, err := getBy(unixClient(s.socket), "http://capmon"+path, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return status, body
}

// header is one of those that come with an answer.
func (s *server) header(path, name string) string {
	s.t.Helper()
	response, err := unixClient(s.socket).Get("http://capmon" + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s", path, response.Status)
	}
	return response.Header.Get(name)
}

func unixClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

func getBy(client *http.Client, url, token string) (status int, body string, err error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func (s *server) state() (state daemon.State) {
	s.t.Helper()
	_, body := s.get("/api/v1/state")
	if err := json.Unmarshal([]byte(body), &state); err != nil {
		s.t.Fatalf("%v: %s", err, body)
	}
	return state
}

// saved waits until all that has been recorded up to now is in the database.
func (s *server) saved() {
	s.t.Helper()
	now := time.Now()
	s.until("what was recorded is saved", func(state daemon.State) bool { return state.Saved.After(now) })
}

func (s *server) until(what string, holds func(daemon.State) bool) {
	s.t.Helper()
	var state daemon.State
	defer func() {
		if s.t.Failed() {
			s.t.Logf("its state is %+v", state)
		}
	}()
	eventually(s.t, what, func() bool {
		state = s.state()
		return holds(state)
	})
}

// setuids is how often containers asked for CAP_SETUID by setuid(0), by their names, as the
// database has it.
func setuids(t *testing.T, database string) map[string]uint64 {
	t.Helper()
	return setuidsIn(t, mustExecute(t, binary, "report", "--db", database, "-o", "json"))
}

// setuidsIn is what a report says of them.
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

// asking is a container that runs, and asks when the test wants it to.
func asking(t *testing.T, name string) (ask func(times int)) {
	t.Helper()
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	mustExecute(t, "docker", "run", "-d", "--name", name, "bb", "sleep", "1000")
	return func(times int) {
		t.Helper()
		mustExecute(t, "docker", "exec", name, "probe", "repeat", fmt.Sprint(times), "setuid0")
	}
}

func TestServeKeepsWhatContainersUse(t *testing.T) {
	t.Parallel()
	s := serve(t)
	mustExecute(t, append([]string{"docker", "run", "--rm", "--name", "served", "bb"}, sh("ping -c1 127.0.0.1 && probe setuid0")...)...)
	s.saved()
	s.ready()
	flags := mustExecute(t, binary, "flags", "--db", s.database, "--container", "served")
	if flags != "--cap-drop=ALL --cap-add=NET_RAW\n" {
		t.Errorf("flags: %s", flags)
	}
	_, body := s.get("/api/v1/flags?container=served")
	var settings struct{ Text string }
	if err := json.Unmarshal([]byte(body), &settings); err != nil || settings.Text != flags {
		t.Errorf("by HTTP: %s", body)
	}
	_, body = s.get("/api/v1/report?container=served")
	valid(t, "report", body)
	_, body = s.get("/api/v1/profile?image=bb*")
	valid(t, "profile", body)
	if r := s.interrupt(); r.code != 0 || !strings.Contains(r.stderr, "the kernel records on") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	if got := setuids(t, s.database)["served"]; got != 1 {
		t.Errorf("counted %d, wanted 1", got)
	}
}

func TestServeIsKilledAndNothingIsLostOrCountedTwice(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ask := asking(t, "while-killed")
	recording := s.state().ID
	wanted := 0
	for range 3 {
		ask(1000)
		s.kill()
		ask(1000)
		mustExecute(t, "docker", "run", "--rm", "--name", "unseen", "bb", "probe", "setuid0") // from begin to end
		s.start()
		wanted += 2000
	}
	ask(500)
	s.saved()
	if state := s.state(); state.ID != recording || !state.TakenUp || state.Losses.Any() {
		t.Errorf("recording %s: %+v", recording, state)
	}
	if got := setuids(t, s.database); got["while-killed"] != uint64(wanted+500) || got["unseen"] != 3 {
		t.Errorf("counted %v, wanted %d and 3", got, wanted+500)
	}
	mustExecute(t, binary, "db", "check", "--db", s.database)
}

// Another version, or other options, need other programs and maps in the kernel.
func TestServeIsReplacedByAnotherAndNothingIsLostOrCountedTwice(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ask := asking(t, "while-replaced")
	for _, name := range []string{"watched-first", "watched-anew"} { // what the second one may call is watched already
		t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
		mustExecute(t, "docker", "run", "-d", "--name", name, "--cap-add=SYS_NICE", "bb", "sleep", "1000")
		s.await(name)
	}
	watched := func() kept { return keptIn(t, s.database)[idOf(t, "watched-anew")] }
	s.saved()
	same(t, "what it was watched for too late", watched().Unwatched, nil)
	recording := s.state().ID
	usual := s.command
	for i, options := range [][]string{{"--max-checks=70000"}, {"--outcomes=false"}, {"--max-containers=2000", "--hook=tp_btf"}, nil} {
		ask(1000)
		s.kill()
		ask(1000)
		mustExecute(t, "docker", "run", "--rm", "--name", "between", "bb", "probe", "setuid0")
		s.command = slices.Concat(usual, options)
		s.start()
		if i == 0 {
			s.saved()
			same(t, "whose system calls the new programs did not watch from the beginning", watched().Unwatched, caps("SYS_NICE"))
		}
	}
	ask(500)
	s.saved()
	state := s.state()
	if state.ID != recording || !state.TakenUp || state.Losses.Any() {
		t.Errorf("recording %s: %+v", recording, state)
	}
	if got := setuids(t, s.database); got["while-replaced"] != 8500 || got["between"] != 4 {
		t.Errorf("counted %v, wanted 8500 and 4", got)
	}
	mustExecute(t, binary, "db", "check", "--db", s.database)
}

func TestServeRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit        []string
		pruned, told string
	}{
		{[]string{"--older-than", "30d"}, "pruned    3 runs that ended until", "1 runs until 2026-08-01T"},
		{[]string{"--max-size", "1KiB"}, "runs that ended until", " runs until "}, // and what else of this machine has ended
	} {
		limit := test.limit
		db := imported(t, storedFile(t))
		s := serve(t, append(limit, "--db", db)...)
		ask := asking(t, "kept"+limit[0])
		ask(7)
		s.saved()
		if got := setuids(t, db)["kept"+limit[0]]; got != 7 {
			t.Errorf("%v: of what is new %d are kept", limit, got)
		}
		if status, _ := s.get("/api/v1/report?image=app:1"); status != http.StatusOK {
			t.Errorf("%v: status %d", limit, status)
		}
		if told := s.header("/api/v1/report?image=app:1", "X-Capmon-Pruned"); !strings.Contains(told, test.told) {
			t.Errorf("%v: told %q", limit, told)
		}
		expected(t, exitDone, []string{"db", "info", "--db", db}, test.pruned)
		s.kill()
	}
}

// Whatever is the matter with the database, what was recorded is there when it is over.
func TestServeOutlivesTroubleWithItsDatabase(t *testing.T) {
	t.Parallel()
	shell := func(script string) func(*testing.T, *server) {
		return func(t *testing.T, s *server) {
			mustExecute(t, "sh", "-c", "cd "+filepath.Dir(s.database)+" && "+script)
		}
	}
	var lock *sql.Tx
	for name, trouble := range map[string]struct {
		begin, end func(*testing.T, *server)
		said       string // in its state
		logged     string // when it has begun anew
		unserved   bool   // it begins while nobody serves
	}{
		"full": {begin: shell("cat /dev/zero >filler 2>/dev/null; true"), end: shell("rm filler"), said: "no space is left"},
		"read-only": {
			begin: shell("mount -o remount,ro ."), end: shell("mount -o remount,rw ."),
			said: "it may only be read", unserved: true,
		},
		"locked": {
			begin: func(t *testing.T, s *server) {
				db, err := sql.Open("sqlite", "file:"+s.database+"?_txlock=immediate")
				if err == nil {
					t.Cleanup(func() { _ = db.Close() })
					lock, err = db.Begin()
				}
				if err != nil {
					t.Fatal(err)
				}
			},
			end:  func(*testing.T, *server) { _ = lock.Rollback() },
			said: "another process keeps it locked",
		},
		"deleted": {begin: shell("rm capmon.db capmon.db-wal capmon.db-shm"), logged: "deleted or replaced"},
		"corrupt": {begin: shell("dd if=/dev/urandom of=capmon.db bs=4k count=40 conv=notrunc status=none"), logged: "was damaged and a new one begun", unserved: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			directory := smallDisk(t, "16m")
			s := serve(t, "--db", filepath.Join(directory, "capmon.db"))
			s.database = filepath.Join(directory, "capmon.db")
			container := "trouble-" + name
			ask := asking(t, container)
			ask(100)
			s.saved()
			if trouble.unserved {
				s.kill()
			}
			trouble.begin(t, s)
			ask(100)
			mustExecute(t, "docker", "run", "--rm", "--name", container+"-short", "bb", "probe", "setuid0")
			if trouble.unserved {
				s.start()
			}
			if trouble.said != "" {
				s.until("it says what is the matter", func(state daemon.State) bool { return strings.Contains(state.Trouble, trouble.said) })
				if status, body := s.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, trouble.said) {
					t.Errorf("ready: %d, %s", status, body)
				}
			}
			eventually(t, "it says that the database was lost", func() bool { return strings.Contains(s.stderr.String(), trouble.logged) })
			s.kill() // and the next one finds it so
			s.start()
			ask(100)
			if trouble.end != nil {
				trouble.end(t, s)
			}
			s.saved()
			if got := setuids(t, s.database); got[container] != 300 || got[container+"-short"] != 1 {
				t.Errorf("counted %v, wanted 300 and 1", got)
			}
			mustExecute(t, binary, "db", "check", "--db", s.database)
		})
	}
}

// rawSocketAlerts are those of that rule that a query finds, by their containers' names, or IDs
// where these are not known.
func (s *server) rawSocketAlerts(query string) map[string]int {
	s.t.Helper()
	_, body := s.get("/api/v1/alerts" + query)
	var alerts []alert.Alert
	if err := json.Unmarshal([]byte(body), &alerts); err != nil {
		s.t.Fatalf("%v: %s", err, body)
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

// Each first use is an alert once, also of what nobody watched.
func TestServeAlertsOnceThroughKills(t *testing.T) {
	t.Parallel()
	alertOnceThroughKill(t, "killed", "builtin")
}

// Other programs in the kernel see each use for the first time.
func TestServeAlertsOnceThoughReplaced(t *testing.T) {
	t.Parallel()
	alertOnceThroughKill(t, "replaced", "builtin", "--max-checks=70000")
}

// Where no rule looks at later uses, nobody follows the counts.
func TestServeAlertsOnceWithoutCounts(t *testing.T) {
	t.Parallel()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules: [{builtin: raw-socket}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	alertOnceThroughKill(t, "uncounted", rules, "--max-checks=70000")
}

// alertOnceThroughKill kills a serve and starts it again, with these options besides.
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
		if t.Failed() { // some may have no name
			t.Logf("the alerts of all containers are %v", s.rawSocketAlerts(""))
		}
	}()
	raw("1")
	again()
	eventually(t, "they are alerts", func() bool { return len(alerts()) == 2 })
	recording, now := s.state().ID, time.Now()
	s.until("that is noted", func(state daemon.State) bool { return state.Told.After(now) })
	s.kill()
	raw("2")
	again()
	s.command = append(s.command, options...)
	s.start()
	raw("3")
	again()
	want := map[string]int{prefix + "1": 1, prefix + "2": 1, prefix + "3": 1, prefix + "long": 1}
	eventually(t, "the others are alerts, too", func() bool { return len(alerts()) == len(want) })
	s.saved()
	if got := alerts(); !maps.Equal(got, want) || s.state().ID != recording {
		t.Errorf("got %v, wanted %v", got, want)
	}
	sameAlerts(t, s, prefix)
}

// sameAlerts holds what lists a database's alerts against what the serve of it answers.
func sameAlerts(t *testing.T, s *server, prefix string) {
	t.Helper()
	var answered, listed []alert.Alert
	_, body := s.get("/api/v1/alerts?container=" + prefix + "*")
	list := []string{binary, "db", "alerts", "--db", s.database, "--container", prefix + "*"}
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
	uninstall := []string{binary, "serve", "--uninstall", "--pins", s.pins, "--db", s.database}
	if r := execute(t, uninstall...); r.code != 2 || !strings.Contains(r.stderr, "end it first") {
		t.Errorf("while it serves: exit code %d, %s", r.code, r.stderr)
	}
	second := append(append([]string{}, s.command...), "--socket", s.socket+"2")
	if r := execute(t, slices.Concat(second, []string{"--db", s.database + "2"})...); r.code != 2 || !strings.Contains(r.stderr, "serves already") {
		t.Errorf("a second one: exit code %d, %s", r.code, r.stderr)
	}
	// With other pins it would record, and count, the same once more.
	if r := execute(t, append(second, "--pins", s.pins+"2")...); r.code != 2 || !strings.Contains(r.stderr, "another capmon serves into the same database, "+s.database) {
		t.Errorf("a second one with the same database: exit code %d, %s", r.code, r.stderr)
	}
	s.interrupt()
	if _, err := os.Stat(s.pins); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, uninstall...)
	if _, err := os.Stat(s.pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pins are still there: %v", err)
	}
	mustExecute(t, uninstall...) // nothing to do is no error
}
