package untrustedfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// A layer hides files of the layers below. The engine removes the upper layer with its container.
func TestFilesOfEndedContainers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	testutil.NeedRoot(t)
	testutil.NeedDocker(t)
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
	p := Path{EngineProc: kernel.ProcDirectory(docker.PID()), Inspected: true, Layers: info.Layers, Mounts: info.Mounts}
	expect := func(files map[string]string) {
		t.Helper()
		for path, want := range files {
			got := "none"
			if node, err := p.nodeAfterExit(path); err == nil {
				got = fmt.Sprintf("owner %d, image %t", node.Owner, node.Image)
			}
			if got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	}
	expect(map[string]string{
		"/bin/private-true": "owner 5, image false", "/bin/busybox": "owner 0, image false",
		"/bin/probe": "none", "/bin/probe/none": "none",
		"/data/new": "owner 0, image false", "/data/secret": "none", "/device": "owner 0, image false", "/": "owner 0, image false",
	})
	withoutAdmin(t, func() {
		expect(map[string]string{
			"/bin/private-true": "owner 5, image false", "/bin/busybox": "owner 0, image true", "/bin/probe": "none",
			"/data/new": "owner 0, image false", "/data/secret": "owner 1000, image true",
		})
	})
	command(t, "docker", "rm", name)
	expect(map[string]string{
		"/bin/private-true": "owner 1000, image true", "/bin/probe": "owner 0, image true", "/data/new": "none",
		"/data/secret": "owner 1000, image true", "/": "owner 0, image true",
	})
}

// withoutAdmin calls do on a thread without CAP_SYS_ADMIN, which ends afterwards.
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

// inodeOf returns the inode number of a file of this machine.
func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

// The kernel reuses the number of a process that has ended, for a process of another container or of none.
func TestOnlyTheContainersOwnProcessesProvideRoots(t *testing.T) {
	testutil.NeedRoot(t)
	testutil.NeedDocker(t)
	const name = "own-root"
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	command(t, "docker", "run", "-d", "--init", "--name", name, "bb", "sleep", "1000")
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
	use := func(id uint64, root, path string) Path {
		return Path{Cgroup: id, Cgroups: cgroups, Base: "/", BaseInode: inodeOf(t, root), Path: path, Follow: true}
	}
	ofContainer, ofHost := use(id, "/proc/"+strconv.Itoa(pid)+"/root", "/data/secret"), use(id, "/", "/etc/passwd")
	if walk, err := ofContainer.inRootOf(pid); err != nil || walk.File == nil || walk.File.Owner != 1000 {
		t.Errorf("a process of the container: %+v, %v", walk, err)
	}
	if walk, err := ofHost.inRootOf(os.Getpid()); err == nil {
		t.Errorf("the host's root was accepted as the container's: %+v", walk)
	}
	ofContainer.Cgroup++
	if walk, err := ofContainer.inRootOf(pid); err == nil {
		t.Errorf("another container's root was accepted as the container's: %+v", walk)
	}
}

func command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
