package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// performer is a container that runs the commands it receives, without the engine's help.
type performer struct {
	t         *testing.T
	directory string
}

func newPerformer(t *testing.T) performer {
	t.Helper()
	p := performer{t, t.TempDir()}
	for _, file := range []string{p.Orders(), p.Answers()} {
		if err := errors.Join(unix.Mkfifo(file, 0), os.Chmod(file, 0o666)); err != nil { // for any user
			t.Fatal(err)
		}
	}
	return p
}

// startPerformer starts a performer with the engine at host and removes it when the test ends.
func startPerformer(t *testing.T, host, name string, options ...string) performer {
	t.Helper()
	p := newPerformer(t)
	command := slices.Concat([]string{"docker", "-H", host, "run", "-d", "--name", name, p.Volume()}, options, []string{"bb"}, perform)
	mustExecute(t, command...)
	t.Cleanup(func() { _ = exec.Command("docker", "-H", host, "rm", "-f", name).Run() })
	return p
}

// perform is the program of a performer, in one line. A process that opens a named pipe may retry the open, as Go does
// after a signal. In between, there is nothing to read, or no reader.
var perform = []string{"sh", "-c", `trap "" PIPE; while [ -p /shared/orders ]; do read -r order </shared/orders || continue; ` +
	`eval "$order"; until echo done >/shared/answers; do [ -p /shared/answers ] || exit; done; done`}

func (p performer) Volume() string  { return "--volume=" + p.directory + ":/shared" }
func (p performer) Orders() string  { return filepath.Join(p.directory, "orders") }
func (p performer) Answers() string { return filepath.Join(p.directory, "answers") }

// Do returns when the container has run the command.
func (p performer) Do(order string) {
	p.t.Helper()
	if err := os.WriteFile(p.Orders(), []byte(order+"\n"), 0); err != nil {
		p.t.Fatal(err)
	}
	if _, err := os.ReadFile(p.Answers()); err != nil {
		p.t.Fatal(err)
	}
}

// await returns once the engine has reported a container of this name to capmon. It requires --log-level=debug.
func (o *observation) await(name string) {
	o.t.Helper()
	eventually(o.t, "the engine has reported "+name, func() bool { return strings.Contains(o.Stderr.String(), name) })
}

// dockerDaemon is a Docker daemon that only one test uses.
type dockerDaemon struct {
	t               *testing.T
	Directory, Host string
	command         string
}

// startDaemonWith starts a daemon with these options and the image bb.
func startDaemonWith(t *testing.T, options ...string) dockerDaemon {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "capmon.") // paths of unix sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	command := filepath.Join(t.TempDir(), "dockerd")
	script := "#!/bin/sh\nexec dockerd " + strings.Join(options, " ") + ` "$@"` + "\n"
	if err := os.WriteFile(command, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	const dockerd = "../../scripts/dockerd.sh"
	t.Cleanup(func() { mustExecute(t, dockerd, "stop", "--purge", directory) })
	d := dockerDaemon{t, directory, strings.TrimSpace(mustExecute(t, "env", "CAPMON_DOCKERD="+command, dockerd, "start", directory)), command}
	mustExecute(t, "sh", "-c", "docker save bb | docker -H "+d.Host+" load")
	return d
}

func (d dockerDaemon) Docker(args ...string) string {
	d.t.Helper()
	return mustExecute(d.t, append([]string{"docker", "-H", d.Host}, args...)...)
}

func (d dockerDaemon) Signal(signal unix.Signal) (pid int) {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.Directory, "exec/docker.pid"))
	if err == nil {
		pid, err = strconv.Atoi(string(text))
	}
	if err == nil {
		err = unix.Kill(pid, signal)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return pid
}

// Stop ends only the daemon, as its service manager does, and waits for its end.
func (d dockerDaemon) Stop() {
	d.t.Helper()
	pid := d.Signal(unix.SIGTERM)
	eventually(d.t, "the daemon has ended", func() bool { return unix.Kill(pid, 0) != nil })
}

// Start starts the daemon again.
func (d dockerDaemon) Start() {
	d.t.Helper()
	cmd := exec.Command(d.command, "--config-file", filepath.Join(d.Directory, "daemon.json"))
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // the script that stops the daemon waits for its end
	eventually(d.t, "the daemon answers", func() bool {
		return execute(d.t, "docker", "-H", d.Host, "version").code == 0
	})
}

