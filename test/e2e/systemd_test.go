package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// units are systemd's units: idle.service writes to a pipe when it has started, probe.service runs the mixed workload,
// and once.service also runs it and then ends the container.
var units = map[string]string{
	"idle.service":  "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo >/etc/systemd/system/started'\n",
	"probe.service": fmt.Sprintf("[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sh -c '%s'\n", mixed.command[2]),
	"once.service": fmt.Sprintf("[Unit]\nDefaultDependencies=no\nSuccessAction=exit-force\nFailureAction=exit-force\n[Service]\nType=oneshot\nExecStart=/bin/sh -c '%s'\n",
		mixed.command[2]),
}

// systemd returns a workload with systemd as the first process of a container, which starts one of the units that this
// function writes to the directory. The mode of /sys/fs/cgroup depends on the version of runc, so the workload sets the
// mode.
func systemd(t *testing.T, directory, unit string) workload {
	t.Helper()
	for name, text := range units {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(directory, "started"), 0o600); err != nil {
		t.Fatal(err)
	}
	return workload{
		// Not ALL: its meaning depends on the engine's version and on the host. Docker 23 and later also refuse to drop
		// a capability that the host does not have.
		grants: []string{"--cap-add=DAC_READ_SEARCH", "--cap-add=IPC_LOCK", "--cap-add=NET_ADMIN", "--cap-add=SYS_ADMIN", "--cap-add=SYS_BOOT"},
		options: []string{
			"--cgroupns=private", "--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined", "--tmpfs=/run", "--env=container=docker",
			"--env=PATH=/usr/bin:/usr/sbin:/bin", "--volume=/usr:/usr:ro", "--volume=/lib:/lib:ro", "--volume=/lib64:/lib64:ro",
			"--volume=" + directory + ":/etc/systemd/system",
		},
		command: sh(`for cgroups in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,rw,bind $cgroups; done
			chmod 555 /sys/fs/cgroup
			exec /usr/lib/systemd/systemd --unit=` + unit),
	}
}

// systemd creates cgroups for itself and its services in all hierarchies. These cgroups belong to the container.
func TestSystemdInAContainer(t *testing.T) {
	t.Parallel()
	w := systemd(t, t.TempDir(), "once.service")
	w.required = caps("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "IPC_LOCK", "MKNOD", "NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_BOOT")
	w.unsure = caps("AUDIT_WRITE")
	w.denied = caps("BPF", "PERFMON", "SYS_RESOURCE")
	w.tolerated = caps("BPF", "PERFMON")
	r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("systemd", w.grants...))...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	got := parseReport(t, r)
	if len(got) != 1 {
		t.Errorf("got %d containers, wanted 1", len(got))
	}
	w.check(t, only(t, got, "systemd"))
	mustExecute(t, w.dockerRun("systemd", only(t, got, "systemd").Flags...)...)
}

// The container of the service already ran before the recording.
func TestServiceOfSystemdInAContainer(t *testing.T) {
	t.Parallel()
	const name = "runs-systemd"
	directory := t.TempDir()
	w := systemd(t, directory, "idle.service")
	mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name", name}, w.grants, w.options, []string{"bb"}, w.command)...)
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
	if _, err := os.ReadFile(filepath.Join(directory, "started")); err != nil {
		t.Fatal(err)
	}
	awaitIdle := func() { mustExecute(t, "docker", "exec", name, "systemctl", "is-system-running", "--wait") }
	awaitIdle()
	observation := watch(t, name)
	mustExecute(t, "docker", "exec", name, "systemctl", "start", "probe.service")
	awaitIdle() // systemctl start returned before systemd's last message about the service
	got := parseReport(t, observation.interrupt())
	if len(got) != 1 {
		t.Errorf("got %d containers, wanted 1", len(got))
	}
	w.required = caps("AUDIT_WRITE", "CHOWN", "DAC_READ_SEARCH", "NET_ADMIN", "NET_RAW", "SYS_ADMIN")
	w.unsure = caps("AUDIT_WRITE", "NET_ADMIN") // NET_ADMIN only for larger buffers
	w.denied = caps("SYS_RESOURCE")
	w.check(t, only(t, got, name))
}
