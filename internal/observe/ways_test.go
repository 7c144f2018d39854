package observe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// A layer hides files of those below, and is gone with its container.
func TestFilesOfEndedContainers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	docker, err := container.NewDocker(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	const name = "ended"
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	command(t, "docker", "run", "--name", name, "bb", "sh", "-c",
		"chown 5 /bin/private-true && rm /bin/probe && rm -r /data && mkdir /data && touch /data/new && mknod /device c 1 3")
	info, err := docker.Inspect(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	o := &Observer{viewer: kernel.Viewer(docker.PID())}
	kept := func(wanted map[string]string) {
		t.Helper()
		for path, want := range wanted {
			got := "none"
			if node, err := o.kept(info, path); err == nil {
				got = fmt.Sprintf("owner %d, image %t", node.Owner, node.Image)
			}
			if got != want {
				t.Errorf("%s: %s, wanted %s", path, got, want)
			}
		}
	}
	kept(map[string]string{
		"/bin/private-true": "owner 5, image false", "/bin/busybox": "owner 0, image false",
		"/bin/probe": "none", "/bin/probe/none": "none",
		"/data/new": "owner 0, image false", "/data/secret": "none", "/device": "owner 0, image false", "/": "owner 0, image false",
	})
	withoutAdmin(t, func() {
		kept(map[string]string{
			"/bin/private-true": "owner 5, image false", "/bin/busybox": "owner 0, image true", "/bin/probe": "none",
			"/data/new": "owner 0, image false", "/data/secret": "owner 1000, image true",
		})
	})
	command(t, "docker", "rm", name)
	kept(map[string]string{
		"/bin/private-true": "owner 1000, image true", "/bin/probe": "owner 0, image true", "/data/new": "none",
		"/data/secret": "owner 1000, image true", "/": "owner 0, image true",
	})
}

// withoutAdmin does something on a thread that has lost CAP_SYS_ADMIN, and ends with it.
func withoutAdmin(t *testing.T, do func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
		if err = errors.Join(err, unix.Capset(&header, &data[0])); err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

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
	id, err := cgroups.ID(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	use := func(root, path string) monitor.FileUse {
		file := monitor.FileID{Inode: inodeOf(t, root)}
		return monitor.FileUse{Naming: monitor.ByPath, Path: path, Base: monitor.FileBase{File: file, Path: "/"}}
	}
	ofContainer, ofHost := use("/proc/"+strconv.Itoa(pid)+"/root", "/data/secret"), use("/", "/etc/passwd")
	if way, err := o.inRootOf(id, pid, ofContainer, true); err != nil || way.File == nil || way.File.Owner != 1000 {
		t.Errorf("a process of the container: %+v, %v", way, err)
	}
	if way, err := o.inRootOf(id, os.Getpid(), ofHost, true); err == nil {
		t.Errorf("the host's root was taken for the container's: %+v", way)
	}
	if way, err := o.inRootOf(id+1, pid, ofContainer, true); err == nil {
		t.Errorf("another container's root was taken for the container's: %+v", way)
	}
}
