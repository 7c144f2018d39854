package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// await returns once the engine has reported a container of this name to capmon. It requires --log-level=debug.
func (o *observation) await(name string) {
	o.T.Helper()
	eventually(o.T, "the engine has reported "+name, func() bool { return strings.Contains(o.Stderr.String(), name) })
}

// When the daemon ends, its containers end. The daemon restarts some of them.
func TestDaemonAndContainersRestart(t *testing.T) {
	t.Parallel()
	d := capmontest.StartDaemon(t)
	back := capmontest.StartPerformer(t, d.Host, "comes-back", "--init", "--restart=always")
	ends := capmontest.StartPerformer(t, d.Host, "ends", "--init")
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
	d := capmontest.StartDaemon(t, "--live-restore")
	t.Run("restarted", func(t *testing.T) { containersGoOnWithoutDaemon(t, d) })
	t.Run("hanging", func(t *testing.T) { hangingDaemonIsNotAwaited(t, d) })
}

func containersGoOnWithoutDaemon(t *testing.T, d capmontest.Daemon) {
	p := capmontest.StartPerformer(t, d.Host, "goes-on", "--cap-add=SYS_NICE")
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

func hangingDaemonIsNotAwaited(t *testing.T, d capmontest.Daemon) {
	p := capmontest.StartPerformer(t, d.Host, "known-before")
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
	before := capmontest.StartPerformer(t, engine, "before-away")
	cable := newCable(t)
	filtered := watchAt(t, cable.host(), "--log-level=debug", "--container=while-*")
	observation := watchAt(t, cable.host(), "--log-level=debug")
	observation.await("before-away")
	cable.pullOut()
	before.Do("chroot / true")
	capmontest.StartPerformer(t, engine, "while-away", "--cap-drop=ALL", "--cap-add=NET_RAW", "--cap-add=CHOWN").Do("probe rawsock")
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
	p := capmontest.StartPerformer(t, os.Getenv("DOCKER_HOST"), "before-engine")
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
// from then on. The engine is the test's own: if a container of another test had SYS_NICE, capmon would already observe
// these calls.
func TestEngineIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	d := capmontest.StartDaemon(t)
	d.Docker("run", "-d", "--name", "old-name", "bb", "sleep", "100000")
	cable := newCableTo(t, d.Host)
	observation := watchAt(t, cable.host(), "--log-level=debug")
	cable.pullOut()
	p := capmontest.StartPerformer(t, d.Host, "met-later", "--cap-add=SYS_NICE")
	p.Do("chroot / true")
	d.Docker("rename", "old-name", "new-name")
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
