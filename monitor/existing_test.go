package monitor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

func TestRunningContainersAreRegistered(t *testing.T) {
	for name, test := range map[string]struct {
		options   []string
		command   []string
		bounding  capability.Set
		permitted capability.Set
		uid       uint32
		processes uint32
	}{
		"one process": {
			options: []string{"--cap-drop=ALL", "--cap-add=CHOWN"}, command: []string{"sleep", "1000"},
			bounding: capability.Of(capability.Chown), permitted: capability.Of(capability.Chown), processes: 1,
		},
		"several processes": {
			options: []string{"--cap-drop=ALL"}, command: []string{"sh", "-c", "sleep 1000 & sleep 1000 & touch /shared/ready; wait"},
			processes: 3,
		},
		"a user": {
			options: []string{"--user=1000", "--cap-drop=ALL", "--cap-add=KILL"}, command: []string{"sleep", "1000"},
			bounding: capability.Of(capability.Kill), uid: 1000, processes: 1,
		},
		"with an init": {
			options: []string{"--init", "--cap-drop=ALL"}, command: []string{"sh", "-c", "sleep 1000 & touch /shared/ready; wait"},
			processes: 3,
		},
		"in the host's pid namespace": {
			options: []string{"--pid=host", "--cap-drop=ALL"}, command: []string{"sleep", "1000"}, processes: 1,
		},
		"below another cgroup": {
			options: []string{"--cgroup-parent=/capmon-test/registered", "--cap-drop=ALL"}, command: []string{"sleep", "1000"}, processes: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			shared, options := within(t)
			id := launch(t, append(append(options, test.options...), append([]string{"bb"}, test.command...)...)...)
			if test.processes > 1 {
				await(t, shared, "ready")
			}
			m := start(t, Options{})
			c := find(t, m, id)
			if !c.Existed || c.Ended || c.Started.IsZero() || c.FirstSeen.After(c.Started) {
				t.Errorf("existed %v, ended %v, started %v, seen %v", c.Existed, c.Ended, c.Started, c.FirstSeen)
			}
			if c.Processes != test.processes {
				t.Errorf("saw %d processes, wanted %d", c.Processes, test.processes)
			}
			if c.Bounding != test.bounding || c.Permitted != test.permitted || c.UID != test.uid {
				t.Errorf("bounding %v, permitted %v, user %d", c.Bounding, c.Permitted, c.UID)
			}
		})
	}
}

func TestContainersStartedLaterDidNotExist(t *testing.T) {
	m := start(t, Options{})
	id := launch(t, "--user=1000", "--cap-drop=ALL", "--cap-add=KILL", "bb", "sleep", "1000")
	c := find(t, m, id)
	if c.Existed || c.Ended || c.Started.IsZero() || !c.FirstSeen.Before(c.Started) {
		t.Errorf("existed %v, ended %v, started %v, seen %v", c.Existed, c.Ended, c.Started, c.FirstSeen)
	}
	if c.Bounding != capability.Of(capability.Kill) || c.Permitted != 0 || c.UID != 1000 || c.Processes != 1 {
		t.Errorf("bounding %v, permitted %v, user %d, %d processes", c.Bounding, c.Permitted, c.UID, c.Processes)
	}
}

// capmon counts a process that is started in a running container, but not its runtime setup.
func TestProcessesOfRegisteredContainersAreCounted(t *testing.T) {
	id := launch(t, "bb", "sleep", "1000")
	m := start(t, Options{})
	testutil.Docker(t, "exec", id, "probe", "repeat", "12", "setuid0")
	c := find(t, m, id)
	if c.Processes != 2 {
		t.Errorf("saw %d processes, wanted 2", c.Processes)
	}
	if got := total(setuidKind.of(c)); got != 12 {
		t.Errorf("counted %d checks, wanted 12", got)
	}
	lossless(t, snapshot(t, m))
}

// checkOnDemand is a shell command that reports that it runs, waits for a file, makes three checks and reports that.
const checkOnDemand = "touch /shared/ready; until [ -e /shared/go ]; do sleep 0.01; done; probe repeat 3 setuid0; touch /shared/done; sleep 1000"

func TestUnsharedUserNamespacesAreNotTheContainersOwn(t *testing.T) {
	for name, command := range map[string][]string{
		"a child's":              {"sh", "-c", "unshare -Ur sh -c '" + checkOnDemand + "' & wait"},
		"the first process's":    {"unshare", "-Ur", "sh", "-c", checkOnDemand},
		"with a mount namespace": {"sh", "-c", "unshare -Urm sh -c '" + checkOnDemand + "' & wait"},
		"with a pid namespace":   {"sh", "-c", "unshare -Urpf sh -c '" + checkOnDemand + "' & wait"},
	} {
		t.Run(name, func(t *testing.T) {
			shared, options := within(t)
			id := launch(t, append(append(options, "--security-opt=seccomp=unconfined", "bb"), command...)...)
			await(t, shared, "ready")
			m := start(t, Options{})
			testutil.Docker(t, "exec", id, "probe", "repeat", "5", "setuid0")
			if err := os.WriteFile(filepath.Join(shared, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			await(t, shared, "done")

			c := find(t, m, id)
			for nested, want := range map[bool]uint64{false: 5, true: 3} {
				got := total(matching(c, func(c Check) bool { return setuidKind == kindOf(c) && c.Nested == nested }))
				if got != want {
					t.Errorf("nested %v: counted %d checks, wanted %d", nested, got, want)
				}
			}
		})
	}
}

// Containers that start after registerRunningContainers and before all programs are attached keep what was recorded
// about them.
func TestContainersThatStartDuringStart(t *testing.T) {
	var early string
	m, programs, err := prepare(Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.attached, _, err = attachFirst(Hooks(), programs, func(maps bpf.CapmonMaps) error {
		err := m.registerRunningContainers(maps)
		early = launch(t, "--security-opt=seccomp=unconfined", "bb", "unshare", "-U", "sleep", "1000") // after registerRunningContainers
		pid := testutil.Docker(t, "inspect", "-f", "{{.State.Pid}}", early)
		testutil.Eventually(t, "unshare executed sleep", func() bool { // otherwise the programs count this process
			name, err := os.ReadFile("/proc/" + pid + "/comm")
			return err == nil && string(name) == "sleep\n"
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.attached.close(); err != nil {
			t.Error(err)
		}
	})
	recording := m.clock.Now()
	late := launch(t, "bb", "sleep", "1000")
	for _, id := range []string{early, late} {
		testutil.Docker(t, "exec", id, "chroot", "/", "probe", "repeat", "5", "setuid0")
	}
	before := map[string]ContainerRecord{early: find(t, m, early), late: find(t, m, late)}
	if err := m.registerContainersStartedDuringAttach(recording); err != nil {
		t.Fatal(err)
	}
	for id, before := range before {
		after := find(t, m, id)
		if after.Existed != (id == early) {
			t.Errorf("%s existed: %v", id, after.Existed)
		}
		if !after.Kept.Has(capability.SysChroot) || after.Processes != 2 || !after.FirstSeen.Equal(before.FirstSeen) || !after.Started.Equal(before.Started) {
			t.Errorf("before it was registered:\n%+v\nafterwards:\n%+v", before, after)
		}
		if got := total(setuidKind.of(after)); got != 5 {
			t.Errorf("counted %d checks of its own namespace, wanted 5", got)
		}
	}
}