// When the daemon ends, its containers end. The daemon restarts some of them.
func TestDaemonAndContainersRestart(t *testing.T) {
	t.Parallel()
	d := startDaemonWith(t)
	back := startPerformer(t, d.Host, "comes-back", "--init", "--restart=always")
	ends := startPerformer(t, d.Host, "ends", "--init")
	observation := watchAt(t, d.Host, "--log-level=debug")
	observation.await("comes-back")
	back.Do("chroot / true")
	ends.Do("chroot / true")
	d.Stop()
	d.Start()
	back.Do("probe rawsock")
	d.Docker("rename", "comes-back", "came-back")
	d.Docker("run", "--rm", "--name=afterwards", "bb", "chroot", "/", "true")

	got := parseReport(t, observation.interrupt())
	again := only(t, got, "came-back")
	workload{required: caps("NET_RAW", "SYS_CHROOT")}.check(t, again)
	if again.Runs != 2 || !again.Running {
		t.Errorf("%d runs were seen, running: %v", again.Runs, again.Running)
	}
	ended := only(t, got, "ends")
	workload{required: caps("SYS_CHROOT")}.check(t, ended)
	if ended.Running {
		t.Error("it has ended, but the report says that it runs")
	}
	workload{required: caps("SYS_CHROOT")}.check(t, only(t, got, "afterwards"))
}

func TestLiveRestore(t *testing.T) {
	t.Parallel()
	d := startDaemonWith(t, "--live-restore")
	t.Run("restarted", func(t *testing.T) { containersGoOnWithoutDaemon(t, d) })
	t.Run("hanging", func(t *testing.T) { hangingDaemonIsNotAwaited(t, d) })
}

func containersGoOnWithoutDaemon(t *testing.T, d dockerDaemon) {
	p := startPerformer(t, d.Host, "goes-on", "--cap-add=SYS_NICE")
	observation := watchAt(t, d.Host, "--log-level=debug")
	observation.await("goes-on")
	p.Do("chroot / true")
	d.Stop()
	p.Do("probe rawsock; probe set-mempolicy")
	d.Start()
	p.Do("touch /tmp/f; chown 5 /tmp/f")
	d.Docker("rename", "goes-on", "went-on")

	got := only(t, parseReport(t, observation.interrupt()), "went-on")
	workload{required: caps("CHOWN", "NET_RAW", "SYS_CHROOT"), implicit: caps("SYS_NICE")}.check(t, got)
	if got.Runs != 1 || !got.Running {
		t.Errorf("%d runs were seen, running: %v", got.Runs, got.Running)
	}
}

func hangingDaemonIsNotAwaited(t *testing.T, d dockerDaemon) {
	p := startPerformer(t, d.Host, "known-before")
	observation := watchAt(t, d.Host, "known-before", "--log-level=debug")
	observation.await("known-before")
	d.Signal(unix.SIGSTOP)
	p.Do("chroot / true")
	r := observation.interrupt()
	d.Signal(unix.SIGCONT)
	workload{required: caps("SYS_CHROOT")}.check(t, only(t, parseReport(t, r), "known-before"))
	if !strings.Contains(r.stderr, "the engine does not answer") {
		t.Errorf("stderr does not report that the engine is away: %s", r.stderr)
	}
}

// cable is a unix socket that forwards to the engine's socket and can be disconnected.
type cable struct {
	t        *testing.T
	path     string
	engine   string // the engine's DOCKER_HOST
	listener net.Listener

	mu    sync.Mutex
	conns []net.Conn
}

func newCable(t *testing.T) *cable {
	t.Helper()
	return newCableTo(t, os.Getenv("DOCKER_HOST"))
}

func newCableTo(t *testing.T, engine string) *cable {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "capmon.")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	c := &cable{t: t, engine: engine, path: filepath.Join(directory, "docker.sock")}
	c.plugIn()
	t.Cleanup(c.pullOut)
	return c
}

func (c *cable) host() string { return "unix://" + c.path }

