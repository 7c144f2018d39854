package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ownNetwork isolates the ports and networks of a swarm's manager from the host's.
const ownNetwork = `exec unshare --net sh -ec 'ip link set lo up; exec "$@"' sh "$@"`

// The engine itself starts the tasks of a service, each with another name. The service is a job, so its tasks end. The
// added capability allows no additional system call, because no proxy holds up a task until capmon observes such calls.
func TestServiceOfASwarm(t *testing.T) {
	startDaemonIn(t, ownNetwork)
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
			t.Errorf("engine and kernel disagree: %v", got[0].Cautions)
		}
		return got[0]
	}

	create := func(name string, flags ...string) []string {
		return slices.Concat([]string{"docker", "service", "create", "--name", name, "--mode=replicated-job", "--replicas=2",
			"--restart-condition=none", "--no-resolve-image"}, flags, []string{"bb"}, mixed.command)
	}

	created := profiled(create("job", "--cap-add=LEASE", "--cap-drop=KILL")...)
	same(t, "granted", created.Granted, caps("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "LEASE", "MKNOD", "NET_BIND_SERVICE",
		"NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"))
	mustExecute(t, create("another", created.Flags...)...)

	lines := strings.Split(strings.TrimSpace(mustExecute(t, binary, "report", file)), "\n")
	advice := strings.TrimSpace(lines[len(lines)-1])
	if advice != "docker service update --cap-drop=RESET --cap-drop=ALL --cap-add=RESET --cap-add=CHOWN --cap-add=DAC_OVERRIDE --cap-add=NET_RAW job" {
		t.Errorf("advice %q", advice)
	}
	same(t, "command", []string{mustExecute(t, binary, "flags", "--for=service-update", file)}, []string{advice + "\n"})
	audited := func() auditReport {
		tasks := strings.Fields(mustExecute(t, "docker", "ps", "-aq", "--filter=label=com.docker.swarm.service.name=job"))
		return auditAs(t, exitFindings, slices.Concat([]string{"--profile", file, "--min-observed=1us"}, tasks)...)
	}
	for _, task := range audited().Containers {
		if task.Status != "fail" || task.Remedy.Service != advice || len(task.Remedy.Run) > 0 {
			t.Errorf("the audit of a task: %+v", task)
		}
	}
	task := auditAs(t, 0, "--static", "--min-observed=1s", created.ID).Containers[0]
	directory := withCapmon(t)
	inShell(t, directory, task.Remedy.Observe[:1])
	observed := parseReport(t, execute(t, binary, "report", "-o", "json", filepath.Join(directory, "job.json")))
	if len(observed) != 1 || observed[0].Runs != 4 {
		t.Fatalf("the command to run observes %+v, wanted two starts of both tasks", observed)
	}
	mixed.check(t, observed[0])
	updated := profiled("sh", "-c", advice) // this runs the job again
	same(t, "granted", updated.Granted, updated.Required)
	statuses := make(map[string]int)
	for _, task := range audited().Containers {
		statuses[task.Status]++
	}
	if statuses["fail"] != 6 || statuses["pass"] != 2 {
		t.Errorf("statuses of the tasks before and after the update: %v", statuses)
	}
}
