package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// earlyContainer is a container that starts before capmon, and what it does afterwards.
type earlyContainer struct {
	capmontest.Performer
	name   string
	docker [][]string // the commands that start it
	order  string
	workload
}

// acts are commands that a container can run, each with the capability that it needs.
var acts = []struct{ order, capability string }{
	{"chroot / true", "SYS_CHROOT"},
	{"probe rawsock", "NET_RAW"},
	{"touch /tmp/f; chown 5 /tmp/f", "CHOWN"},
	{"probe mknod /tmp/n", "MKNOD"},
	{"probe setgroups 5", "SETGID"},
}

// states are states in which capmon can find a container. Each function sets up a container that will run a command
// which needs the capability.
var states = map[string]func(i *earlyContainer, capability string){
	"plain":      func(i *earlyContainer, _ string) { i.run() },
	"init":       func(i *earlyContainer, _ string) { i.run("--init") },
	"host":       func(i *earlyContainer, _ string) { i.run("--pid=host", "--network=host", "--cgroupns=host") },
	"privileged": func(i *earlyContainer, _ string) { i.run("--privileged") },
	"least":      func(i *earlyContainer, capability string) { i.run("--cap-drop=ALL", "--cap-add="+capability) },
	"none": func(i *earlyContainer, capability string) {
		i.run("--cap-drop=ALL")
		i.isDenied(capability)
		if capability == "SYS_CHROOT" {
			i.workload = workload{} // seccomp blocks the call before the kernel makes the check
		}
	},
	"user": func(i *earlyContainer, capability string) { i.run("--user=1000"); i.isDenied(capability) },
	"exec": func(i *earlyContainer, _ string) {
		i.docker = [][]string{
			{"run", "-d", "--name", i.name, i.Volume(), "bb", "sleep", "1000"},
			slices.Concat([]string{"exec", "-d", i.name}, capmontest.PerformerCommand),
		}
	},
	"own-mounts": func(i *earlyContainer, _ string) {
		i.docker = [][]string{slices.Concat([]string{"run", "-d", "--name", i.name, i.Volume(), "--cap-add=SYS_ADMIN", "bb", "unshare", "-m"}, capmontest.PerformerCommand)}
	},
	"own-users": func(i *earlyContainer, _ string) {
		i.docker = [][]string{slices.Concat([]string{"run", "-d", "--name", i.name, i.Volume(), "--security-opt=seccomp=unconfined", "bb", "unshare", "-Ur"}, capmontest.PerformerCommand)}
		i.order = acts[0].order
		i.workload = workload{classes: map[string][]string{"nested-userns": caps(acts[0].capability)}}
	},
}

func (i *earlyContainer) run(options ...string) {
	i.docker = [][]string{slices.Concat([]string{"run", "-d", "--name", i.name, i.Volume()}, options, []string{"bb"}, capmontest.PerformerCommand)}
}

func (i *earlyContainer) isDenied(capability string) { i.workload = workload{denied: caps(capability)} }

// Whatever runs when capmon starts, capmon attributes each later use to the right container, with the right class.
func TestContainersThatRanBeforeAreReportedExactly(t *testing.T) {
	t.Parallel()
	const each = 10 // of every state
	var all []*earlyContainer
	var script strings.Builder
	for state, setUp := range states {
		for n := range each {
			act := acts[n%len(acts)]
			i := &earlyContainer{Performer: capmontest.NewPerformer(t), name: fmt.Sprintf("before-%s-%d", state, n), order: act.order, workload: workload{required: caps(act.capability)}}
			setUp(i, act.capability)
			all = append(all, i)
			var commands []string
			for _, command := range i.docker {
				commands = append(commands, quoted(append([]string{"docker"}, command...)))
			}
			fmt.Fprintln(&script, strings.Join(commands, " && "))
		}
	}
	lines := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(lines, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		remove := []string{"rm", "-f"}
		for _, i := range all {
			remove = append(remove, i.name)
		}
		_ = exec.Command("docker", remove...).Run()
	})
	mustExecute(t, "sh", "-c", `tr '\n' '\0' <"$0" | xargs -0 -n 1 -P 4 sh -c`, lines)
	for _, i := range all {
		i.Do(":") // it runs
	}
	observation := watch(t)
	for _, i := range all {
		i.Do(i.order)
	}
	got := parseReport(t, observation.interrupt())
	for _, i := range all {
		t.Run(i.name, func(t *testing.T) {
			c := only(t, got, i.name)
			i.check(t, c)
			if !c.Existed || !c.Running || c.Runs != 1 {
				t.Errorf("wanted a container that already ran and still runs: %+v", c)
			}
			if !slices.ContainsFunc(c.Cautions, func(caution string) bool {
				return strings.HasPrefix(caution, "the container was already running when the observation began: capmon does not know what it used before "+c.since())
			}) {
				t.Errorf("no caution says since when it is observed: %v", c.Cautions)
			}
		})
	}
}

// Containers start while capmon starts. The report names each of them that it has, and is complete for those that start
// after that.
func TestContainersThatStartTogetherWithCapmonAreKnown(t *testing.T) {
	t.Parallel()
	const script = `for lane in a b c; do
		(for i in $(seq 1000); do
			[ -e "$0/stop" ] && break
			touch "$0/begun-starting-$lane-$i"
			docker run --rm --name starting-$lane-$i --cidfile "$0/id-starting-$lane-$i" bb chroot / true || exit 1
			touch "$0/ended-starting-$lane-$i"
		done) & pids="$pids $!"
	done
	for pid in $pids; do wait $pid || exit 1; done`
	directory := t.TempDir()
	names := func(kind string) (names []string) {
		files, _ := filepath.Glob(filepath.Join(directory, kind+"-*"))
		for _, file := range files {
			names = append(names, strings.TrimPrefix(filepath.Base(file), kind+"-"))
		}
		return names
	}
	cmd := exec.Command("sh", "-c", script, directory)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "containers start", func() bool { return len(names("ended")) > 0 })
	observation := watch(t)
	before := names("begun")
	eventually(t, "some more have ended", func() bool { return len(names("ended")) > len(before)+1 })
	if err := os.WriteFile(filepath.Join(directory, "stop"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	got := parseReport(t, observation.interrupt())
	for _, name := range names("begun") {
		if !slices.Contains(before, name) {
			workload{required: caps("SYS_CHROOT")}.check(t, only(t, got, name))
		}
	}
	for _, name := range names("id") {
		id, err := os.ReadFile(filepath.Join(directory, "id-"+name))
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(got, func(c seen) bool { return c.ID == string(id) }); i >= 0 && got[i].Name != name {
			t.Errorf("%s has the name %q", name, got[i].Name)
		}
	}
}
