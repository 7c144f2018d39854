package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// The kernel checks the capability only if it has not loaded the module yet. The list must also work on a host that has
// not.
func TestModulesOnDemandNeedACapability(t *testing.T) {
	t.Parallel()
	if !inGuest() {
		t.Skip("only in a guest: it loads modules into the machine's kernel")
	}
	const file = "/proc/sys/net/ipv4/tcp_congestion_control"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(file, before, 0) })
	// Other network namespaces may set only a few algorithms without NET_ADMIN on the host.
	setting := func(algorithm string) workload {
		return workload{
			options:  []string{"--security-opt=systempaths=unconfined", "--network=host"},
			command:  sh("echo " + algorithm + " > " + file),
			required: caps("NET_ADMIN"), unsure: caps("NET_ADMIN"),
		}
	}
	// A module stays loaded, so each run uses another one.
	w := setting("vegas")
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("module", "--cap-add=NET_ADMIN")...)...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	got := only(t, parseReport(t, r), "module")
	w.check(t, got)
	mustExecute(t, setting("veno").dockerRun("module", got.Flags...)...)
	if r := execute(t, setting("hybla").dockerRun("module", "--cap-drop=ALL")...); r.code == 0 {
		t.Error("a module was loaded without a capability")
	}
}

// The kernel tests whether the process that opened a pressure stall file had SYS_RESOURCE, without a check. Only
// triggers whose window is not a multiple of two seconds need SYS_RESOURCE.
func TestPressureTriggersNeedSysResourceByWindow(t *testing.T) {
	t.Parallel()
	host, err := kernel.HostCapabilities()
	if err != nil {
		t.Fatal(err)
	}
	if !host.Has(capability.SysResource) {
		t.Skip("this machine has no SYS_RESOURCE to grant")
	}
	const resource = "--cap-add=SYS_RESOURCE"
	for name, test := range map[string]struct {
		script string
		needed bool
		unsure bool
	}{
		"pressure-second":      {"echo 'some 150000 1000000' >/proc/pressure/memory", true, false},
		"pressure-two-seconds": {"echo 'some 150000 2000000' >/proc/pressure/memory", false, false},
		"pressure-open":        {": >/proc/pressure/cpu", true, true},
		"pressure-read":        {"cat /proc/pressure/memory", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "profile.json")
			run := []string{"docker", "run", "--rm"}
			command := []string{"bb", "sh", "-ec", test.script}
			out := mustExecute(t, slices.Concat([]string{binary, "profile", "--save", file, "--"}, run, []string{"--name", name, resource}, command)...)
			list := strings.Fields(flagsOf(t, file))
			if slices.Contains(list, resource) != test.needed || strings.Contains(out, "SYS_RESOURCE is on the list, but may not be needed") != test.unsure {
				t.Fatalf("list %v\n%s", list, out)
			}
			mustExecute(t, slices.Concat(run, list, command)...)
			if test.needed && !test.unsure && execute(t, slices.Concat(run, []string{"--cap-drop=ALL"}, command)...).code == 0 {
				t.Error("the command works without SYS_RESOURCE")
			}
		})
	}
}

// xfsVolume creates a volume with a new XFS file system, and returns its name.
func xfsVolume(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("mkfs.xfs"); err != nil {
		t.Skip("mkfs.xfs is missing: scripts/setup.sh installs it")
	}
	types, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(types), "\txfs\n") && exec.Command("modprobe", "xfs").Run() != nil {
		t.Skip("this kernel has no XFS")
	}
	image := filepath.Join(t.TempDir(), "xfs")
	mustExecute(t, "truncate", "--size=320M", image)
	mustExecute(t, "mkfs.xfs", "-q", image)
	device := strings.TrimSpace(mustExecute(t, "losetup", "--find", "--show", image))
	t.Cleanup(func() { mustExecute(t, "losetup", "--detach", device) })
	mustExecute(t, "docker", "volume", "create", "--opt=type=xfs", "--opt=device="+device, "capmon-xfs")
	t.Cleanup(func() { mustExecute(t, "docker", "volume", "rm", "capmon-xfs") })
	return "capmon-xfs"
}

