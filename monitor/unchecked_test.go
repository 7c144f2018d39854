package monitor

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

// A process may inspect another process of the same user without a check, if the other process is permitted no more.
// capmon records this if the other process is in another container.
func TestInspectingAProcessOfAnotherContainerIsRecorded(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	all := launch(t, "bb", "sleep", "600")
	few := launch(t, "--cap-drop=ALL", "--cap-add=CHOWN", "bb", "sleep", "600")
	group := launch(t, "--user=0:5", "--cap-drop=ALL", "--cap-add=CHOWN", "bb", "sleep", "600")
	none := launch(t, "--cap-drop=ALL", "bb", "sleep", "600")
	const unconfined = "--security-opt=seccomp=unconfined"
	for _, test := range []struct {
		command string
		of      string // the container whose pid namespace is shared
		options []string
		want    UncheckedKind // 0 if capmon records nothing
		sets    capability.Set
		call    string
	}{
		{command: "cat /proc/1/environ", of: all, want: InspectedProcess, sets: capability.DockerDefault(), call: "openat"},
		{command: "cat /proc/1/environ", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "openat"},
		{command: "cat /proc/1/environ", of: none},
		{command: "cat /proc/1/environ", of: all, options: []string{"--cap-drop=ALL", "--cap-add=SYS_PTRACE"}}, // the kernel makes a check
		{command: "cat /proc/1/task/1/maps", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "openat"},
		{command: "readlink /proc/1/exe", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "readlink"},
		{command: "readlink /proc/1/fd/0", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "readlink"},
		{command: "cat /proc/1/root/etc/passwd", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "openat"},
		{command: "stat -L /proc/1/exe", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "newfstatat"},
		{command: "chroot /proc/1/root /bin/true", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "chroot"},
		{command: "mkdir /proc/1/root/tmp/made", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "mkdir"},
		{command: "mkdir /tmp/1; rmdir /tmp/1; chmod 700 /tmp", of: few},
		{command: "cd /proc; cat 1/cwd/etc/passwd", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "openat"},
		{command: "cd /proc/1; cat root/etc/passwd", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "openat"},
		{command: "cd /proc/1/fd; readlink 0", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "readlink"},
		{command: "probe open-at /proc/1 environ", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "openat"},
		{command: "probe trace 1", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "ptrace"},
		{command: "probe take-descriptor 1", of: few, options: []string{unconfined}, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "pidfd_getfd"},
		// 19 is the highest nice value: only lowering it would need SYS_NICE, and containers inherit the engine's.
		{command: "renice 19 1", of: few, want: ScheduledProcess, sets: capability.Of(capability.Chown), call: "setpriority"},
		{command: "ionice -c 3 -p 1", of: few, want: ScheduledProcess, sets: capability.Of(capability.Chown), call: "ioprio_set"},
		{command: "taskset -p 1 1", of: few, want: ScheduledProcess, sets: capability.Of(capability.Chown), call: "sched_setaffinity"},
		{command: "renice 19 1", of: group, want: ScheduledProcess, sets: capability.Of(capability.Chown), call: "setpriority"},
		{command: "cat /proc/1/environ", of: group}, // the kernel makes a check
		{command: "probe real-user 1000 open-at /proc/1 environ", of: few, want: InspectedProcess, sets: capability.Of(capability.Chown), call: "openat"},
		{command: "ps; cat /proc/1/status /proc/1/stat /proc/1/cmdline; readlink /proc/1/nothing", of: all},
		{command: "cat /proc/self/environ /proc/$$/maps; readlink /proc/$$/exe; renice 19 $$", of: all},
		{command: "cat /proc/1/environ; readlink /proc/1/exe; renice 19 1", of: ""}, // in its own pid namespace
	} {
		t.Run(test.command+" of "+test.of+strings.Join(test.options, " "), func(t *testing.T) {
			t.Parallel()
			options := test.options
			if test.of != "" {
				options = append(options, "--pid=container:"+test.of)
			}
			id := create(t, append(options, "bb", "sh", "-c", test.command)...)
			out, err := exec.CommandContext(t.Context(), "docker", "start", "-a", id).CombinedOutput()
			if err != nil && test.want != 0 {
				t.Fatalf("%v: %s", err, out)
			}
			got := find(t, m, id).Unchecked
			if test.want == 0 {
				if len(got) != 0 {
					t.Errorf("recorded %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Kind != test.want || got[0].Sets != test.sets || got[0].Call.Name() != test.call || got[0].Count == 0 {
				t.Errorf("recorded %+v", got)
			}
		})
	}
}

// A pid namespace that a process of the container made does not hide that the container shares another one.
func TestInspectionByAContainerThatRanBeforeIsRecorded(t *testing.T) {
	of := launch(t, "bb", "sleep", "600")
	directory, shared := within(t)
	id := launch(t, append(shared, "--pid=container:"+of, "--cap-add=SYS_ADMIN", "bb", "sh", "-c",
		"unshare -p -f sh -c 'touch /shared/runs; until [ -e /shared/go ]; do usleep 10000; done; cat /shared/go'; cat /proc/1/environ")...)
	await(t, directory, "runs")
	m := start(t, Options{Outcomes: true})
	if err := os.WriteFile(filepath.Join(directory, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "docker", "wait", id).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := find(t, m, id).Unchecked; len(got) != 1 || got[0].Sets != capability.DockerDefault() {
		t.Errorf("recorded %+v", got)
	}
}

// If a second container joins the pid namespace of a first one, the first can inspect the processes of the second.
func TestInspectingAContainerThatJoinedIsRecorded(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	id := launch(t, "bb", "sh", "-c", "until pid=$(pidof tail); do usleep 10000; done; cat /proc/$pid/environ")
	launch(t, "--pid=container:"+id, "bb", "tail", "-f", "/dev/null")
	testutil.Docker(t, "wait", id)
	got := find(t, m, id).Unchecked // pidof makes such calls as well
	if !slices.ContainsFunc(got, func(c UncheckedCall) bool {
		return c.Kind == InspectedProcess && c.Sets == capability.DockerDefault() && c.Program == "cat"
	}) {
		t.Errorf("recorded %+v", got)
	}
}

// capmon counts all calls of a container and loses none, however many program names the container makes up.
func TestAFloodOfUncheckedCallsIsFolded(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	const names = 600
	c := find(t, m, run(t, "bb", "probe", "names", strconv.Itoa(names), "capget", "0"))
	var count uint64
	for _, call := range c.Unchecked {
		count += call.Count
	}
	if count != names || c.UnrecordedCalls != 0 || len(c.Unchecked) >= names {
		t.Errorf("%d calls of %d in %d entries, %d not recorded", count, names, len(c.Unchecked), c.UnrecordedCalls)
	}
}
