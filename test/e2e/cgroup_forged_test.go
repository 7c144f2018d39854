package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/uses"
)

// attacker is the ID of a user who owns a cgroup.
const attacker = 4711

// hierarchy returns the cgroup hierarchy with which capmon distinguishes containers.
func hierarchy(t *testing.T) kernel.Cgroups {
	t.Helper()
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	return cgroups
}

// ownCgroup returns a shell expression for the directory of the shell's own cgroup, in a container that has the host's
// cgroups at /cg.
func ownCgroup(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf(`"/cg$(sed -n 's/^[0-9]*:%s://p' /proc/self/cgroup)"`, hierarchy(t).Controller)
}

func withCgroups(t *testing.T, options ...string) []string {
	t.Helper()
	return append([]string{"--cgroupns=host", "--volume=" + hierarchy(t).Mount + ":/cg"}, options...)
}

// delegated creates a cgroup and gives it to the attacker.
func delegated(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp(hierarchy(t).Mount, "capmon-test-delegated-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "the cgroups can be removed", func() bool {
			below, _ := filepath.Glob(filepath.Join(directory, "*", "cgroup.procs"))
			for _, procs := range below {
				_ = os.Remove(filepath.Dir(procs))
			}
			return os.Remove(directory) == nil
		})
	})
	if err := errors.Join(os.Chown(directory, attacker, attacker), os.Chown(filepath.Join(directory, "cgroup.procs"), attacker, attacker)); err != nil {
		t.Fatal(err)
	}
	return directory
}

// forge makes the attacker, who is in the delegated cgroup, use the capabilities of a nested user namespace, in cgroups
// that are named like a container's.
func forge(t *testing.T, delegated, id string, more ...string) {
	t.Helper()
	program := filepath.Join(testutil.OpenDirectory(t), "attack-forged-cgroup")
	name := filepath.Base(delegated)
	mustExecute(t, "docker", "create", "--name", name, "bb")
	defer mustExecute(t, "docker", "rm", name)
	mustExecute(t, "docker", "cp", name+":/bin/attack-forged-cgroup", program)
	shell := fmt.Sprintf("echo 0 >%s/cgroup.procs && exec setpriv --reuid %d --regid %[2]d --clear-groups %s %[1]s %[4]s", delegated, attacker, program, strings.Join(append([]string{id}, more...), " "))
	cmd := exec.Command("sh", "-c", shell)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("forging %s: %v\n%s", id, err, out)
	}
}

// unconfirmed returns the unknown containers in a cgroup.
func unconfirmed(all []seen, cgroup string) []seen {
	return slices.DeleteFunc(slices.Clone(all), func(c seen) bool { return !strings.Contains(c.Unconfirmed, filepath.Base(cgroup)) })
}

// A container cannot hide below many cgroups.
func TestNestedCgroupsHideNothing(t *testing.T) {
	t.Parallel()
	const name = "nests"
	startSleeper(t, name, withCgroups(t)...)
	for _, depth := range []int{60, 100, 300} {
		t.Run(strconv.Itoa(depth), func(t *testing.T) {
			observation := watch(t, name)
			mustExecute(t, "docker", "exec", name, "sh", "-c", fmt.Sprintf("attack-nested-cgroups %s %d", ownCgroup(t), depth))
			got := only(t, parseReport(t, observation.interrupt()), name)
			if !slices.Contains(got.Required, "NET_RAW") {
				t.Errorf("required %v, wanted NET_RAW: %v", got.Required, got.Cautions)
			}
		})
	}
}

// A cgroup that any user may have made does not belong to a container because of its name, neither while the container
// runs nor afterwards.
func TestForgedCgroupBelongsToNoContainer(t *testing.T) {
	t.Parallel()
	const victim = "forged-restarted"
	startSleeper(t, victim)
	id := idOf(t, victim)
	for _, state := range []string{"running", "stopped"} {
		t.Run(state, func(t *testing.T) {
			cgroup := delegated(t)
			observation := watch(t)
			mustExecute(t, "docker", "restart", "-t0", victim)
			if state == "stopped" {
				mustExecute(t, "docker", "stop", "-t0", victim)
			}
			forge(t, cgroup, id)
			all := parseReport(t, observation.interrupt())
			if got := only(t, all, victim); slices.Contains(got.Required, "SYS_ADMIN") || slices.Contains(got.Flags, "--cap-add=SYS_ADMIN") {
				t.Errorf("the victim needs %v", got.Required)
			}
			forged := unconfirmed(all, cgroup)
			if len(forged) != 1 || forged[0].ID == id || !slices.Contains(forged[0].Required, "SYS_ADMIN") {
				t.Errorf("unconfirmed: %+v", forged)
			}
		})
	}
}

// The same holds for a cgroup that root in a container made next to where engines create theirs, while the real
// container runs.
func TestCgroupMadeByAContainerBelongsToNoOther(t *testing.T) {
	t.Parallel()
	const victim, forger = "forged-beside", "forger"
	startSleeper(t, victim)
	startSleeper(t, forger, withCgroups(t)...)
	id := idOf(t, victim)
	directory := filepath.Join(hierarchy(t).Mount, id)
	t.Cleanup(func() { eventually(t, "the cgroup can be removed", func() bool { return os.Remove(directory) == nil }) })
	observation := watch(t)
	mustExecute(t, "docker", "exec", forger, "sh", "-c", fmt.Sprintf("mkdir /cg/%s && echo 0 >/cg/%[1]s/cgroup.procs && probe rawsock", id))
	all := parseReport(t, observation.interrupt())
	if got := only(t, all, victim); slices.Contains(got.Required, "NET_RAW") {
		t.Errorf("the victim needs %v", got.Required)
	}
	forged := unconfirmed(all, id)
	if len(forged) != 1 || !slices.Contains(forged[0].Required, "NET_RAW") {
		t.Errorf("unconfirmed: %+v", forged)
	}
}