// XFS checks FOWNER at each change of an inode, in case a quota is exceeded.
func TestXFSAddsNoNeeds(t *testing.T) {
	t.Parallel()
	volume := "--volume=" + xfsVolume(t) + ":/x"
	for _, w := range []workload{
		{
			name: "xfs-own-file", command: sh("rm -f /x/a && touch /x/a && chmod 600 /x/a && touch -d @0 /x/a && chown 5 /x/a && cp -p /bin/true /x/b"),
			required: caps("CHOWN"), classes: map[string][]string{"irrelevant": caps("FOWNER")},
		},
		{name: "xfs-file-of-another-user", command: sh("chmod 644 /x/a"), required: caps("FOWNER")},
	} {
		w.options = []string{volume}
		t.Run(w.name, func(t *testing.T) {
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(w.name)...)...)
			got := only(t, parseReport(t, r), w.name)
			w.check(t, got)
			mustExecute(t, w.dockerRun(w.name, got.Flags...)...)
		})
	}
}

// The kernel lets a process inspect another process without a check if the first holds all capabilities that the other
// is permitted. The list must be sufficient for this.
func TestListAllowsInspectingOtherProcesses(t *testing.T) {
	t.Parallel()
	mustExecute(t, "docker", "run", "-d", "--name", "looked-into", "bb", "sleep", "100000")
	mustExecute(t, "docker", "run", "-d", "--name", "looked-into-few", "--cap-drop=ALL", "--cap-add=CHOWN", "bb", "sleep", "100000")
	t.Cleanup(func() { execute(t, "docker", "rm", "-f", "looked-into", "looked-into-few") })
	few := strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format", "{{.State.Pid}}", "looked-into-few"))
	for name, test := range map[string]struct {
		command string
		into    string
		options []string
		want    []string
		note    string
	}{
		"look-environ": {"cat /proc/1/environ", "container:looked-into", nil, capabilities(capability.DockerDefault()), "SYS_PTRACE would be enough instead"},
		"look-few":     {"readlink /proc/1/exe", "container:looked-into-few", nil, []string{"CHOWN"}, "CHOWN is on the list, but may not be needed"},
		"look-needed":  {"chown 5 /tmp; readlink /proc/1/exe", "container:looked-into-few", nil, []string{"CHOWN"}, ""},
		"look-ptrace":  {"readlink /proc/1/exe", "container:looked-into", []string{"--cap-add=SYS_PTRACE"}, []string{"SYS_PTRACE"}, "SYS_PTRACE is on the list, but may not be needed"},
		// 19 is the highest nice value: only lowering it would need SYS_NICE, and containers inherit the engine's.
		"look-renice":   {"renice 19 1", "container:looked-into-few", nil, []string{"CHOWN"}, "SYS_NICE would be enough instead"},
		"look-sys-nice": {"renice 19 1", "container:looked-into", []string{"--cap-add=SYS_NICE"}, []string{"SYS_NICE"}, "SYS_NICE is on the list, but may not be needed"},
		"look-host":     {"readlink /proc/" + few + "/exe", "host", nil, []string{"CHOWN"}, "CHOWN is on the list, but may not be needed"},
		"look-ps":       {"ps", "container:looked-into", nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "profile.json")
			run := []string{"docker", "run", "--rm", "--pid=" + test.into}
			command := []string{"bb", "sh", "-ec", test.command}
			r := execute(t, slices.Concat([]string{binary, "profile", "--save", file, "--"}, run, []string{"--name", name}, test.options, command)...)
			if r.code != 0 || !strings.Contains(r.stdout, test.note) || !strings.Contains(r.stdout, "in its PID namespace") {
				t.Errorf("%+v", r)
			}
			list := strings.Fields(flagsOf(t, file))
			want := []string{"--cap-drop=ALL"}
			for _, c := range test.want {
				want = append(want, "--cap-add="+c)
			}
			if !slices.Equal(list, want) {
				t.Fatalf("got %v, want %v", list, want)
			}
			mustExecute(t, slices.Concat(run, list, command)...)
			if len(list) > 1 && execute(t, slices.Concat(run, list[:len(list)-1], command)...).code == 0 {
				t.Error("the command works with fewer capabilities")
			}
		})
	}
}

func capabilities(set capability.Set) (names []string) {
	for _, c := range set.Sorted() {
		names = append(names, c.String())
	}
	return names
}
