package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil/capmontest"
)

func idOf(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(mustExecute(t, "docker", "inspect", "--type=container", "-f", "{{.Id}}", name))
}

// createContainer creates a container and removes it when the test ends, even if it was renamed.
func createContainer(t *testing.T, args ...string) (id string) {
	t.Helper()
	id = strings.TrimSpace(mustExecute(t, append([]string{"docker", "create"}, args...)...))
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	return id
}

// leftOut reports whether the log lists the container among those that were left out.
func leftOut(log, name string) bool {
	return slices.ContainsFunc(strings.Split(log, "\n"), func(line string) bool {
		return strings.Contains(line, "left out ") && strings.Contains(line, `"containers": [`) && strings.Contains(line, strconv.Quote(name))
	})
}

// A container is identified by its ID. Its record stays with it under another name, and the next container with its old
// name starts with an empty record.
func TestReusedNamesBelongToTheRightContainer(t *testing.T) {
	t.Parallel()
	engine := os.Getenv("DOCKER_HOST")
	first := capmontest.StartPerformer(t, engine, "in-service", "--cap-drop=ALL", "--cap-add=SYS_CHROOT")
	id := idOf(t, "in-service")
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	named, all := watch(t, "--log-level=debug", "in-service"), watch(t)

	first.Do("chroot / true")
	mustExecute(t, "docker", "rename", "in-service", "retired")
	second := capmontest.StartPerformer(t, engine, "in-service", "--cap-drop=ALL", "--cap-add=NET_RAW")
	second.Do("probe rawsock")
	first.Do("chroot / true")
	mustExecute(t, "docker", "rm", "-f", "in-service")
	mustExecute(t, "docker", "tag", "bb", "bb:next")
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", "bb:next") })
	mustExecute(t, "docker", "run", "--rm", "--name=in-service", "--cap-drop=ALL", "--cap-add=CHOWN", "bb:next", "sh", "-c", "touch /tmp/f; chown 5 /tmp/f")

	r := named.interrupt()
	if got := parseReport(t, r); len(got) != 1 {
		t.Errorf("one container was named, these are reported: %+v", got)
	} else {
		workload{required: caps("SYS_CHROOT")}.check(t, only(t, got, "retired"))
	}
	if !strings.Contains(r.stderr, "capmon: left out because others started them or the filter does not select them: ") || !leftOut(r.stderr, "in-service") {
		t.Errorf("stderr does not report that others were left out: %s", r.stderr)
	}
	got := parseReport(t, all.interrupt())
	workload{required: caps("SYS_CHROOT")}.check(t, only(t, got, "retired"))
	for image, capability := range map[string]string{"bb:latest": "NET_RAW", "bb:next": "CHOWN"} {
		i := slices.IndexFunc(got, func(c seen) bool { return c.Name == "in-service" && c.Image == image })
		if i < 0 {
			t.Errorf("in-service of %s is not in the report: %+v", image, got)
			continue
		}
		workload{required: caps(capability)}.check(t, got[i])
		same(t, "granted", got[i].Granted, caps(capability))
	}
}

// A paused container does nothing, and continues afterwards as the same container.
func TestPauseDuringObservation(t *testing.T) {
	t.Parallel()
	engine := os.Getenv("DOCKER_HOST")
	p := capmontest.StartPerformer(t, engine, "paused")
	early := capmontest.StartPerformer(t, engine, "paused-before")
	mustExecute(t, "docker", "pause", "paused-before")
	observation := watch(t, "paused", "paused-before")
	p.Do("chroot / true")
	mustExecute(t, "docker", "pause", "paused")
	mustExecute(t, "docker", "unpause", "paused", "paused-before")
	p.Do("probe rawsock")
	early.Do("probe rawsock")
	mustExecute(t, "docker", "pause", "paused")
	got := parseReport(t, observation.interrupt())
	mustExecute(t, "docker", "unpause", "paused")
	workload{required: caps("NET_RAW", "SYS_CHROOT")}.check(t, only(t, got, "paused"))
	workload{required: caps("NET_RAW")}.check(t, only(t, got, "paused-before"))
	for _, c := range got {
		if c.Runs != 1 || !c.Running || !c.Existed {
			t.Errorf("wanted a container that already ran and still runs: %+v", c)
		}
	}
}

// All runs of one container add up, whether its restart policy or a command starts them.
func TestRunsOfOneContainerAddUp(t *testing.T) {
	t.Parallel()
	engine := os.Getenv("DOCKER_HOST")
	p := capmontest.StartPerformer(t, engine, "again-and-again", "--init", "--restart=always")
	observation := watch(t, "again-and-again")
	p.Do("chroot / true")
	mustExecute(t, "docker", "restart", "again-and-again")
	p.Do("probe rawsock")
	// The engine then restarts the container. The command itself may be killed with the container. The test waits for
	// the new run: the old one might read the command and end without an answer.
	started := func() string {
		return mustExecute(t, "docker", "inspect", "-f", "{{.State.StartedAt}} {{.State.Running}}", "again-and-again")
	}
	before := started()
	if r := execute(t, "docker", "exec", "again-and-again", "kill", "1"); r.code != 0 && r.code != 137 {
		t.Fatalf("%+v", r)
	}
	eventually(t, "the engine has started it again", func() bool {
		now := started()
		return now != before && strings.HasSuffix(now, " true\n")
	})
	p.Do("touch /tmp/f; chown 5 /tmp/f")
	mustExecute(t, "docker", "stop", "again-and-again")
	mustExecute(t, "docker", "start", "again-and-again")
	p.Do("setpriv --reuid=1000 true || su user -c true")

	got := only(t, parseReport(t, observation.interrupt()), "again-and-again")
	if got.Runs != 4 || !got.Running || !got.Existed {
		t.Errorf("%d runs, running: %v, existed: %v", got.Runs, got.Running, got.Existed)
	}
	for _, need := range caps("CHOWN", "NET_RAW", "SETGID", "SETUID", "SYS_CHROOT") {
		if !slices.Contains(got.Required, need) {
			t.Errorf("%s is missing: %v", need, got.Required)
		}
	}
}

func TestAmbiguousIDPrefixIsAnError(t *testing.T) {
	t.Parallel()
	first := make(map[byte]string) // IDs by their first digit: at most 16
	for {
		id := createContainer(t, "bb")
		other, taken := first[id[0]]
		if !taken {
			first[id[0]] = id
			continue
		}
		r := execute(t, binary, "profile", id[:1])
		if r.code != 2 || r.stdout != "" || !strings.Contains(r.stderr, "is the beginning of several containers' IDs") ||
			!strings.Contains(r.stderr, id[:12]) || !strings.Contains(r.stderr, other[:12]) {
			t.Errorf("%+v", r)
		}
		return
	}
}

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
