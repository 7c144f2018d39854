package monitor

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A container belongs to the command if a descendant of the command made it, also one that has got another parent.
func TestContainersOfACommand(t *testing.T) {
	m := start(t, Options{FollowsCommand: true})
	tree := newCgroupTree(t)
	tree.make(path.Join(tree.top, "command"))
	s := tree.shellIn(path.Join(tree.top, "command"))
	s.start()
	inside := func(cgroup string) string { return path.Join(tree.cgroups.Mount, cgroup, "cgroup.procs") }
	container := func() string {
		where := path.Join(tree.top, randomID())
		tree.make(where)
		return where
	}
	earlier, own, moved, others := container(), container(), container(), container()
	s.run(fmt.Sprintf("sh -c 'echo $$ >%s; chroot / true'", inside(earlier)))
	if err := m.FollowCommand(s.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(t.TempDir(), "done")
	// The orphan makes the container own. Its workload moves one of its processes to the cgroup moved.
	s.run(fmt.Sprintf(`(sh -c 'exec 3>%s; echo $$ >%s; chroot /usr /bin/sh -c "(echo 0 >&3; chroot / /bin/true); /bin/true"; touch %s' &)`, inside(moved), inside(own), done))
	s.run("while ! test -e " + done + "; do sleep 0.01; done")
	s.run(fmt.Sprintf("sh -c 'echo $$ >%s; chroot / true'", inside(earlier))) // as podman exec does
	tree.check(path.Base(others))
	recorded := tree.recorded(m, []string{earlier, own, moved, others})
	for cgroup, want := range map[string]bool{earlier: false, own: true, moved: false, others: false} {
		if c, ok := recorded[cgroup]; !ok || c.OfCommand != want {
			t.Errorf("%v: recorded %v, of the command: %v, want %v", []string{earlier, own, moved, others}, ok, c.OfCommand, want)
		}
	}
}

// The arguments of Podman's monitors are reported if the command has started them.
func TestMonitorsOfACommand(t *testing.T) {
	m := start(t, Options{FollowsCommand: true})
	tree := newCgroupTree(t)
	tree.make(path.Join(tree.top, "command"))
	other, s := tree.shellIn(path.Join(tree.top, "command")), tree.shellIn(path.Join(tree.top, "command"))
	for _, shell := range []shell{other, s} {
		shell.start()
	}
	if err := m.FollowCommand(s.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	conmon := filepath.Join(t.TempDir(), "conmon")
	program, err := os.ReadFile("/bin/true")
	if err == nil {
		err = os.WriteFile(conmon, program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	other.run(conmon + " -c other")
	long := strings.Repeat("x", 2000)
	s.run(conmon + " -c first -n ''")
	s.run(conmon + " -c second " + long)
	for _, want := range [][]string{{conmon, "-c", "first", "-n", ""}, {conmon, "-c", "second", long}} {
		got := nextStarted(t, m)
		last := len(want) - 1
		if got.UID != 0 || len(got.Arguments) != len(want) || !slices.Equal(got.Arguments[:last], want[:last]) || !strings.HasPrefix(want[last], got.Arguments[last]) {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}

func nextStarted(t *testing.T, m *Monitor) *StartedMonitor {
	t.Helper()
	for {
		event, err := m.Next()
		if err != nil {
			t.Fatal(err)
		}
		if event.Started != nil {
			return event.Started
		}
	}
}
