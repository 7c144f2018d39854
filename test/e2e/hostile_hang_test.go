package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// These tests try to make capmon hang or use much memory: see docs/threats.md.

// armed are the options of a container that can serve a file system.
var armed = attackers["armed"]

// hang starts a container whose program lies on a file system that has stopped responding.
func hang(t *testing.T, name, how string) {
	t.Helper()
	mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name", name}, armed, []string{"bb", "attack-fuse", how})...)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	eventually(t, name+"'s file system does not answer", func() bool {
		return strings.Contains(mustExecute(t, "docker", "logs", name), "ready")
	})
}

// hangMany starts more such containers than capmon has helper processes.
func hangMany(t *testing.T) (names []string) {
	t.Helper()
	for i := range 10 {
		names = append(names, fmt.Sprintf("hangs-%d", i))
		hang(t, names[i], []string{"ignore", "swallow"}[i%2])
	}
	return names
}

const doesNotAnswer = "file system did not answer"

// honestly runs a container whose program carries a capability, which capmon has to read.
func honestly(t *testing.T, name string) {
	t.Helper()
	mustExecute(t, "docker", "run", "--name", name, "bb", "sh", "-c", "probe-bind rawsock; sleep 0.1")
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
}

// mustKnow verifies that the report of a container of honestly is complete and correct.
func mustKnow(t *testing.T, got seen) {
	t.Helper()
	if !got.Complete || len(got.Unexamined) > 0 || !slices.Equal(got.Required, caps("NET_RAW")) || !slices.Equal(got.Implicit, caps("NET_BIND_SERVICE")) {
		t.Errorf("%s: complete %v, not examined %v, required %v, implicit %v: %v", got.Name, got.Complete, got.Unexamined, got.Required, got.Implicit, got.Cautions)
	}
}

// Many hanging file systems do not affect other containers: capmon observes, records, saves and names them, and ends
// when it receives a signal.
func TestHangingFileSystemsAffectNoOthers(t *testing.T) {
	t.Parallel()
	s, l, o := serve(t), watchLive(t), watch(t)
	names := hangMany(t)
	const honest = "hangs-not"
	honestly(t, honest)
	if use := l.of(honest); use.Capability.String() != "NET_RAW" {
		t.Errorf("%+v", use)
	}
	s.Saved()
	endsSoon(t, "watch", l.observation)
	r := o.interrupt()
	report := parseReport(t, r)
	recorded := judgedIn(t, s.Database)
	mustKnow(t, only(t, report, honest))
	mustKnow(t, recorded[idOf(t, honest)].seen)
	for _, name := range names {
		for from, got := range map[string]seen{"profile": only(t, report, name), "serve": recorded[idOf(t, name)].seen} {
			if got.Complete || !strings.Contains(strings.Join(got.Cautions, "\n"), doesNotAnswer) || !slices.Contains(got.Required, "NET_RAW") {
				t.Errorf("%s: %s: complete %v, required %v: %v", from, name, got.Complete, got.Required, got.Cautions)
			}
		}
		if !strings.Contains(r.stderr, name) {
			t.Errorf("profile does not name %s:\n%s", name, r.stderr)
		}
	}
	endsSoon(t, "serve", s.observation())

	// The hanging file systems also exist when serve starts.
	s.Start()
	s.Saved()
	endsSoon(t, "serve, second time", s.observation())
}

// A second signal ends capmon, whatever capmon waits for.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	startSleeper(t, "signalled-twice")
	o := watchAt(t, g.host, "signalled-twice")
	g.hold()
	if err := o.Child.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-g.held // capmon waits for the engine, which does not respond
	r := o.end(syscall.SIGTERM)
	if r.code != signalExitCode(unix.SIGTERM) || r.stdout != "" || !strings.Contains(r.stderr, "interrupted") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	g.release()
}

