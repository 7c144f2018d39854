package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestVerifyRejectsRunsThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	// Even on a slow machine, the time suffices to create and start a container.
	for reason, args := range map[string][]string{
		"creating the container: No such image: no-such-image":                                                   {"--", "docker", "run", "--pull=never", "no-such-image"},
		"the container does not start: ":                                                                         {"--", "docker", "run", "bb", "no-such-command"},
		"the container does not start under its own flags: ":                                                     {"--", "docker", "run", "--cap-drop=ALL", "bb", "/bin/private-true"},
		"no end within 10s; if it does not end by itself, check with --test COMMAND that it works":               {"--timeout=10s", "--", "docker", "run", "-d", "bb", "sleep", "1000"},
		"no end within 10s; the test did not end, or the container did not become healthy":                       {"--timeout=10s", "--test=sleep 1000", "--", "docker", "run", "-d", "bb", "sleep", "1000"},
		`the test fails under the container's own flags: test: exit status 3 ("why"); verify tried nothing else`: {"--test=echo why; exit 3", "--", "docker", "run", "bb", "sleep", "1000"},
		"the test fails under the container's own flags: unhealthy":                                              {"--test=true", "--", "docker", "run", "--health-cmd=false", "--health-interval=100ms", "--health-retries=1", "bb", "sleep", "1000"},
	} {
		t.Run(reason, func(t *testing.T) { rejectsProof(t, reason, args...) })
	}
}

func TestVerifyRejectsAFailingWorkload(t *testing.T) {
	t.Parallel()
	const why = `the workload fails under its own flags: exit status 1 ("no luck"): a run that fails proves nothing; if this exit status means success, use --expect-exit 1`
	rejectsProof(t, why, "--", "docker", "run", "--rm", "bb", "sh", "-c", "echo no luck >&2; exit 1")
	rejectsProof(t, "the workload ends with exit status 0 under its own flags, not with 3 as --expect-exit says", "--expect-exit=3", "--", "docker", "run", "--rm", "bb", "true")
	p, r := prove(t, "--expect-exit=3", "--", "docker", "run", "--rm", "bb", "sh", "-c", "chroot / true && exit 3")
	same(t, "the set", p.Set, caps("SYS_CHROOT"))
	if r.code != exitDone || !p.Minimal {
		t.Errorf("exit code %d: %+v", r.code, p)
	}
}

func TestVerifyLeavesTheUsersContainersAlone(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() { mustExecute(t, "docker", "volume", "rm", "verify-data") })
	startSleeper(t, "verify-user", "-p", "127.0.0.1::80", "-v", "verify-data:/data-of-user")
	taken := strings.TrimSpace(mustExecute(t, "docker", "port", "verify-user", "80/tcp"))
	before := mustExecute(t, "docker", "inspect", "verify-user")

	p, _ := prove(t, "--test", `docker port $CONTAINER 80/tcp | grep -qx "127.0.0.1:$PORT_80" && docker exec $CONTAINER chroot / true`,
		"--", "docker", "run", "-d", "--stop-timeout=0", "--name", "verify-user", "-p", taken+":80", "bb", "httpd", "-f", "-p", "80")
	same(t, "the set", p.Set, caps("SYS_CHROOT"))

	const uses = "container verify-user also uses volume verify-data"
	rejectsProof(t, uses, "--", "docker", "run", "-v", "verify-data:/v", "bb", "true")
	rejectsProof(t, uses, "--", "docker", "run", "--mount", "type=volume,src=verify-data,dst=/v", "bb", "true")
	rejectsProof(t, uses, "--", "docker", "run", "--volumes-from", "verify-user", "bb", "true")
	prove(t, "--", "docker", "run", "-v", "verify-data:/v:ro", "bb", "true")
	prove(t, "--shared-volumes", "--", "docker", "run", "-v", "verify-data:/v", "bb", "true")

	dir := t.TempDir()
	startSleeper(t, "verify-below", "-v", filepath.Join(dir, "a/b")+":/b")
	rejectsProof(t, "container verify-below also uses "+dir, "--", "docker", "run", "-v", dir+":/d", "bb", "true")
	prove(t, "--", "docker", "run", "-v", filepath.Join(dir, "a/bc")+":/d", "bb", "true")

	if after := mustExecute(t, "docker", "inspect", "verify-user"); after != before {
		t.Errorf("it has changed:\n%s\n%s", before, after)
	}
}

