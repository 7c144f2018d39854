package monitor

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"syscall"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

// shell is a process that waits in a cgroup before its first execve, and then before each command.
type shell struct {
	t     *testing.T
	cmd   *exec.Cmd
	input io.WriteCloser
	lines *bufio.Reader
}

func (tree cgroupTree) shellIn(cgroup string) shell {
	tree.t.Helper()
	cmd := exec.Command("sh", "-c", `echo $$ >"$0"/cgroup.procs; echo; read -r _; exec sh -c 'while read -r line; do eval "$line"; echo; done'`, path.Join(tree.cgroups.Mount, cgroup))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		tree.t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		tree.t.Fatal(err)
	}
	tree.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := shell{tree.t, cmd, input, bufio.NewReader(output)}
	s.await()
	return s
}

// start makes the shell make its first execve.
func (s shell) start() {
	s.t.Helper()
	if _, err := io.WriteString(s.input, "\n"); err != nil {
		s.t.Fatal(err)
	}
}

func (s shell) await() {
	s.t.Helper()
	if _, err := s.lines.ReadString('\n'); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command in the shell.
func (s shell) run(command string) {
	s.t.Helper()
	if _, err := io.WriteString(s.input, command+"\n"); err != nil {
		s.t.Fatal(err)
	}
	s.await()
}

func chroots(c ContainerRecord) uint64 {
	return total(matching(c, func(check Check) bool { return check.Capability == capability.SysChroot }))
}

// The data of a command stays in the maps while a process of it runs somewhere, because the process may use
// capabilities later.
func TestCommandsWithoutTheirCgroupAreNotCollected(t *testing.T) {
	m := start(t, Options{NoRuntime: true})
	tree := newCgroupTree(t)
	where := path.Join(tree.top, "command")
	tree.make(where)
	s := tree.shellIn(where)
	const id = "process:test"
	cgroup, err := m.AddCommand(where, id)
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	s.run("chroot / true")
	s.run("echo $$ >" + tree.cgroups.Mount + "/cgroup.procs")
	testutil.Eventually(t, "the cgroup can be removed", func() bool { return os.Remove(path.Join(tree.cgroups.Mount, where)) == nil })
	if err := m.CollectEnded(); err != nil {
		t.Fatal(err)
	}
	s.run("chroot / true")
	if got := find(t, m, id); got.Cgroup != cgroup || got.Ended || got.Existed || !got.Moved || chroots(got) != 2 {
		t.Errorf("recorded %+v, wanted 2 checks of SYS_CHROOT", got)
	}
	if pids := m.Descendants(cgroup); !slices.Equal(pids, []int{s.cmd.Process.Pid}) {
		t.Errorf("the processes %v run, wanted %d", pids, s.cmd.Process.Pid)
	}
	s.input.Close()
	_ = s.cmd.Wait()
	if got := find(t, m, id); !got.Ended || len(m.Descendants(cgroup)) > 0 {
		t.Errorf("it has not ended: %+v", got)
	}
}

// What a process does between Stop and Snapshot is not recorded, even if it has ended by then.
func TestWhatRunsAtStopHasNotEnded(t *testing.T) {
	m := start(t, Options{NoRuntime: true})
	tree := newCgroupTree(t)
	where := path.Join(tree.top, "command")
	tree.make(where)
	s := tree.shellIn(where)
	const id = "process:test"
	if _, err := m.AddCommand(where, id); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.run("chroot / true")
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	s.run("chroot / true")
	s.input.Close()
	_ = s.cmd.Wait()
	if got := find(t, m, id); got.Ended || chroots(got) != 1 {
		t.Errorf("ended: %t, with %d checks; wanted 1 check of a command that was running", got.Ended, chroots(got))
	}
}

// The programs recognize each new cgroup of a unit by its place.
func TestNewCgroupsOfAUnitAreRecorded(t *testing.T) {
	m := start(t, Options{NoRuntime: true})
	tree := newCgroupTree(t)
	where, other := path.Join(tree.top, "web.service"), path.Join(tree.top, "web.service2")
	const id = "unit:web.service"
	for _, cgroup := range []string{where, other} {
		tree.make(cgroup)
	}
	if _, err := m.AddUnit(where, id); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("added a unit without a process: %v", err)
	}
	s := tree.shellIn(other)
	s.start()
	s.run("chroot / true")
	s = tree.shellIn(where)
	s.start()
	s.run("chroot / true")
	if got := find(t, m, id); got.Existed || got.Started.IsZero() || chroots(got) != 1 {
		t.Errorf("recorded %+v, wanted 1 check of SYS_CHROOT", got)
	}
	if _, err := m.AddUnit(where, id); err != nil {
		t.Error(err)
	}
	s.run("chroot / true")
	if got := find(t, m, id); got.Existed || chroots(got) != 2 {
		t.Errorf("recorded %+v, wanted 2 checks of SYS_CHROOT", got)
	}
}

func TestCommandsInContainersAreNotAdded(t *testing.T) {
	m := start(t, Options{NoRuntime: true})
	tree := newCgroupTree(t)
	container := path.Join(tree.top, randomID())
	tree.make(container)
	tree.make(container + "/inside")
	if _, err := m.AddCommand(container+"/inside", "process:test"); !errors.Is(err, ErrNotInContainer) {
		t.Errorf("added a cgroup of a container: %v", err)
	}
}