// nestCgroups nests cgroups in a container's cgroup until their path has this many bytes, and moves the container's
// first process into the innermost one.
func nestCgroups(t *testing.T, container string, bytes int) {
	t.Helper()
	cgroups := hierarchy(t)
	pid := strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format={{.State.Pid}}", container))
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	cgroup, err := cgroups.Path(number)
	if err != nil {
		t.Fatal(err)
	}
	top := filepath.Join(cgroups.Mount, cgroup)
	t.Cleanup(func() { // the engine cannot remove them
		_ = exec.Command("docker", "rm", "-f", container).Run()
		eventually(t, "the cgroups can be removed", func() bool {
			_ = exec.Command("find", top, "-depth", "-type", "d", "-delete").Run()
			_, err := os.Stat(top)
			return os.IsNotExist(err)
		})
	})
	at, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY, 0)
	name := strings.Repeat("n", 200)
	for depth := 0; err == nil && depth < bytes/len(name); depth++ {
		var below int
		if err = unix.Mkdirat(at, name, 0o755); err == nil {
			below, err = unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY, 0)
			unix.Close(at)
			at = below
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	procs, err := unix.Openat(at, "cgroup.procs", unix.O_WRONLY, 0)
	if err == nil {
		_, err = unix.Write(procs, []byte(pid))
		unix.Close(procs)
	}
	unix.Close(at)
	if err != nil {
		t.Fatal(err)
	}
	if path, err := cgroups.Path(number); err == nil {
		t.Fatalf("the kernel prints the path, which has %d bytes", len(path))
	}
}

// Cgroups whose paths are longer than the kernel accepts hide nothing. They break nothing, neither while the container
// runs nor after its removal, when they remain.
func TestDeepCgroupsBreakNothing(t *testing.T) {
	t.Parallel()
	const name = "deep"
	mustExecute(t, "docker", "run", "-d", "--name", name, "bb", "sh", "-c", "probe named sniffer hold 2 3 1 1")
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	eventually(t, "the socket is open", func() bool { return strings.Contains(mustExecute(t, "docker", "logs", name), "ready") })
	nestCgroups(t, name, 5000)

	s, o, l := serve(t), watch(t, name), watchLive(t)
	defer func() { _ = o.Child.Kill() }()
	eventually(t, "watch reports the open socket", func() bool {
		return slices.Equal(open(l.uses(), name), []string{" IPv4 1 by sniffer"})
	})
	endsSoon(t, "watch", l.observation)
	mustExecute(t, "docker", "exec", name, "probe", "rawsock")
	got := only(t, parseReport(t, o.interrupt()), name)
	if !slices.Contains(got.Required, "NET_RAW") || !got.Running || got.Unconfirmed != "" {
		t.Errorf("required %v, running %v, unconfirmed %q: %v", got.Required, got.Running, got.Unconfirmed, got.Cautions)
	}
	id := idOf(t, name)
	mustExecute(t, "docker", "rm", "-f", name)
	s.Saved()
	endsSoon(t, "serve", s.observation())
	s.Start()
	s.Saved()
	if state := s.State(); state.Trouble != "" {
		t.Error(state.Trouble)
	}
	if got := judgedIn(t, s.Database)[id]; !slices.Contains(got.Required, "NET_RAW") {
		t.Errorf("required %v: %v", got.Required, got.Cautions)
	}
	endsSoon(t, "serve, second time", s.observation())
}

// helpersOf returns the helper processes of a capmon process.
func helpersOf(t *testing.T, pid int) (helpers []int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, _ := os.ReadFile(file) // a thread may have ended
		for field := range strings.FieldsSeq(string(text)) {
			helper, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			helpers = append(helpers, helper)
		}
	}
	return helpers
}

// Files behind long links use little memory.
func TestLongLinksUseLittleMemory(t *testing.T) {
	t.Parallel()
	const most, mostOfHelper = 128 << 10, 64 << 10 // KiB
	s := serve(t)
	o := watch(t)
	mustExecute(t, "docker", "run", "--name", "long-links", "bb", "sh", "-c", "attack-links 128 && sleep 3")
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", "long-links") })
	s.Saved()
	if got := peakMemory(t, s.Child.Pid); got > most {
		t.Errorf("serve took %d KiB, wanted %d at most", got, most)
	}
	measured := 0
	for _, helper := range helpersOf(t, s.Child.Pid) {
		got, err := readPeakMemory(helper)
		if err != nil {
			continue // it has ended, as idle helpers do
		}
		measured++
		t.Logf("a helper process took %d KiB", got)
		if got > mostOfHelper {
			t.Errorf("a helper process took %d KiB, wanted %d at most", got, mostOfHelper)
		}
	}
	if measured == 0 {
		t.Error("there is no helper process")
	}
	if got := peakMemory(t, o.Child.Pid); got > most {
		t.Errorf("profile took %d KiB, wanted %d at most", got, most)
	}
	got := only(t, parseReport(t, o.interrupt()), "long-links")
	if !slices.Contains(got.Required, "CHOWN") {
		t.Errorf("required %v: %v", got.Required, got.Cautions)
	}
	endsSoon(t, "serve", s.observation())
}
