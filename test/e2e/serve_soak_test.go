package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/daemon"
)

// make soak runs half an hour.
var soakFor = flag.Duration("soak", 2*time.Minute, "how long TestServeSoak runs")

const soakSaves = "1s"

// pace returns the pause between two actions in a soak, and the time between two kills of capmon. A short soak runs
// beside other tests.
func pace() (rest, kills time.Duration) {
	if *soakFor < 5*time.Minute {
		return time.Second, 10 * time.Second
	}
	return 100 * time.Millisecond, time.Minute
}

// otherImage is a second name of the image bb.
const otherImage = "bb-other:soak"

// counts is the number of checks by capability.
type counts map[string]uint64

func (c counts) Add(more counts) {
	for capability, n := range more {
		c[capability] += n
	}
}

// checkCommands are commands that each make one check of one capability, with the beginning of the system call that
// identifies the check.
var checkCommands = []struct{ capability, command, call string }{
	{"SETUID", "setuid0", "setuid(0"},
	{"SETGID", "setgid0", "setgid(0"},
	{"NET_RAW", "rawsock", "socket("},
	{"CHOWN", "chown-open /own/file 5", "fchown"},
}

// own is an option for a file system in a container where changing an owner makes exactly one check.
const own = "--tmpfs=/own"

// work returns a command for a container's shell, and the checks that it makes.
func work() (command string, made counts) {
	made = make(counts)
	command = "touch /own/file"
	for _, one := range checkCommands {
		if n := rand.IntN(20); n > 0 {
			command += fmt.Sprintf("; probe repeat %d %s", n, one.command)
			made[one.capability] += uint64(n)
		}
	}
	return command, made
}

// account has the name and the image of a container, and its checks.
type account struct {
	name, image string
	made        counts
}

// ledger has the checks of the containers of a soak, by their IDs.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]*account
	made     int
}

func (l *ledger) open(id, name, image string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts[id] = &account{name: name, image: image, made: make(counts)}
}

func (l *ledger) enter(id string, made counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts[id].made.Add(made)
}

// name returns a name that no other container has, and an image.
func (l *ledger) name(kind string) (name, image string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	return fmt.Sprintf("soak-%s-%d", kind, l.made), []string{"bb:latest", otherImage}[l.made%2]
}

// soak runs short-lived and long-lived containers in a separate engine, and records what they do.
type soak struct {
	ledger
	t      *testing.T
	engine dockerDaemon
	// Commands that need the engine hold serving for reading. A restart of the engine holds it for writing.
	serving sync.RWMutex
	over    chan struct{}
	actors  sync.WaitGroup
}

