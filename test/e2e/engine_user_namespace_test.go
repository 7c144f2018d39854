package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/monitor"
)

// remapped maps the users of a daemon's containers to 100000 and up, and those from 1000 on to 200000 and up. The
// daemon has its own /etc/subuid for that.
const remapped = `
	subordinate=$(mktemp)
	printf 'daemon:100000:1000\ndaemon:200000:65536\n' >$subordinate
	export subordinate CAPMON_DAEMON_JSON='"userns-remap": "daemon"'
	exec unshare --mount sh -ec '
		mount --bind $subordinate /etc/subuid
		mount --bind $subordinate /etc/subgid
		rm $subordinate
		exec "$@"' sh "$@"
`

// underRemap are names of workloads.
var underRemap = []string{
	"ping", "as-user", "setgid-0", "setuid-0-of-32-bits", "kill", "su", "cat-secret", "mount", "unshare", "bind-80-privileged",
	"own-user-namespace", "map-root", "file-capability", "capset-only",
}

// checksInitial are workloads for which the kernel checks a capability in the initial user namespace. No capability of
// a container in another user namespace counts there.
var checksInitial = []workload{
	{name: "mknod", command: sh("! mknod /tmp/null c 1 3"), denied: caps("MKNOD")},
	{name: "set-time", grants: []string{"--cap-add=SYS_TIME"}, command: sh("date -s @$(date +%s)"), denied: caps("SYS_TIME")},
	{name: "lock", grants: []string{"--cap-add=IPC_LOCK"}, options: memlock(64), command: sh("! probe map-locked 65537"), denied: caps("IPC_LOCK")},
	{name: "write-set-group-id", command: []string{"probe", "write-sgid", "/tmp/sgid"}, denied: caps("FSETID")},
	{name: "priority", grants: []string{"--cap-add=SYS_NICE"}, command: sh("! probe setpriority 5"), denied: caps("SYS_NICE")},
}

// others are workloads that differ here. The first one needs more, because only root of the initial user namespace may
// write network settings without NET_ADMIN (test_perm, fs/proc/proc_sysctl.c). Such a daemon runs the others in the
// initial user namespace.
var others = []workload{
	{
		name: "write-network-sysctl", grants: []string{"--cap-add=NET_ADMIN"}, options: []string{"--security-opt=systempaths=unconfined"},
		command: sh("echo 4096 > /proc/sys/net/core/somaxconn"), required: caps("NET_ADMIN"),
	},
	{name: "in-the-initial-namespace", options: []string{"--userns=host"}, command: sh("mknod /tmp/null c 1 3 && chown 5 /tmp/null"), required: caps("CHOWN", "MKNOD")},
	{name: "privileged", grants: []string{"--privileged"}, options: []string{"--userns=host"}, command: []string{"chroot", "/", "true"}, required: caps("SYS_CHROOT")},
}

// In a user namespace of the engine, a workload has the same needs as elsewhere, except for checks in the initial user
// namespace.
func TestUserNamespaceOfTheEngine(t *testing.T) {
	startDaemonIn(t, remapped)
	chosen := slices.Concat(named(t, underRemap...), checksInitial, others)
	hook := hooks(t)[0]
	reports := profileByAll(t, []monitor.Hook{hook}, chosen)[hook]
	for _, w := range chosen {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			got := only(t, reports, "hook-"+w.name)
			w.check(t, got)
			mustExecute(t, w.dockerRun("remapped-"+w.name, got.Flags...)...)
		})
	}
	t.Run("exec", func(t *testing.T) {
		t.Parallel()
		startSleeper(t, "remapped")
		observation := watch(t, "remapped")
		mustExecute(t, append([]string{"docker", "exec", "remapped"}, mixed.command...)...)
		mixed.check(t, only(t, parseReport(t, observation.interrupt()), "remapped"))
	})
	t.Run("report", func(t *testing.T) {
		t.Parallel()
		r := execute(t, slices.Concat([]string{binary, "profile", "--"}, checksInitial[0].dockerRun("reported"))...)
		for _, line := range strings.Split(r.stdout, "\n") {
			if strings.Contains(line, "MKNOD") && strings.Contains(line, "checked in the host's user namespace: no --cap-add can help") {
				return
			}
		}
		t.Errorf("the report does not say that MKNOD cannot be granted:\n%s", r.stdout)
	})
	t.Run("doctor", func(t *testing.T) {
		t.Parallel()
		if out := mustExecute(t, binary, "doctor"); !strings.Contains(out, "  user namespace  ok       the engine's containers have their own") {
			t.Error(out)
		}
	})
}
