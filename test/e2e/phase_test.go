package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
)

// conversation is a container that the test can exchange lines with.
type conversation struct {
	input  io.WriteCloser
	output *bufio.Reader
	name   string
}

// converse starts a container of this name. args are options of docker run and, after bb, the command.
func converse(t *testing.T, name string, args ...string) conversation {
	t.Helper()
	cmd := exec.Command("docker", append([]string{"run", "-i", "--rm", "--name", name}, args...)...)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("docker", "rm", "-f", name).Run()
		_ = cmd.Wait()
	})
	return conversation{input, bufio.NewReader(output), name}
}

// ready waits until the container prints "ready" and the engine reports that it runs, which may be later.
func (c conversation) ready(t *testing.T) {
	t.Helper()
	awaitLine(t, c.output, "ready")
	eventually(t, c.name+" runs", func() bool {
		return strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format", "{{.State.Running}}", c.name)) == "true"
	})
}

// The executed file, or an ancestor, identifies a process that existed before capmon as workload.
func TestProcessesBeforeCapmonAreWorkload(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"of a shell":           "echo ready; read line; probe rawsock",
		"of a memory file":     "probe memfd-exec descend 1 rawsock",
		"with forty ancestors": "probe descend 40 rawsock",
	} {
		t.Run(name, func(t *testing.T) {
			const container = "there-before"
			c := converse(t, container, "bb", "sh", "-c", command+"; echo done; read line")
			c.ready(t)
			observation := watch(t, container)
			if _, err := io.WriteString(c.input, "go\n"); err != nil {
				t.Fatal(err)
			}
			awaitLine(t, c.output, "done")
			workload{required: caps("NET_RAW")}.check(t, only(t, parseReport(t, observation.interrupt()), container))
		})
	}
}

// No process is left in the mount namespace from which the file was executed, and the process has no ancestor that
// identifies it.
func TestHookIdentifiesProcessesThatLeftTheirMounts(t *testing.T) {
	t.Parallel()
	const container = "left-mounts"
	c := converse(t, container, "--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "bb", "probe", "unshare-mounts", "descend", "0", "rawsock")
	c.ready(t)
	observation := watch(t, container)
	if _, err := io.WriteString(c.input, "go\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c.output); err != nil { // until it has ended
		t.Fatal(err)
	}
	got := only(t, parseReport(t, observation.interrupt()), container)
	workload{required: caps("NET_RAW")}.check(t, got)
	if !got.Existed || got.Processes != 1 {
		t.Errorf("existed: %v, %d processes", got.Existed, got.Processes)
	}
}

// A process of a workload stays workload when it moves into another container's cgroup. A hostile process with access
// to the host's cgroups can do that, and so can an engine in a container.
func TestWorkloadStaysWorkloadInAnotherCgroup(t *testing.T) {
	t.Parallel()
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("5e", 32)
	directory := path.Join(cgroups.Mount, id)
	script := fmt.Sprintf("mkdir %[1]s && (sh -c 'echo $PPID' >%[1]s/cgroup.procs; probe rawsock); rmdir %[1]s", directory)
	observation := watch(t, "--container", id[:12])
	mustExecute(t, "docker", "run", "--rm", "--privileged", "--cgroupns=host", "-v", cgroups.Mount+":"+cgroups.Mount, "bb", "sh", "-c", script)
	got := parseReport(t, observation.interrupt())
	if len(got) != 1 || len(got[0].Classes["setup"]) != 0 || len(got[0].Required) == 0 {
		t.Errorf("got %+v, wanted no runtime setup", got)
	}
}

// docker exec --privileged grants additional capabilities.
func TestPrivilegedExecIsNotTheContainersNeed(t *testing.T) {
	t.Parallel()
	startSleeper(t, "more-privileged", "--cap-drop=ALL", "--cap-add=NET_RAW")
	observation := watch(t, "more-privileged")
	mustExecute(t, "docker", "exec", "--privileged", "more-privileged", "sh", "-c", "touch /tmp/f && chown 5 /tmp/f")
	mustExecute(t, "docker", "exec", "more-privileged", "probe", "rawsock")
	w := workload{required: caps("NET_RAW"), classes: map[string][]string{"other-credential": caps("CHOWN")}}
	w.check(t, only(t, parseReport(t, observation.interrupt()), "more-privileged"))
}