// docker returns the output of a command. Callers prevent restarts of the engine in the meantime.
func (s *soak) docker(args ...string) (string, error) {
	cmd := exec.Command("docker", append([]string{"-H", s.engine.Host}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// create creates a container without starting it.
func (s *soak) create(kind string, options []string, command ...string) (id string, err error) {
	name, image := s.name(kind)
	id, err = s.docker(slices.Concat([]string{"create", "--name", name, "--network=none", own}, options, []string{image}, command)...)
	if err == nil {
		s.open(id, name, image)
	}
	return id, err
}

// act repeats an action in a new goroutine until the soak is over.
func (s *soak) act(what func() error) {
	rest, _ := pace()
	s.actors.Go(func() {
		for {
			select {
			case <-s.over:
				return
			default:
			}
			if err := what(); err != nil {
				s.t.Error(err)
				return
			}
			time.Sleep(rest)
		}
	})
}

// withEngine returns an action that runs only while the engine is not being restarted.
func (s *soak) withEngine(what func() error) func() error {
	return func() error {
		s.serving.RLock()
		defer s.serving.RUnlock()
		return what()
	}
}

// comeAndGo runs one container from its start to its end.
func (s *soak) comeAndGo() error {
	command, made := work()
	id, err := s.create("short", []string{"--rm"}, "sh", "-c", command)
	if err != nil {
		return err
	}
	s.enter(id, made)
	_, err = s.docker("start", "--attach", id)
	return err
}

// startAgain starts one container several times.
func (s *soak) startAgain() error {
	command, made := work()
	id, err := s.create("again", nil, "sh", "-c", command)
	if err != nil {
		return err
	}
	for range 3 {
		s.enter(id, made)
		if _, err := s.docker("start", "--attach", id); err != nil {
			return err
		}
	}
	_, err = s.docker("rm", id)
	return err
}

// crash runs a container that the engine restarts a known number of times.
func (s *soak) crash() error {
	const retries = 3
	command, made := work()
	id, err := s.create("crash", []string{fmt.Sprintf("--restart=on-failure:%d", retries)}, "sh", "-c", command+"; exit 1")
	if err != nil {
		return err
	}
	for range 1 + retries {
		s.enter(id, made)
	}
	if _, err := s.docker("start", id); err != nil {
		return err
	}
	for want := fmt.Sprintf("exited %d", retries); ; time.Sleep(50 * time.Millisecond) {
		state, err := s.docker("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", id)
		if err != nil {
			return err
		}
		if state == want {
			break
		}
	}
	_, err = s.docker("rm", id)
	return err
}

// executeIn runs commands in a long-lived container and sometimes restarts the container.
func (s *soak) executeIn(id string) func() error {
	return func() error {
		command, made := work()
		s.enter(id, made)
		if _, err := s.docker("exec", id, "sh", "-c", command); err != nil {
			return err
		}
		if rand.IntN(10) > 0 {
			return nil
		}
		_, err := s.docker("restart", "--time", "0", id)
		return err
	}
}

// perform returns an action of a container that does not need the engine.
func (s *soak) perform(p performer, id string) func() error {
	return func() error {
		command, made := work()
		s.enter(id, made)
		p.Do(command)
		return nil
	}
}

// performer starts a performer.
func (s *soak) performer(kind string, options ...string) (performer, string) {
	p := newPerformer(s.t)
	id, err := s.create(kind, append(options, p.Volume()), perform...)
	if err == nil {
		_, err = s.docker("start", id)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return p, id
}

// restartEngine restarts the engine while containers continue. One container ends in between.
func (s *soak) restartEngine() {
	s.serving.Lock()
	defer s.serving.Unlock()
	p, id := s.performer("leaver", "--rm")
	command, made := work()
	s.enter(id, made)
	s.engine.Stop()
	p.Do(command)
	if err := os.WriteFile(p.Orders(), []byte("exit\n"), 0); err != nil {
		s.t.Fatal(err)
	}
	s.engine.Start()
}

// startSoak starts the engine of a soak.
func startSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{ledger: ledger{accounts: make(map[string]*account)}, t: t, engine: startDaemonWith(t, "--live-restore"), over: make(chan struct{})}
	s.engine.Docker("tag", "bb", otherImage)
	return s
}

func (s *soak) begin() {
	for range 2 {
		s.act(s.withEngine(s.comeAndGo))
		p, id := s.performer("steady")
		s.act(s.perform(p, id))
	}
	s.act(s.withEngine(s.startAgain))
	s.act(s.withEngine(s.crash))
	id, err := s.create("entered", nil, "sleep", "1000000")
	if err == nil {
		_, err = s.docker("start", id)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.act(s.withEngine(s.executeIn(id)))
}

// kept has the fields of a container in a report of a database that the tests read.
type kept struct {
	ID, Name, Image, EngineError string
	Lost                         uint64
	Incomplete, Cautions         []string
	Implicit, Unwatched          []string
	Uses                         []struct {
		Capability, Class, Call string
		Count                   uint64
	}
}

func (k kept) Counts() counts {
	made := make(counts)
	for _, use := range k.Uses {
		for _, one := range checkCommands {
			if use.Class != "setup" && use.Class != "other-credential" && use.Capability == one.capability && strings.HasPrefix(use.Call, one.call) {
				made[one.capability] += use.Count
			}
		}
	}
	return made
}

// keptIn returns the containers in a database, by their IDs.
func keptIn(t *testing.T, database string) map[string]kept {
	t.Helper()
	var report struct{ Containers []kept }
	out := mustExecute(t, binary, "report", "--db", database, "-o", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]kept)
	for _, c := range report.Containers {
		if other, twice := all[c.ID]; twice && c.Name == other.Name { // containers of other tests may be renamed in between
			t.Errorf("%s is twice in the report: %+v and %+v", c.ID, other, c)
		}
		all[c.ID] = c
	}
	return all
}

// verify compares the contents of a database with what the containers did.
func (s *soak) verify(database string) {
	s.t.Helper()
	all := keptIn(s.t, database)
	for id, account := range s.accounts {
		got, ok := all[id]
		switch {
		case !ok:
			s.t.Errorf("%s (%s) is missing", account.name, id)
		case fmt.Sprint(got.Counts()) != fmt.Sprint(account.made):
			s.t.Errorf("%s (%s): recorded %v, but it made %v", account.name, id, got.Counts(), account.made)
		case got.Lost > 0 || len(got.Incomplete) > 0:
			s.t.Errorf("%s (%s): %d lost, %q", account.name, id, got.Lost, got.Incomplete)
		case got.Name != account.name || got.Image != account.image:
			s.t.Errorf("%s (%s) of %s has the name %q and the image %q: %s", account.name, id, account.image, got.Name, got.Image, got.EngineError)
		}
	}
	mustExecute(s.t, binary, "db", "check", "--db", database)
}

// StartAndKill starts serve and kills it during its start or soon afterwards.
func (s *server) StartAndKill() {
	s.t.Helper()
	cmd := exec.Command(s.Command[0], s.Command[1:]...)
	cmd.Env = s.Environment()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(rand.N(2 * time.Second))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// smallDisk mounts a separate file system of this size.
func smallDisk(t *testing.T, size string) (directory string) {
	t.Helper()
	directory = t.TempDir()
	mustExecute(t, "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", directory)
	t.Cleanup(func() { mustExecute(t, "umount", "-l", directory) })
	return directory
}

// fill uses up the space of a disk until its file "filler" is removed.
func fill(t *testing.T, disk string) {
	t.Helper()
	mustExecute(t, "sh", "-c", "cat /dev/zero >"+disk+"/filler 2>/dev/null; true")
}

// Whatever happens to capmon, the engine and the disk, the database finally has exactly what the containers did.
func TestServeSoak(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "1g") // a run takes about 13 KiB
	s := startSoak(t)
	server := serveAt(t, s.engine.Host, "--db", filepath.Join(disk, "capmon.db"), "--save-every", soakSaves)
	server.Database = filepath.Join(disk, "capmon.db")
	s.begin()

	kills := 0
	_, every := pace()
	end := time.Now().Add(*soakFor)
	troubles := []struct {
		at time.Time
		do func()
	}{
		{end.Add(-*soakFor * 3 / 4), s.restartEngine},
		{end.Add(-*soakFor / 2), func() { fill(t, disk) }},
		{end.Add(-*soakFor * 3 / 8), func() { mustExecute(t, "rm", disk+"/filler") }},
		{end.Add(-*soakFor / 4), s.restartEngine},
	}
	for next := time.Now().Add(every); time.Now().Before(end) || len(troubles) > 0; time.Sleep(10 * time.Millisecond) {
		if len(troubles) > 0 && time.Now().After(troubles[0].at) {
			troubles[0].do()
			troubles = troubles[1:]
		}
		if time.Now().After(next) {
			server.Kill()
			if kills++; kills%3 == 0 {
				server.StartAndKill()
			}
			server.Start()
			next = time.Now().Add(every)
		}
	}
	close(s.over)
	s.actors.Wait()
	t.Logf("%d containers, %d kills, %+v", len(s.accounts), kills, server.State())
	server.Saved()
	if state := server.State(); state.Losses.Any() {
		t.Errorf("losses: %+v", state.Losses)
	}
	s.verify(server.Database)
}

// Containers are removed while capmon does not run, and the engine no longer knows them. The database has what they
// did. It has their names if serve knew them before. Otherwise serve reports that they are unknown.
func TestServeIdentifiesRemovedContainersOrReportsThem(t *testing.T) {
	t.Parallel()
	d := startDaemonWith(t)
	s := serveAt(t, d.Host)
	p := newPerformer(t)
	early := strings.TrimSpace(d.Docker(slices.Concat([]string{"run", "-d", "--rm", "--name=known-before", "--cap-add=SYS_NICE", p.Volume(), "bb"}, perform)...))
	s.await("known-before")
	p.Do("probe set-mempolicy; probe repeat 2 setuid0")
	s.Saved()
	before := keptIn(t, s.Database)[early]
	s.Kill()
	p.Do("probe repeat 3 setuid0")
	if err := os.WriteFile(p.Orders(), []byte("exit\n"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is removed", func() bool { return execute(t, "docker", "-H", d.Host, "inspect", early).code != 0 })
	id := strings.TrimSpace(d.Docker("create", "--rm", "--name=never-known", own, "bb", "probe", "repeat", "3", "rawsock"))
	d.Docker("start", "--attach", id)
	eventually(t, "it is removed", func() bool { return execute(t, "docker", "-H", d.Host, "inspect", id).code != 0 })
	d.Stop()
	d.Start()
	s.Start()
	s.Saved()
	all := keptIn(t, s.Database)
	known := all[early]
	if known.Counts()["SETUID"] != 5 || known.Name != "known-before" || known.Image != before.Image || known.EngineError != "" {
		t.Errorf("record of the container that was known before: %+v", known)
	}
	same(t, "implicit", known.Implicit, before.Implicit)
	same(t, "implicit before", before.Implicit, caps("SYS_NICE"))
	same(t, "not observed all the time", known.Unwatched, caps("SYS_NICE"))
	got, ok := all[id]
	if !ok || got.Counts()["NET_RAW"] != 3 || got.Name != "" || got.EngineError == "" || len(got.Cautions) == 0 {
		t.Errorf("its record: %+v", got)
	}
	if unknown := s.Header("/api/v1/flags?image=bb", "X-Capmon-Unknown"); !strings.Contains(unknown, "which needed ") || !strings.Contains(unknown, "NET_RAW") {
		t.Errorf("the header does not list it as unknown: %q", unknown)
	}
	if unknown := s.Header("/api/v1/report", "X-Capmon-Unknown"); unknown != "" {
		t.Errorf("the header lists containers although all are selected: %q", unknown)
	}
}

// The database cannot be written, capmon is killed and the engine no longer knows the containers. serve still knows the
// containers' names and which alerts it has raised.
func TestServeKeepsDataThatItCannotSave(t *testing.T) {
	t.Parallel()
	d := startDaemonWith(t)
	disk := smallDisk(t, "16m")
	s := serveAt(t, d.Host, "--db", filepath.Join(disk, "capmon.db"), "--rules", "builtin")
	s.Database = filepath.Join(disk, "capmon.db")
	s.Saved()
	fill(t, disk)
	s.Until("the disk is full", func(state daemon.State) bool { return state.Trouble != "" })
	id := strings.TrimSpace(d.Docker("create", "--rm", "--name=alerted-unsaved", own, "bb", "probe", "repeat", "3", "rawsock"))
	d.Docker("start", "--attach", id)
	for range 2 {
		now, before := time.Now(), s.State().Failures
		s.Until("all is in the fallback store", func(state daemon.State) bool { return state.ReportedUntil.After(now) && state.Failures > before+1 })
		s.Kill()
		d.Stop()
		d.Start()
		s.Start()
	}
	mustExecute(t, "rm", filepath.Join(disk, "filler"))
	s.Saved()
	if got := keptIn(t, s.Database)[id]; got.Name != "alerted-unsaved" || got.EngineError != "" || got.Counts()["NET_RAW"] != 3 {
		t.Errorf("its record: %+v", got)
	}
	if got := s.rawSocketAlerts("?container=alerted-*"); got["alerted-unsaved"] != 1 {
		t.Errorf("alerts: %v", got)
	}
	if _, err := os.Stat(daemon.FallbackPath(runtimeDirectory, s.Database)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the fallback store still exists: %v", err)
	}
}

// When the engine is reachable again, serve finds out what happened to containers in the meantime.
func TestServeCatchesUpAfterTheEngineWasAway(t *testing.T) {
	t.Parallel()
	d := startDaemonWith(t) // a separate engine, since engines keep only a few events
	cable := newCableTo(t, d.Host)
	s := serveAt(t, cable.host())
	renamed := startPerformer(t, d.Host, "old-name")
	removed := startPerformer(t, d.Host, "removed")
	s.await("old-name")
	s.await(`"removed"`)
	cable.pullOut()
	removed.Do("probe setuid0")
	d.Docker("rm", "-f", "removed")
	d.Docker("rename", "old-name", "new-name")
	renamed.Do("probe repeat 2 setuid0")
	d.Docker("run", "--rm", "--name=short", "bb", "probe", "repeat", "3", "setuid0")
	d.Docker("create", "--name=first-name", "bb", "probe", "repeat", "4", "setuid0")
	d.Docker("start", "--attach", "first-name")
	d.Docker("rename", "first-name", "last-name")
	d.Docker("rm", "last-name")
	made := startPerformer(t, d.Host, "made")
	made.Do("probe repeat 5 setuid0")
	s.Saved() // without what the engine cannot report
	cable.plugIn()
	s.await(`"made"`)
	made.Do("probe repeat 6 setuid0")
	wanted := map[string]uint64{"removed": 1, "new-name": 2, "short": 3, "last-name": 4, "made": 11, "old-name": 0, "first-name": 0}
	eventually(t, "all have their names", func() bool {
		got := setuids(t, s.Database)
		for name, n := range wanted {
			if got[name] != n {
				return false
			}
		}
		return true
	})
	if state := s.State(); state.Losses.Any() || state.Failures > 0 {
		t.Errorf("%+v", state)
	}
}
