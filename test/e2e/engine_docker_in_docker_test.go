package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// An engine runs in a container. Its containers belong to the outer container, and so does the work that prepares them,
// which needs more capabilities than they do.
func TestDockerInDocker(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Abs("../../scripts")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	mustExecute(t, "docker", "save", "--output", filepath.Join(directory, "bb.tar"), "bb")
	inner := "docker load --quiet --input /inner/bb.tar && " + quoted(mixed.dockerRun("inner"))
	if err := os.WriteFile(filepath.Join(directory, "script"), []byte(inner), 0o600); err != nil {
		t.Fatal(err)
	}
	outer := workload{
		// The programs are the host's. The container itself does what --privileged would have done, so that the test
		// can try the list without --privileged.
		options: []string{
			"--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined", "--device-cgroup-rule=a *:* rwm",
			"--env=PATH=/usr/bin:/usr/sbin:/bin", "--volume=/usr:/usr:ro", "--volume=/lib:/lib:ro", "--volume=/lib64:/lib64:ro", "--volume=/bin/bash:/bin/bash:ro",
			"--volume=" + scripts + ":/scripts:ro", "--volume=" + directory + ":/inner:ro", "--tmpfs=/run", "--tmpfs=/docker:exec,mode=755",
		},
		command: sh(`mount -o remount,rw,bind /sys
			for cgroups in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,rw,bind $cgroups; done
			exec /scripts/dockerd.sh run /docker -- sh /inner/script`),
		required: caps("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "MKNOD", "NET_ADMIN", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SYS_ADMIN", "SYS_CHROOT"),
		// implicit has the capabilities that runc adds to the inner container's permitted set, and those that it drops
		// from the bounding set. SETGID is unsure because runc sets the groups that the process already has.
		implicit:  caps("AUDIT_WRITE", "FSETID", "KILL", "NET_BIND_SERVICE", "SETUID"),
		unsure:    caps("AUDIT_WRITE", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"),
		tolerated: caps("DAC_READ_SEARCH"),
	}
	r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--"}, outer.dockerRun("outer", "--privileged"))...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	got := parseReport(t, r)
	if len(got) != 1 {
		t.Errorf("got %d containers, wanted only the outer one", len(got))
	}
	checked := only(t, got, "outer")
	// capmon reads files of a container in a container only through their process, which may have ended.
	checked.Unexamined = slices.DeleteFunc(checked.Unexamined, func(path string) bool { return path == "/bin/probe" || path == "/bin/busybox" })
	outer.check(t, checked)
	mustExecute(t, outer.dockerRun("outer", only(t, got, "outer").Flags...)...)
}
