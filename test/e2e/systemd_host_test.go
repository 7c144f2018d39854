package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine simulates a host with systemd as its first process: the namespaces of a container with all of root's
// capabilities, which Docker 20.10 cannot grant.
type machine struct {
	pid            string // of the machine's systemd
	docker, binary string // paths of the engine's socket and of capmon on the machine
}

// systemdOf starts a machine for a test.
func systemdOf(t *testing.T) machine { return systemdIn(t, "") }

// systemdIn is like systemdOf, but unless the path is empty, the machine has the cgroups with this path, and not the
// container's cgroups.
func systemdIn(t *testing.T, cgroup string) machine {
	t.Helper()
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	const name = "machine"
	if err := os.Chmod(filepath.Dir(binary), 0o755); err != nil {
		t.Fatal(err)
	}
	group := strings.TrimSpace(mustExecute(t, "stat", "-c", "%g", socket))
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	mustExecute(t, "docker", "run", "-d", "--name="+name, "--privileged", "--network=host", "--cgroupns=host", "--tmpfs=/run",
		"--volume=/sys/fs/cgroup:/sys/fs/cgroup", "--volume=/usr:/usr:ro", "--volume=/lib:/lib:ro", "--volume=/lib64:/lib64:ro",
		"--volume="+filepath.Dir(socket)+":/engine", "--volume="+filepath.Dir(binary)+":/built:ro", "bb", "sleep", "1000")
	// systemd mounts the BPF file system with this mode, but not in containers.
	mustExecute(t, "docker", "exec", name, "sh", "-c", "mount -t bpf -o mode=700 bpf /sys/fs/bpf && echo docker:x:"+group+": >>/etc/group && mkdir -p /var/lib /etc/systemd/system")
	outside := strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format={{.State.Pid}}", name))
	m := machine{docker: "/engine/" + filepath.Base(socket), binary: "/built/" + filepath.Base(binary)}
	if err := os.WriteFile("/proc/"+outside+"/root/etc/systemd/system/idle.service", []byte(units["idle.service"]), 0o600); err != nil {
		t.Fatal(err)
	}
	m.pid = boot(t, outside, cgroup)
	eventually(t, "systemd has started all units", func() bool {
		return m.command("systemctl", "is-system-running", "--wait").Run() == nil
	})
	return m
}

// boot starts systemd as the first process of a pid namespace, in a container's cgroups and namespaces, and returns its
// process ID. cgroup replaces the path of the cgroups, unless it is empty. This systemd cannot change the kernel's
// settings, which are the host's.
func boot(t *testing.T, outside, cgroup string) string {
	t.Helper()
	script := fmt.Sprintf(`
		while IFS=: read -r _ name path; do
			path=${1:-$path}
			for mount in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/"${name#name=}"; do
				if [ -n "$1" ] && [ -e "$mount/cgroup.procs" ]; then mkdir -p "$mount$path"; fi
				if [ -n "${path#/}" ] && [ -e "$mount$path/cgroup.procs" ]; then echo $$ >"$mount$path/cgroup.procs"; fi
			done
		done </proc/%[1]s/cgroup
		exec nsenter --target %[1]s --mount --ipc --uts unshare --pid --fork --kill-child --mount-proc --propagation shared \
			sh -c 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"' sh \
			env --ignore-environment container=docker PATH=/usr/bin:/usr/sbin:/bin /usr/lib/systemd/systemd --unit=idle.service`, outside)
	cmd := exec.Command("sh", "-c", script, "sh", cgroup)
	if cgroup != "" {
		t.Cleanup(func() { // after the end of all processes in them
			_ = exec.Command("sh", "-c", `find /sys/fs/cgroup/"$1" /sys/fs/cgroup/*/"$1" -depth -type d -exec rmdir {} +`, "sh", cgroup).Run()
		})
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // this kills all processes in the namespace
		_ = cmd.Wait()
	})
	var pid string
	eventually(t, "systemd was started", func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		pid = strings.TrimSpace(string(children))
		name, nameErr := os.ReadFile("/proc/" + pid + "/comm")
		return err == nil && nameErr == nil && string(name) == "systemd\n"
	})
	return pid
}

// path returns the path on the host of a file of the machine.
func (m machine) path(path string) string {
	return "/proc/" + m.pid + "/root" + path
}

func (m machine) command(words ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", m.pid, "--all"}, words...)...)
}

// run runs a command on the machine, which must succeed, and returns its output.
func (m machine) run(t *testing.T, words ...string) string {
	t.Helper()
	return mustExecute(t, m.command(words...).Args...)
}

// put copies a file to the machine.
func (m machine) put(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, to, string(text), mode)
}

func (m machine) write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	m.run(t, "mkdir", "-p", filepath.Dir(path))
	if err := os.WriteFile(m.path(path), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
