package monitor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/testlock"
	"github.com/capmon/capmon/internal/testutil/testpins"
)

// The tests record what containers of a real Docker daemon do on the real kernel. Other containers may run at the same
// time: a test inspects only its own. make test provides everything that the tests need.
func TestMain(m *testing.M) {
	if what := os.Getenv(helperVariable); what != "" {
		os.Exit(runHelper(what))
	}
	os.Exit(testutil.RunOrSkip(m, checkRequirements(), needNothing...))
}

// needNothing has the tests that need neither root nor Docker.
var needNothing = []string{
	"TestCallsOf32BitProgramsNameTheSameFiles",
	"TestCallsThatNameFilesExist",
	"TestClone3HasTheSelectorOfClone",
	"TestExecutionPath",
	"TestFlagsThatPreventFollowingLinks",
	"TestNoHookErrorWrapsEveryCause",
	"TestParseHook",
	"FuzzSocketInode",
}

// checkRequirements returns an error unless the tests have what they need.
func checkRequirements() error {
	if err := errors.Join(testutil.Root(), testutil.DockerWithImage()); err != nil {
		return err
	}
	return errors.Join(testpins.RemoveStale(), testlock.NoLosses())
}

// helperVariable is the environment variable that makes the test binary run a helper process.
const helperVariable = "CAPMON_TEST_PROCESS"

func runHelper(what string) int {
	var err error
	switch what {
	case "check-in-cgroup":
		err = checkInCgroup(os.Args[1])
	case "check-in-cgroups":
		err = checkInCgroups(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	case "check-in-short-cgroups":
		err = checkInShortCgroups(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	case "collect-in-namespace":
		err = collectInNamespace()
	case "start":
		err = startWithoutRights()
	case "record-pinned":
		err = recordPinned(os.Args[1])
	case "save-pinned":
		err = savePinned(os.Args[1], os.Args[2])
	case "save-ended":
		err = saveEndedAndDie(os.Args[1], os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("no such process: %s", what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// helper returns a command that runs a helper process with the test binary.
func helper(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	// The race detector would wait a second at exit for other threads.
	cmd.Env = append(os.Environ(), helperVariable+"="+what, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts a monitor. It is closed at the end of the test.
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

// runs returns the runs of a container, in the order in which they were first seen.
func runs(s Snapshot, id string) []ContainerRecord {
	return slices.DeleteFunc(slices.Clone(s.Containers), func(c ContainerRecord) bool { return c.ID != id })
}

// find returns the only run of a container, and fails the test if there is none or more than one.
func find(t *testing.T, m *Monitor, id string) ContainerRecord {
	t.Helper()
	found := runs(snapshot(t, m), id)
	if len(found) != 1 {
		t.Fatalf("container %s was seen %d times, wanted once", id, len(found))
	}
	return found[0]
}

// create creates a container and returns its ID. The container is removed at the end of the test. args are options,
// "bb" and a command.
func create(t *testing.T, args ...string) string {
	t.Helper()
	id := testutil.Docker(t, append([]string{"create"}, args...)...)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	return id
}

// run runs a container until it ends successfully, and returns its ID.
func run(t *testing.T, args ...string) string {
	t.Helper()
	id := create(t, args...)
	testutil.Docker(t, "start", "-a", id)
	return id
}

// launch starts a container and returns its ID.
func launch(t *testing.T, args ...string) string {
	t.Helper()
	id := create(t, args...)
	testutil.Docker(t, "start", id)
	return id
}

// within returns a directory and the options of docker run that mount it at /shared, so that a container and its test
// can wait for each other.
func within(t *testing.T) (directory string, options []string) {
	t.Helper()
	directory = t.TempDir()
	if err := os.Chmod(directory, 0o777); err != nil {
		t.Fatal(err)
	}
	return directory, []string{"-v", directory + ":/shared"}
}

// await waits until the container has created a file in the shared directory.
func await(t *testing.T, directory, file string) {
	t.Helper()
	testutil.Eventually(t, "the container made "+file, func() bool {
		_, err := os.Stat(filepath.Join(directory, file))
		return err == nil
	})
}

// matching returns the checks for which holds returns true.
func matching(c ContainerRecord, holds func(Check) bool) []Check {
	return slices.DeleteFunc(slices.Clone(c.Checks), func(check Check) bool { return !holds(check) })
}

func total(checks []Check) (n uint64) {
	for _, check := range checks {
		n += check.Count
	}
	return n
}

// setuidZero reports whether a check is the one that probe setuid0 makes once.
func setuidZero(c Check) bool {
	return c.Capability == capability.Setuid && c.Call.Name() == "setuid" && c.Call.Args[0] == 0
}

// rawChecks returns the counts of a container's checks by their keys in the kernel.
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

// lossless fails the test if anything on the host was lost.
func lossless(t *testing.T, s Snapshot) {
	t.Helper()
	if s.Losses.Any() {
		t.Errorf("something was lost: %+v", s.Losses)
	}
}

// setuidCall makes one check of CAP_SETUID, on this thread only. The syscall package would call setuid on every thread.
func setuidCall() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setuid: %w", errno)
	}
	return nil
}
