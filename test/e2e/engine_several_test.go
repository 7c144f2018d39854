package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// While Docker restarts or hangs, capmon records the containers of containerd as before.
func TestOneOfSeveralEnginesRestarts(t *testing.T) {
	t.Parallel()
	d, c := capmontest.StartDaemon(t), newPrivateContainerd(t)
	back := capmontest.StartPerformer(t, d.Host, "osr-back", "--init", "--restart=always")
	c.start("osr-before", nil, "sleep", "1000")
	observation := watchBy(t, func(cmd *exec.Cmd) error {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.Host, "CONTAINERD_ADDRESS="+c.address)
		return cmd.Start()
	}, binary, "profile", "-o", "json", "--container=osr-*", "--log-level=debug")
	observation.await("osr-back")
	observation.await("osr-before")
	back.Do("chroot / true")
	d.Stop()
	c.run("osr-restarting", nil, "chroot", "/", "true")
	d.Start()
	back.Do("probe rawsock")
	d.Docker("run", "--name=osr-afterwards", "bb", "chroot", "/", "true")
	observation.await("osr-afterwards")
	d.Signal(unix.SIGSTOP)
	c.run("osr-hanging", nil, sh("touch /tmp/x && chown 5 /tmp/x")...)
	c.must("task", "exec", "--exec-id=1", "osr-before", "chown", "5", "/tmp")
	before := time.Now()
	r := observation.interrupt()
	took := time.Since(before)
	d.Signal(unix.SIGCONT)
	if took > 30*time.Second {
		t.Errorf("the hanging Docker delayed the report by %v", took)
	}
	if !strings.Contains(r.stderr, "docker at "+d.Host+" does not answer") {
		t.Errorf("no warning about Docker: %s", r.stderr)
	}

	got := parseReport(t, r)
	again := only(t, got, "osr-back")
	workload{required: caps("NET_RAW", "SYS_CHROOT")}.check(t, again)
	if again.Runs != 2 || !again.Running {
		t.Errorf("%d runs were seen, running: %v", again.Runs, again.Running)
	}
	workload{required: caps("SYS_CHROOT")}.check(t, only(t, got, "osr-afterwards"))
	for name, required := range map[string][]string{"osr-restarting": caps("SYS_CHROOT"), "osr-hanging": caps("CHOWN"), "osr-before": caps("CHOWN")} {
		one := only(t, got, name)
		c.check(one, containerdDefault())
		same(t, name+" required", one.Required, required)
		if one.StartSeen != (name != "osr-before") {
			t.Errorf("%s: start seen: %v", name, one.StartSeen)
		}
	}
}