// fifo returns the path of a new named pipe, for a test command to wait for.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// verification is a capmon verify whose first test command waits.
type verification struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	release        string        // the path of a named pipe
	ended          chan struct{} // closed
}

// startVerify starts a verify of docker run.
func startVerify(t *testing.T, options ...string) *verification {
	t.Helper()
	return startVerifyOf(t, slices.Concat([]string{"docker", "run", "-d", "--stop-timeout=0"}, options, []string{"bb", "sleep", "1000"})...)
}

// startCapmon starts capmon in the background.
func startCapmon(t *testing.T, args ...string) *verification {
	t.Helper()
	v := &verification{t: t, ended: make(chan struct{})}
	v.cmd = exec.Command(binary, args...)
	v.cmd.Stdout, v.cmd.Stderr = &v.stdout, &v.stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = v.cmd.Wait() // the caller inspects its state
		close(v.ended)
	}()
	t.Cleanup(func() { // if the test has failed
		_ = v.cmd.Process.Signal(unix.SIGINT)
		<-v.ended
	})
	return v
}

// startVerifyOf starts a verify of this command, and returns when its container runs.
func startVerifyOf(t *testing.T, command ...string) *verification {
	t.Helper()
	started, once := fifo(t), filepath.Join(t.TempDir(), "once")
	release := fifo(t)
	test := fmt.Sprintf("docker exec $CONTAINER chroot / true || exit 1; [ -e %[1]s ] && exit; >%[1]s; echo >%[2]s; cat %[3]s", once, started, release)
	v := startCapmon(t, append([]string{"verify", "--test", test, "--"}, command...)...)
	v.release = release
	runs := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(started)
		runs <- err
	}()
	select {
	case err := <-runs:
		if err != nil {
			t.Fatal(err)
		}
	case <-v.ended:
		t.Fatalf("it ended before its test: %+v", v.wait())
	}
	return v
}

// goOn lets the test command continue.
func (v *verification) goOn() {
	v.t.Helper()
	if err := os.WriteFile(v.release, nil, 0o600); err != nil {
		v.t.Fatal(err)
	}
}

func (v *verification) wait() result {
	<-v.ended
	return result{v.stdout.String(), v.stderr.String(), v.cmd.ProcessState.ExitCode()}
}

func TestVerifyInterrupted(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		v := startVerify(t, "-v", "verify-interrupted:/v")
		if err := v.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if r := v.wait(); r.code != signalExitCode(unix.SIGINT) || r.stdout != "" || !strings.Contains(r.stderr, "verify has removed its containers") {
			t.Errorf("%s: %+v", signal, r)
		}
		nothingLeft(t)
		if r := execute(t, "docker", "volume", "inspect", "verify-interrupted"); r.code == 0 {
			t.Error("the volume is left")
		}
	}
}