func (c *cable) plugIn() {
	c.t.Helper()
	var err error
	if c.listener, err = net.Listen("unix", c.path); err != nil {
		c.t.Fatal(err)
	}
	go func(listener net.Listener) {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			engine, err := net.Dial("unix", strings.TrimPrefix(c.engine, "unix://"))
			if err != nil {
				_ = conn.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, conn, engine)
			c.mu.Unlock()
			go func() { _, _ = io.Copy(conn, engine) }()
			go func() { _, _ = io.Copy(engine, conn) }()
		}
	}(c.listener)
}

// pullOut removes the socket and closes its connections.
func (c *cable) pullOut() {
	_ = c.listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// capmon records containers that start while it cannot reach the engine, and reports what it does not know about them.
func TestEngineStaysAway(t *testing.T) {
	t.Parallel()
	engine := os.Getenv("DOCKER_HOST")
	before := startPerformer(t, engine, "before-away")
	cable := newCable(t)
	filtered := watchAt(t, cable.host(), "--log-level=debug", "--container=while-*")
	observation := watchAt(t, cable.host(), "--log-level=debug")
	observation.await("before-away")
	cable.pullOut()
	before.Do("chroot / true")
	startPerformer(t, engine, "while-away", "--cap-drop=ALL", "--cap-add=NET_RAW", "--cap-add=CHOWN").Do("probe rawsock")
	id := strings.TrimSpace(mustExecute(t, "docker", "inspect", "-f", "{{.Id}}", "while-away"))

	r := observation.interrupt()
	got := parseReport(t, r)
	known := only(t, got, "before-away")
	workload{required: caps("SYS_CHROOT")}.check(t, known)
	if known.EngineError != "" {
		t.Errorf("the engine reported it before: %s", known.EngineError)
	}
	i := slices.IndexFunc(got, func(c seen) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("it is not in the report: %+v", got)
	}
	unknown := got[i]
	same(t, "required", unknown.Required, caps("NET_RAW"))
	same(t, "granted", unknown.Granted, caps("CHOWN", "NET_RAW"))
	if unknown.Name != "" || !strings.Contains(unknown.EngineError, cable.path) ||
		!strings.Contains(strings.Join(unknown.Cautions, "\n"), unknown.EngineError) {
		t.Errorf("the report does not say why the rest is unknown: %+v", unknown)
	}
	if log := filtered.interrupt().stderr; !strings.Contains(log, "does not know whether they are selected: ") || !leftOut(log, id[:12]) {
		t.Errorf("the log does not say that it was left out: %s", log)
	}
}

// capmon can start before the engine.
func TestEngineStartsLater(t *testing.T) {
	t.Parallel()
	p := startPerformer(t, os.Getenv("DOCKER_HOST"), "before-engine")
	cable := newCable(t)
	cable.pullOut()
	observation := watchAt(t, cable.host(), "--log-level=debug", "--container=before-engine")
	p.Do("chroot / true")
	cable.plugIn()
	observation.await(`"name": "before-engine"`)
	got := only(t, parseReport(t, observation.interrupt()), "before-engine")
	workload{required: caps("SYS_CHROOT")}.check(t, got)
	if got.EngineError != "" {
		t.Errorf("the engine has reported it: %s", got.EngineError)
	}
}

// When the engine is back, capmon inspects the containers that started in the meantime, and observes their system calls
// from then on.
func TestEngineIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	engine := os.Getenv("DOCKER_HOST")
	startSleeper(t, "old-name")
	cable := newCable(t)
	observation := watchAt(t, cable.host(), "--log-level=debug")
	cable.pullOut()
	p := startPerformer(t, engine, "met-later", "--cap-add=SYS_NICE")
	p.Do("chroot / true")
	mustExecute(t, "docker", "rename", "old-name", "new-name")
	t.Cleanup(func() { mustExecute(t, "docker", "rename", "new-name", "old-name") }) // the name for its removal
	cable.plugIn()
	observation.await("met-later")
	observation.await("new-name")
	p.Do("probe set-mempolicy")

	got := parseReport(t, observation.interrupt())
	only(t, got, "new-name")
	late := only(t, got, "met-later")
	same(t, "required", late.Required, caps("SYS_CHROOT"))
	same(t, "implicit", late.Implicit, caps("SYS_NICE"))
	same(t, "not watched from the start", late.Unwatched, caps("SYS_NICE"))
	if late.EngineError != "" {
		t.Errorf("the engine has reported it: %s", late.EngineError)
	}
}