// A container that was made below libpod_parent has a cgroup that is named like that of a pod of Podman. If all its
// processes are in cgroups below, the engine tells it from a pod.
func TestContainersOfDockerCannotPassForPods(t *testing.T) {
	t.Parallel()
	for _, below := range []string{"below", "libpod-" + strings.Repeat("5", 64)} {
		name := "passes-for-pod-" + below[:5]
		script := "own=" + ownCgroup(t) + "; mkdir $own/" + below + " && echo $$ >$own/" + below + "/cgroup.procs || exit; while touch /tmp/x && chown 5 /tmp/x; do sleep 0.1; done"
		mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name=" + name, "--cgroup-parent=/libpod_parent"}, withCgroups(t), []string{"bb"}, sh(script))...)
		t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
		eventually(t, "the container is in the cgroup below", func() bool {
			pid := strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format={{.State.Pid}}", name))
			all, err := os.ReadFile("/proc/" + pid + "/cgroup")
			return err == nil && strings.Contains(string(all), "/"+below)
		})
		observation := watch(t, "--container="+name)
		time.Sleep(time.Second)
		got := only(t, parseReport(t, observation.interrupt()), name)
		if got.Unconfirmed != "" || got.EngineError != "" {
			t.Errorf("%+v", got)
		}
		same(t, "required", got.Required, caps("CHOWN", "FOWNER"))
	}
}

// A user who may create cgroups cannot use up the room of containers by creating many.
func TestForgedCgroupsUseNoRoomOfOthers(t *testing.T) {
	t.Parallel()
	const many = 5000
	cgroup := delegated(t)
	observation := watch(t)
	forge(t, cgroup, strings.Repeat("ab", 32), strconv.Itoa(many))
	mustExecute(t, "docker", "run", "--rm", "--name=late", "bb", "probe", "rawsock")
	all := parseReport(t, observation.interrupt())
	if got := only(t, all, "late"); !slices.Contains(got.Required, "NET_RAW") || !got.Complete {
		t.Errorf("required %v of the container, complete %v: %v", got.Required, got.Complete, got.Cautions)
	}
	forged := unconfirmed(all, cgroup)
	if len(forged) == 0 || len(forged) > 65 {
		t.Errorf("%d unknown containers", len(forged))
	}
}

// watch also does not name a container because of a cgroup's name.
func TestWatchNamesNoContainerForAForgedCgroup(t *testing.T) {
	t.Parallel()
	const victim = "forged-watched"
	startSleeper(t, victim)
	id := idOf(t, victim)
	l := watchLive(t)
	selected := watchLive(t, victim)
	cgroup := delegated(t)
	forge(t, cgroup, id)
	mustExecute(t, "docker", "exec", victim, "probe", "rawsock")
	for _, watch := range []*livewatch{l, selected} {
		if use := watch.of(victim); use.Capability.String() != "NET_RAW" || use.Container.Unconfirmed != "" {
			t.Errorf("the victim: %+v", use)
		}
	}
	eventually(t, "the use in the forged cgroup is shown", func() bool {
		return slices.ContainsFunc(l.uses(), func(u uses.Use) bool { return u.Container.Unconfirmed != "" && u.Capability.String() == "SYS_ADMIN" })
	})
	for _, watch := range []*livewatch{l, selected} {
		for _, use := range watch.endWith(victim) {
			if use.Capability.String() == "SYS_ADMIN" {
				t.Errorf("the victim: %+v", use)
			}
		}
	}
}

// aboutOthers is the note about containers of other tests that the engine did not describe.
var aboutOthers = regexp.MustCompile("(?m)^capmon: left out because the engine did not describe the containers.*\n")

// No command attributes the uses of a forged cgroup to the container.
func TestNoCommandCountsUsesOfAForgedCgroupForAContainer(t *testing.T) {
	t.Parallel()
	const victim = "forged-queried"
	startSleeper(t, victim)
	saved := filepath.Join(t.TempDir(), "profile.json")
	observation := watch(t, "--save", saved)
	forge(t, delegated(t), idOf(t, victim))
	mustExecute(t, "docker", "exec", victim, "probe", "rawsock")
	observation.interrupt()
	for _, command := range [][]string{
		{"flags", "--even-if-start-unseen", "--container", victim, saved},
		{"flags", "--even-if-start-unseen", "--container", idOf(t, victim), saved},
		{"report", "--container", victim, saved},
	} {
		r := execute(t, append([]string{binary}, command...)...)
		r.stderr = aboutOthers.ReplaceAllString(r.stderr, "")
		if r.code != 0 || !strings.Contains(r.stdout, "NET_RAW") || strings.Contains(r.stdout+r.stderr, "--cap-add=SYS_ADMIN") || strings.Contains(r.stderr, "SYS_ADMIN") {
			t.Errorf("%v: exit code %d\n%s%s", command, r.code, r.stdout, r.stderr)
		}
	}
	if all := mustExecute(t, binary, "report", "--details", saved); !strings.Contains(all, "SYS_ADMIN") || !strings.Contains(all, "no engine confirms that this is a container") {
		t.Errorf("the use in the forged cgroup is not reported:\n%s", all)
	}
}
