package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// edgeVolume returns the options for a volume from a host directory. The directory has a private directory and a
// private script, which belong to user 1000. The private directory has a link to probe. The volume also has a script
// for all users, and a copy of probe that runs as root for every user.
func edgeVolume(t *testing.T) (options []string) {
	t.Helper()
	volume := t.TempDir()
	private := filepath.Join(volume, "private")
	for _, err := range []error{
		os.Mkdir(private, 0o700),
		os.Symlink("/bin/probe", filepath.Join(private, "link")),
		os.WriteFile(filepath.Join(volume, "script"), []byte("#!/bin/sh\nexec probe rawsock\n"), 0o700),
		os.WriteFile(filepath.Join(volume, "public"), []byte("#!/bin/sh\nexec probe rawsock\n"), 0o755),
		os.Chmod(filepath.Join(volume, "public"), 0o755),
		os.Chmod(volume, 0o755),
		os.Chown(private, 1000, 1000),
		os.Lchown(filepath.Join(private, "link"), 1000, 1000),
		os.Chown(filepath.Join(volume, "script"), 1000, 1000),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	options = []string{"--volume=" + volume + ":/volume"}
	mustExecute(t, slices.Concat([]string{"docker", "run", "--rm"}, options,
		[]string{"bb", "sh", "-c", "cp /bin/probe /volume/set-user-id && chmod 4755 /volume/set-user-id"})...)
	return options
}

// The needs of the runtime setup and of the workload are not mixed up where the two meet.
func TestRuntimeSetupIsNotCountedAsWorkload(t *testing.T) {
	t.Parallel()
	volume := edgeVolume(t)
	for _, w := range []workload{
		{
			name: "entrypoint-by-a-link-in-a-private-directory", command: []string{"/volume/private/link", "setuid0"},
			required: caps("DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH"),
		},
		{name: "script-as-entrypoint", command: []string{"/volume/public"}, required: caps("NET_RAW")},
		{
			name: "private-script-as-entrypoint", command: []string{"/volume/script"},
			required: caps("DAC_OVERRIDE", "NET_RAW"), tolerated: caps("DAC_READ_SEARCH"),
		},
		{name: "entrypoint-option", options: []string{"--entrypoint=/volume/public"}, required: caps("NET_RAW")},
		{name: "private-working-directory", options: []string{"--workdir=/volume/private"}, command: []string{"true"}},
		{
			name: "relative-to-a-private-working-directory", options: []string{"--workdir=/volume/private"}, command: sh("ls . >/dev/null"),
			required: caps("DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH"),
		},
		{name: "working-directory-of-another-user", options: []string{"--workdir=/root", "--user=1000"}, command: []string{"true"}},
		{
			name: "volume-of-another-owner", command: sh("touch /volume/private/new"),
			required: caps("DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH"),
		},
		{name: "tmpfs-of-another-owner", options: []string{"--tmpfs=/t:uid=1000,mode=700"}, command: sh("touch /t/new"), required: caps("DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH")},
		{name: "device", options: []string{"--device=/dev/null:/dev/nothing"}, command: sh("echo > /dev/nothing")},
		{name: "set-user-id-program-of-a-user", options: []string{"--user=1000"}, command: []string{"/volume/set-user-id", "rawsock"}, required: caps("NET_RAW")},
		{name: "group-of-its-own", options: []string{"--user=1000:5", "--group-add=6"}, command: []string{"true"}},
	} {
		w.options = append(w.options, volume...)
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(w.name)...)...)
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			got := only(t, parseReport(t, r), w.name)
			w.check(t, got)
			mustExecute(t, w.dockerRun(w.name, got.Flags...)...)
		})
	}
}

// Actions of the engine on a running container are not workload.
func TestActionsOfTheEngineAreNotWorkload(t *testing.T) {
	t.Parallel()
	const name = "engine-actions"
	startSleeper(t, name)
	observation := watch(t, name)
	file := filepath.Join(t.TempDir(), "file")
	mustExecute(t, "docker", "cp", name+":/data/secret", file)
	mustExecute(t, "docker", "cp", file, name+":/tmp/copy")
	mustExecute(t, "docker", "top", name)
	mustExecute(t, "docker", "exec", "--user=1000", name, "cat", "/data/secret")
	workload{}.check(t, only(t, parseReport(t, observation.interrupt()), name))
}

// The engine runs a health check, but the check is part of the container's workload.
func TestHealthCheckIsWorkload(t *testing.T) {
	t.Parallel()
	const name = "health-check"
	r := execute(t, binary, "profile", "-o", "json", "--", "docker", "run", "--rm", "--name", name,
		"--health-cmd=probe rawsock && echo > /tmp/checked", "--health-interval=1s",
		"bb", "sh", "-c", "mkfifo /tmp/checked && read line < /tmp/checked")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	workload{required: caps("NET_RAW")}.check(t, only(t, parseReport(t, r), name))
}

// A process that calls reboot in its own pid namespace does not return, and the kernel kills all other processes in the
// namespace.
func TestCallThatDoesNotReturnIsRecorded(t *testing.T) {
	t.Parallel()
	const name = "reboots"
	r := execute(t, binary, "profile", "-o", "json", "--", "docker", "run", "--rm", "--name", name, "--cap-add=SYS_BOOT", "bb", "probe", "reboot")
	if r.code != 128+1 { // SIGHUP (reboot_pid_ns, kernel/pid_namespace.c)
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	workload{required: caps("SYS_BOOT")}.check(t, only(t, parseReport(t, r), name))
}
