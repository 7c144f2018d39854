package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ownNetwork keeps the ports and networks of a swarm's manager apart from the host's.
const ownNetwork = `exec unshare --net sh -ec 'ip link set lo up; exec "$@"' sh "$@"`

// The engine itself starts the tasks of a service, each with another name. A job's are
// those that end.
func TestServiceOfASwarm(t *testing.T) {
	startDaemon(t, ownNetwork)
	mustExecute(t, "docker", "swarm", "init", "--advertise-addr=127.0.0.1")
	file := filepath.Join(t.TempDir(), "profile")
	profiled := func(command ...string) seen {
		t.Helper()
		mustExecute(t, slices.Concat([]string{binary, "profile", "--all-containers", "--label=com.docker.swarm.service.name=job", "--save", file, "--"}, command)...)
		got := parseReport(t, execute(t, binary, "report", "-o", "json", file))
		if len(got) != 1 || got[0].Service != "job" || got[0].Runs != 2 || !strings.HasPrefix(got[0].Name, "job.") {
			t.Fatalf("got %+v, wanted both tasks of the job", got)
		}
		mixed.check(t, got[0])
		if strings.Contains(strings.Join(got[0].Cautions, "\n"), "differ") {
			t.Errorf("the engine disagrees: %v", got[0].Cautions)
		}
		return got[0]
	}

	created := profiled(slices.Concat([]string{"docker", "service", "create", "--name=job", "--mode=replicated-job", "--replicas=2",
		"--restart-condition=none", "--no-resolve-image", "--cap-add=SYS_TIME", "--cap-drop=KILL", "bb"}, mixed.command)...)
	same(t, "granted", created.Granted, caps("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "NET_BIND_SERVICE",
		"NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "SYS_TIME"))

	lines := strings.Split(strings.TrimSpace(mustExecute(t, binary, "report", file)), "\n")
	advice := strings.TrimSpace(lines[len(lines)-1])
	if advice != "docker service update --cap-drop=RESET --cap-drop=ALL --cap-add=RESET --cap-add=CHOWN --cap-add=DAC_OVERRIDE --cap-add=NET_RAW job" {
		t.Errorf("advice %q", advice)
	}
	updated := profiled("sh", "-c", advice) // which runs the job again
	same(t, "granted", updated.Granted, updated.Required)
}
