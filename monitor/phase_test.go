package monitor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

func inPhase(phase Phase, entry bool) func(Check) bool {
	return func(c Check) bool { return c.Phase == phase && c.Entry == entry }
}

func TestRuntimeSetupIsNotCountedAsWorkload(t *testing.T) {
	m := start(t, Options{})
	c := find(t, m, run(t, "bb", "true"))
	setup := matching(c, inPhase(Setup, false))
	for _, made := range []capability.Capability{capability.SysAdmin, capability.Setuid, capability.Setgid, capability.Setpcap} {
		if !slices.ContainsFunc(setup, func(c Check) bool { return c.Capability == made && c.Answer == Held }) {
			t.Errorf("runtime setup did not use %v", made)
		}
	}
	for _, check := range c.Checks {
		// runc has the name exe (of /proc/self/exe) until it sets its own.
		runtime := strings.HasPrefix(check.Program, "runc") || check.Program == "exe"
		if check.Phase != Setup && check.Phase != Workload || check.Phase == Setup && !runtime {
			t.Errorf("%s made a check in phase %d: %+v", check.Program, check.Phase, check)
		}
		// During the execve of the workload, the process still has the name of the runtime.
		if check.Phase == Workload && runtime && !check.Entry {
			t.Errorf("the runtime made a check in the workload phase: %+v", check)
		}
		if granted := check.Phase == Workload && check.Answer.Granted(); granted {
			t.Errorf("true used %v: %+v", check.Capability, check)
		}
	}
	if c.Processes != 1 || !c.FirstSeen.Before(c.Started) {
		t.Errorf("%d processes, seen %v, started %v", c.Processes, c.FirstSeen, c.Started)
	}
}

// The runtime makes the last execve, but with the container's credentials and for the container's program.
func TestTheLastExecveBelongsToTheWorkload(t *testing.T) {
	wanted := func(c Check) bool {
		return c.Capability == capability.DACOverride && c.Answer == Held && c.Call.Name() == "execve"
	}
	t.Run("run", func(t *testing.T) {
		m := start(t, Options{})
		checkEntry(t, find(t, m, run(t, "bb", "/bin/private-true")), wanted)
	})
	t.Run("exec", func(t *testing.T) {
		id := launch(t, "bb", "sleep", "1000")
		m := start(t, Options{})
		testutil.Docker(t, "exec", id, "/bin/private-true")
		checkEntry(t, find(t, m, id), wanted)
	})
}

func checkEntry(t *testing.T, c ContainerRecord, wanted func(Check) bool) {
	t.Helper()
	entry := matching(c, inPhase(Workload, true))
	if len(matching(ContainerRecord{Checks: entry}, wanted)) == 0 {
		t.Errorf("no check of the last execve in the workload phase among %+v", c.Checks)
	}
	if left := matching(ContainerRecord{Checks: matching(c, inPhase(Setup, true))}, wanted); len(left) > 0 {
		t.Errorf("counted as runtime setup: %+v", left)
	}
}

// Each directory of the path makes checks: more than the programs can defer until the execve succeeds.
func TestALastExecveWithManyChecksLosesNone(t *testing.T) {
	const depth = 20
	shared := t.TempDir()
	directory := shared
	for range depth {
		directory = filepath.Join(directory, "private")
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(directory, "probe")
	testutil.Docker(t, "cp", create(t, "bb")+":/bin/probe", program)
	for closed := directory; closed != shared; closed = filepath.Dir(closed) {
		if err := os.Chown(closed, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}

	m := start(t, Options{})
	inside := "/shared" + strings.TrimPrefix(program, shared)
	c := find(t, m, run(t, "-v", shared+":/shared", "bb", inside, "setuid0"))
	denied := kind{capability: capability.DACReadSearch, answer: NotHeld, call: "execve", site: "link_path_walk", phase: Workload}
	granted := kind{capability: capability.DACOverride, answer: Held, call: "execve", site: "link_path_walk", phase: Workload, deniedFirst: true}
	// The kernel may walk the path twice: first without locks, and then with locks.
	if n := total(granted.of(c)); n < depth || n != total(denied.of(c)) {
		t.Errorf("counted %d granted and %d denied checks of %d directories", n, total(denied.of(c)), depth)
	}
	if left := matching(c, func(check Check) bool {
		return check.Phase == Setup && kindOf(check).site == granted.site && check.Entry
	}); len(left) > 0 {
		t.Errorf("counted as runtime setup: %+v", left)
	}
	lossless(t, snapshot(t, m))
}

func TestWorkloadStaysWorkload(t *testing.T) {
	m := start(t, Options{})
	for name, command := range map[string][]string{
		"after fork":                    {"sh", "-c", "(probe rawsock; true)"},
		"in another file of its own":    {"sh", "-c", "cp /bin/probe /tmp/p; exec /tmp/p rawsock"},
		"in a file without a directory": {"probe", "memfd-exec", "rawsock"},
		"in another thread":             {"probe", "thread-exec", "rawsock"},
		"in mounts of its own":          {"unshare", "-m", "probe", "rawsock"},
		"in another root":               {"chroot", "/", "/bin/probe", "rawsock"},
	} {
		t.Run(name, func(t *testing.T) {
			c := find(t, m, run(t, append([]string{"--cap-add=SYS_ADMIN", "bb"}, command...)...))
			raw := matching(c, func(c Check) bool { return c.Capability == capability.NetRaw })
			if len(raw) != 1 || kindOf(raw[0]) != rawKind || raw[0].Count != 1 {
				t.Errorf("recorded %+v", raw)
			}
		})
	}
}
