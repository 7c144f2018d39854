package main

import (
	"bufio"
	"os/exec"
	"testing"
)

// awaitLog returns once the container has written the line this many times.
func awaitLog(t *testing.T, container, line string, times int) {
	t.Helper()
	logs := exec.CommandContext(t.Context(), "docker", "logs", "--follow", container)
	out, err := logs.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := logs.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for range times {
		awaitLine(t, lines, line)
	}
	_ = logs.Process.Kill()
	_ = logs.Wait()
}

// capmon also sees the first actions of a container after a restart: it observes the container's calls that seccomp
// allows only with a capability until the container is removed.
func TestRestartDuringObservation(t *testing.T) {
	t.Parallel()
	const name = "restarted-watched"
	mustExecute(t, "docker", "run", "-d", "--name", name, "--cap-add=SYS_NICE", "--init", "bb",
		"sh", "-c", "[ -e /tmp/again ] && probe set-mempolicy; touch /tmp/again; echo running; exec sleep 100000")
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
	awaitLog(t, name, "running", 1)

	observation := watch(t, name)
	mustExecute(t, "docker", "restart", name)
	awaitLog(t, name, "running", 2)
	got := only(t, parseReport(t, observation.interrupt()), name)
	if got.Runs != 2 {
		t.Errorf("%d runs were seen", got.Runs)
	}
	workload{implicit: caps("SYS_NICE")}.check(t, got)
}
