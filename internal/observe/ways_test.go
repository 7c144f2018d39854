package observe

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// inodeOf is the number of a file of this machine.
func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

// The number of a process that has ended is another's soon, of another container or of
// none.
func TestRootsAreThoseOfTheContainersOwnProcesses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o, err := Start(ctx, Options{Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	run(t, "--name=own-root")
	pid, err := strconv.Atoi(command(t, "docker", "inspect", "--format={{.State.Pid}}", "own-root"))
	if err != nil {
		t.Fatal(err)
	}
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	cgroup, err := cgroups.Path(pid)
	if err != nil {
		t.Fatal(err)
	}
	container, err := cgroups.ID(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	use := func(root, path string) monitor.FileUse {
		file := monitor.FileID{Inode: inodeOf(t, root)}
		return monitor.FileUse{Naming: monitor.ByPath, Path: path, Base: monitor.FileBase{File: file, Path: "/"}}
	}
	ofContainer, ofHost := use("/proc/"+strconv.Itoa(pid)+"/root", "/data/secret"), use("/", "/etc/passwd")
	if way, err := o.inRootOf(container, pid, ofContainer, true); err != nil || way.File == nil || way.File.Owner != 1000 {
		t.Errorf("a process of the container: %+v, %v", way, err)
	}
	if way, err := o.inRootOf(container, os.Getpid(), ofHost, true); err == nil {
		t.Errorf("the host's root was taken for the container's: %+v", way)
	}
	if way, err := o.inRootOf(container+1, pid, ofContainer, true); err == nil {
		t.Errorf("another container's root was taken for the container's: %+v", way)
	}
}