// The interrupts are spread over the whole verify. verify must end well each time, so the test waits for no particular
// event.
func TestVerifyInterruptedAtAnyTime(t *testing.T) {
	t.Parallel()
	for delay := time.Duration(0); delay < 2*time.Second; delay += 150 * time.Millisecond {
		cmd := exec.Command(binary, "verify", "--", "docker", "run", "bb", "su", "user", "-c", "true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		interruptOnce(cmd)
		nothingLeft(t)
	}
}

// verify cannot catch SIGKILL. The next verify removes what a killed one left behind, and nothing that belongs to a
// running one.
func TestNextVerifyCleansUpAfterSIGKILL(t *testing.T) {
	killed, living := startVerify(t, "-v", "verify-killed:/v"), startVerify(t)
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.wait()
	if ids := left(t); len(ids) != 2 {
		t.Fatalf("wanted two running containers: %v", ids)
	}
	r := execute(t, binary, "verify", "--", "docker", "run", "bb", "chroot", "/", "true")
	if r.code != exitDone || !strings.Contains(r.stderr, "removed 1 container that") {
		t.Errorf("%+v", r)
	}
	if ids := left(t); len(ids) != 1 {
		t.Errorf("wanted only the container of the running verify: %v", ids)
	}
	if r := execute(t, "docker", "volume", "inspect", "verify-killed"); r.code == 0 {
		t.Error("the volume is left")
	}
	killed.goOn() // the test command outlives verify
	living.goOn()
	if r := living.wait(); r.code != exitDone || !strings.Contains(r.stdout, "proved minimal") {
		t.Errorf("%+v", r)
	}
	nothingLeft(t)
}

// Two verifies of the same command conflict neither in their names and ports, nor in a volume that both create.
func TestTwoVerifiesOfTheSameCommand(t *testing.T) {
	t.Parallel()
	options := []string{"--name", "verify-same", "-p", "127.0.0.1:18096:80", "-v", "verify-same:/v"}
	one, other := startVerify(t, options...), startVerify(t, options...)
	one.goOn()
	if r := one.wait(); r.code != exitDone || !strings.Contains(r.stdout, "proved minimal") {
		t.Errorf("%+v", r)
	}
	other.goOn()
	if r := other.wait(); r.code != exitDone || !strings.Contains(r.stdout, "proved minimal") {
		t.Errorf("%+v", r)
	}
	nothingLeft(t)
	if volumes := mustExecute(t, "docker", "volume", "ls", "--quiet", "--filter", "name=verify-same"); volumes != "" {
		t.Errorf("volumes are left: %s", volumes)
	}
}

// Another image receives the image's name while verify runs.
func TestVerifyUsesTheSameImageForAllRuns(t *testing.T) {
	t.Parallel()
	mustExecute(t, "docker", "tag", "bb", "verify-tag")
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", "verify-tag") })
	v := startVerifyOf(t, "docker", "run", "--stop-timeout=0", "verify-tag", "sleep", "1000")
	id := strings.TrimSpace(mustExecute(t, "docker", "create", "bb"))
	mustExecute(t, "docker", "commit", "--change", `ENTRYPOINT ["false"]`, id, "verify-tag")
	mustExecute(t, "docker", "rm", id)
	v.goOn()
	if r := v.wait(); r.code != exitDone || !strings.Contains(r.stdout, "verify-tag  verify-tag:latest  4 runs with a second start  proved minimal\n") {
		t.Errorf("%+v", r)
	}
}

// relay is a connection to the engine that the test can cut.
type relay struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
}

func newRelay(t *testing.T) (*relay, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relay.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener}
	engine := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("unix", engine)
			if err != nil {
				_ = conn.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, conn, backend)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(backend, conn); _ = backend.(*net.UnixConn).CloseWrite() }()
			go func() { _, _ = io.Copy(conn, backend); _ = conn.(*net.UnixConn).CloseWrite() }()
		}
	}()
	t.Cleanup(r.cut)
	return r, "unix://" + path
}

func (r *relay) cut() {
	_ = r.listener.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.conns {
		_ = conn.Close()
	}
}

func TestVerifyReportsThatTheEngineIsGone(t *testing.T) {
	relay, host := newRelay(t)
	engine := os.Getenv("DOCKER_HOST")
	t.Setenv("DOCKER_HOST", host)
	v := startVerify(t)
	t.Setenv("DOCKER_HOST", engine)
	relay.cut()
	v.goOn()
	r := v.wait()
	if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, "the Docker engine does not answer: ") || !strings.Contains(r.stderr, "the next capmon verify removes") {
		t.Errorf("%+v", r)
	}
	prove(t, "--", "docker", "run", "bb", "true")
}

func TestVerifyOnATerminal(t *testing.T) {
	t.Parallel()
	cmd, screen := terminal(t, binary, "verify", "--", "docker", "run", "-it", "--rm", "bb", "chroot", "/", "true")
	lines := bufio.NewReader(screen)
	for _, text := range []string{
		"\r\x1b[Ktrial 1 of about 2, ", "s: under its own flags", "\r\x1b[Kcapmon:  1  under its own flags: exit status 0\r\n",
		"\r\x1b[Ktrial 3 of about 4, ", "s: without SYS_CHROOT", "\r\x1b[Kcapmon:  3  without SYS_CHROOT: exit status 1\r\n",
		"\r\x1b[Ktrial 4 of about 4, ", "s: again, with SYS_CHROOT; fails without SYS_CHROOT",
	} {
		awaitText(t, lines, text)
	}
	rest := remaining(lines)
	if err := cmd.Wait(); err != nil || !strings.Contains(rest, "\r\x1b[Khost ") || !strings.Contains(rest, "\nbb  bb:latest") || !strings.Contains(rest, "proved minimal") {
		t.Errorf("%v\n%s", err, rest)
	}
}
