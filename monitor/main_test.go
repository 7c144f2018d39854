package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/testlock"
	"github.com/capmon/capmon/internal/testpins"
)

// The tests record on the real kernel what containers of a real Docker daemon do.
// Other containers may run meanwhile: a test looks only at its own. make test sets
// everything up.
func TestMain(m *testing.M) {
	if what := os.Getenv(helperVariable); what != "" {
		os.Exit(runHelper(what))
	}
	if err := checkRequirements(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests need root, a Docker daemon at DOCKER_HOST and the image bb, as make test sets up:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// needed fails unless the tests have what they need.
func checkRequirements() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	if out, err := exec.Command("docker", "image", "inspect", "bb").CombinedOutput(); err != nil {
		return fmt.Errorf("docker image inspect bb: %w\n%s", err, out)
	}
	return errors.Join(testpins.RemoveOfTheDead(), testlock.NoLosses())
}

// asProcess names what the test binary does as a process of a test's own.
const helperVariable = "CAPMON_TEST_PROCESS"

func runHelper(what string) int {
	var err error
	switch what {
	case "check-in-cgroup":
		err = checkInCgroup(os.Args[1])
	case "ask-in-cgroups":
		err = checkInCgroups(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	case "ask-in-passing":
		err = checkInShortCgroups(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	case "harvest-inside":
		err = collectInNamespace()
	case "start":
		err = startWithoutRights()
	case "record-pinned":
		err = recordPinned(os.Args[1])
	case "keep-pinned":
		err = savePinned(os.Args[1], os.Args[2])
	case "hand-over-pinned":
		err = flushPinned(os.Args[1], os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("no such process: %s", what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// helper is the test binary as another process.
func helper(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	// The race detector's second at the exit is for threads that go on.
	cmd.Env = append(os.Environ(), helperVariable+"="+what, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts a monitor that is closed with the test.
func start(t *testing.T, options Options) *Monitor {
	t.Helper()
	m, err := Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("closing the monitor: %v", err)
		}
	})
	return m
}

func snapshot(t *testing.T, m *Monitor) Snapshot {
	t.Helper()
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runs of a container, each restart one, in the order of their first sight.
func runs(s Snapshot, id string) []Container {
	return slices.DeleteFunc(slices.Clone(s.Containers), func(c Container) bool { return c.ID != id })
}

// find is the one run of a container, which has to have been seen.
func find(t *testing.T, m *Monitor, id string) Container {
	t.Helper()
	found := runs(snapshot(t, m), id)
	if len(found) != 1 {
		t.Fatalf("container %s was seen %d times, wanted once", id, len(found))
	}
	return found[0]
}

// docker is the output of a docker command that has to succeed.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// create makes a container that goes with the test, and returns its ID. Its
// arguments are options, then a command after "bb".
func create(t *testing.T, args ...string) string {
	t.Helper()
	id := docker(t, append([]string{"create"}, args...)...)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	return id
}

// run runs a container to its end, which has to be a success, and returns its ID.
func run(t *testing.T, args ...string) string {
	t.Helper()
	id := create(t, args...)
	docker(t, "start", "-a", id)
	return id
}

// launch starts a container and returns its ID.
func launch(t *testing.T, args ...string) string {
	t.Helper()
	id := create(t, args...)
	docker(t, "start", id)
	return id
}

// within returns where the container sees the directory that it returns, as
// options of docker run: how a container and its test wait for each other.
func within(t *testing.T) (directory string, options []string) {
	t.Helper()
	directory = t.TempDir()
	if err := os.Chmod(directory, 0o777); err != nil {
		t.Fatal(err)
	}
	return directory, []string{"-v", directory + ":/shared"}
}

// await waits until the container has made a file of the shared directory.
func await(t *testing.T, directory, file string) {
	t.Helper()
	eventually(t, "the container made "+file, func() bool {
		_, err := os.Stat(filepath.Join(directory, file))
		return err == nil
	})
}

// eventually waits for what happens in other processes or in the kernel.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so after five minutes: %s", what)
		}
	}
}

// matching are the checks for which the predicate holds.
func matching(c Container, holds func(Check) bool) []Check {
	return slices.DeleteFunc(slices.Clone(c.Checks), func(check Check) bool { return !holds(check) })
}

func total(checks []Check) (n uint64) {
	for _, check := range checks {
		n += check.Count
	}
	return n
}

// setuidZero is the check that probe setuid0 makes: asked once, held by root.
func setuidZero(c Check) bool {
	return c.Capability == capability.Setuid && c.Call.Name() == "setuid" && c.Call.Args[0] == 0
}

// rawChecks are the counts of a container's checks as the kernel keeps them.
func rawChecks(t *testing.T, m *Monitor, cgroup uint64) map[bpf.CapmonCheckKey]uint64 {
	t.Helper()
	counted, _, err := m.countChecks(func(id uint64) bool { return id == cgroup })
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[bpf.CapmonCheckKey]uint64)
	for key, value := range counted {
		counts[key] = value.Count
	}
	return counts
}

// lossless fails if anything on the machine was lost.
func lossless(t *testing.T, s Snapshot) {
	t.Helper()
	if s.Losses.Any() {
		t.Errorf("something was lost: %+v", s.Losses)
	}
}

// setuidCall asks for CAP_SETUID once, by this thread alone; the syscall package
// would call it on every thread.
func setuidCall() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setuid: %w", errno)
	}
	return nil
}
