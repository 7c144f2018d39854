package soak

import (
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

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/capmontest"
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

// work returns a command for a container's shell, and the checks that it makes.
func work() (command string, made capmontest.Counts) {
	made = make(capmontest.Counts)
	command = "touch /own/file"
	for _, one := range capmontest.CheckCommands {
		if n := rand.IntN(20); n > 0 {
			command += fmt.Sprintf("; probe repeat %d %s", n, one.Command)
			made[one.Capability] += uint64(n)
		}
	}
	return command, made
}

// account has the name and the image of a container, and its checks.
type account struct {
	name, image string
	made        capmontest.Counts
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
	l.accounts[id] = &account{name: name, image: image, made: make(capmontest.Counts)}
}

func (l *ledger) enter(id string, made capmontest.Counts) {
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
	engine capmontest.Daemon
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
	id, err = s.docker(slices.Concat([]string{"create", "--name", name, "--network=none", capmontest.OwnFileSystem}, options, []string{image}, command)...)
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
func (s *soak) perform(p capmontest.Performer, id string) func() error {
	return func() error {
		command, made := work()
		s.enter(id, made)
		p.Do(command)
		return nil
	}
}

// performer starts a performer.
func (s *soak) performer(kind string, options ...string) (capmontest.Performer, string) {
	p := capmontest.NewPerformer(s.t)
	id, err := s.create(kind, append(options, p.Volume()), capmontest.PerformerCommand...)
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
	s := &soak{ledger: ledger{accounts: make(map[string]*account)}, t: t, engine: capmontest.StartDaemon(t, "--live-restore"), over: make(chan struct{})}
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

// verify compares the contents of a database with what the containers did.
func (s *soak) verify(database string) {
	s.t.Helper()
	all := capmontest.KeptIn(s.t, binary, database)
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
	testutil.MustExecute(s.t, binary, "db", "check", "--db", database)
}

// Whatever happens to capmon, the engine and the disk, the database finally has exactly what the containers did.
func TestServeSoak(t *testing.T) {
	t.Parallel()
	disk := testutil.SmallDisk(t, "1g") // a run takes about 13 KiB
	s := startSoak(t)
	server := capmontest.Serve(t, binary, s.engine.Host, "--db", filepath.Join(disk, "capmon.db"), "--save-every", soakSaves)
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
		{end.Add(-*soakFor / 2), func() { testutil.Fill(t, disk) }},
		{end.Add(-*soakFor * 3 / 8), func() { testutil.MustExecute(t, "rm", disk+"/filler") }},
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
