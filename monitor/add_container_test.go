package monitor

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"strconv"
	"syscall"
	"testing"
)

// Checks in a cgroup without a container's name count as soon as the container is added. Before that, the programs have
// cached that the cgroup is not a container's.
func TestAddedContainersAreRecorded(t *testing.T) {
	m := start(t, Options{})
	tree := newCgroupTree(t)
	where := path.Join(tree.top, "web")
	tree.make(where)
	tree.check("web")
	process := tree.processIn(where)
	const id = "default/web"
	cgroup, err := m.AddContainer(where, id, process)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := m.AddContainer(where, id, process); err != nil || again != cgroup {
		t.Errorf("added again: %d, %v; wanted %d", again, err, cgroup)
	}
	tree.check("web")
	tree.check("web", randomID()) // it is inside the container
	all := runs(snapshot(t, m), id)
	if len(all) != 1 || all[0].Cgroup != cgroup || total(matching(all[0], setuidZero)) != 2 {
		t.Errorf("recorded %+v, wanted the cgroup %d with 2 checks", all, cgroup)
	}
}

func TestCgroupsOfOthersAreNotAdded(t *testing.T) {
	m := start(t, Options{})
	tree := newCgroupTree(t)
	mine, other, container := path.Join(tree.top, "mine"), path.Join(tree.top, "other"), path.Join(tree.top, randomID())
	for _, cgroup := range []string{mine, other, container, container + "/inside"} {
		tree.make(cgroup)
	}
	tree.check(path.Base(container), "inside")
	for where, process := range map[string]int{
		"/":                   os.Getpid(),
		other:                 tree.processIn(mine),
		mine + "/../other":    tree.processIn(other),
		container + "/inside": tree.processIn(container + "/inside"),
	} {
		if _, err := m.AddContainer(where, "default/web", process); !errors.Is(err, ErrNotInContainer) {
			t.Errorf("%s: %v", where, err)
		}
	}
	if all := runs(snapshot(t, m), "default/web"); len(all) > 0 {
		t.Errorf("recorded %+v", all)
	}
}

// processIn starts a process with another root directory in a cgroup, like the workload of a container. It returns the
// PID.
func (tree cgroupTree) processIn(cgroup string) int {
	tree.t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: "/usr", Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tree.t.Fatal(err)
	}
	tree.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	procs := path.Join(tree.cgroups.Mount, cgroup, "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		tree.t.Fatal(err)
	}
	return cmd.Process.Pid
}
