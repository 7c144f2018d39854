package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// diagnosis is the output of capmon doctor.
type diagnosis []doctor.Finding

// diagnose runs a command that ends with capmon doctor -o json. It verifies that every finding that is not OK has a
// remedy, and that no other has one.
func diagnose(t *testing.T, start func(*exec.Cmd) error, command ...string) diagnosis {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	var output struct {
		Works    bool
		Findings diagnosis
	}
	if err := json.Unmarshal(stdout.Bytes(), &output); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	if code := cmd.ProcessState.ExitCode(); output.Works != (code == exitDone) {
		t.Errorf("works: %v, but exit code %d", output.Works, code)
	}
	for _, finding := range output.Findings {
		if (finding.Status == doctor.OK) != (finding.Remedy == "") {
			t.Errorf("a finding lacks a remedy, or needs none: %+v", finding)
		}
	}
	return output.Findings
}

// check verifies that there is a finding with these parts of its text and its remedy.
func (d diagnosis) check(t *testing.T, subject string, status doctor.Status, text, remedy string) {
	t.Helper()
	if !slices.ContainsFunc(d, func(f doctor.Finding) bool {
		return f.Subject == subject && f.Status == status && strings.Contains(f.Text, text) && strings.Contains(f.Remedy, remedy)
	}) {
		t.Errorf("not found: %s, %s, %q, %q in\n%+v", subject, status, text, remedy, d)
	}
}

// elsewhere returns a command line that runs the script and then the command in a new mount namespace.
func elsewhere(script string, command ...string) []string {
	return append([]string{"unshare", "--mount", "sh", "-ec", script + `; exec "$0" "$@"`}, command...)
}

const securityfs = "mount -t securityfs none /sys/kernel/security"

// lockdownMode returns the lockdown mode that the kernel reports. It is not confidentiality where the tests run.
func lockdownMode(t *testing.T) string {
	t.Helper()
	text := mustExecute(t, elsewhere(securityfs, "cat", "/sys/kernel/security/lockdown")...)
	_, text, _ = strings.Cut(text, "[")
	mode, _, found := strings.Cut(text, "]")
	if !found {
		t.Fatal("no mode is selected: ", text)
	}
	return mode
}

// cgroupBelow returns a cgroup that does not belong to a container.
func cgroupBelow(t *testing.T) string {
	t.Helper()
	found, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	cgroup := filepath.Join(found.Mount, "capmon-part")
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(cgroup) })
	return cgroup
}

func TestDoctorOnMounts(t *testing.T) {
	t.Parallel()
	run := []string{binary, "profile", "--for", "1ms"}
	for _, test := range []struct {
		name, script         string
		subject              string
		status               doctor.Status
		text, remedy         string
		code                 int    // of profile
		stderr, withoutMount string // withoutMount: the test needs this mount point, which some machines lack
	}{
		{
			name: "no type information", script: "mount -t tmpfs none /sys/kernel/btf", subject: "BTF", status: doctor.Failure,
			text: "CONFIG_DEBUG_INFO_BTF", remedy: "boot a kernel that has /sys/kernel/btf/vmlinux", code: exitUsage, stderr: "CONFIG_DEBUG_INFO_BTF",
		},
		{
			name: "symbols hidden as by systemd", script: "mount --bind /dev/null /proc/kallsyms", subject: "kernel symbols", status: doctor.Failure,
			text: "found no functions", remedy: "make /proc/kallsyms visible", code: exitUsage, stderr: "kernel symbols",
		},
		{
			name: "bpffs not mounted", script: "umount /sys/fs/bpf", withoutMount: "/sys/fs/bpf", subject: "bpffs", status: doctor.OK,
			text: "not mounted, does not matter",
		},
		{name: "securityfs mounted", script: securityfs, subject: "lockdown", status: doctor.OK, text: lockdownMode(t)},
		{name: "cgroup v1 alone", script: "umount /sys/fs/cgroup/unified", withoutMount: "/sys/fs/cgroup/unified", subject: "cgroups", status: doctor.OK, text: "v1, containers are identified by their cgroups in /sys/fs/cgroup/"},
		{
			name: "cgroup v2 alone", script: "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup", subject: "cgroups", status: doctor.OK,
			text: "v2, containers are identified by their cgroups in /sys/fs/cgroup",
		},
		{
			name: "hybrid", script: "umount -R /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup; cd /sys/fs/cgroup; mkdir pids unified; mount -t cgroup -o pids none pids; mount -t cgroup2 none unified",
			withoutMount: "/sys/fs/cgroup/pids", subject: "cgroups", status: doctor.OK, text: "hybrid, containers are identified by their cgroups in /sys/fs/cgroup/pids",
		},
		{
			name: "no cgroups", script: "umount -R /sys/fs/cgroup", subject: "cgroups", status: doctor.Failure,
			text: "no cgroup hierarchy is mounted", remedy: "mount -t cgroup2 none /sys/fs/cgroup", code: exitUsage, stderr: "no cgroup hierarchy is mounted",
		},
		{
			name: "a part of the cgroups", script: "mount --bind " + cgroupBelow(t) + " /mnt; umount -R /sys/fs/cgroup", subject: "cgroups", status: doctor.Warning,
			text: "sees only a part", remedy: "--volume=/sys/fs/cgroup:/sys/fs/cgroup:ro", stderr: "capmon cannot see containers that are already running",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.withoutMount != "" && execute(t, "mountpoint", "-q", test.withoutMount).code != 0 {
				t.Skip("this machine has no mount point ", test.withoutMount)
			}
			diagnose(t, (*exec.Cmd).Start, elsewhere(test.script, binary, "doctor", "-o", "json")...).
				check(t, test.subject, test.status, test.text, test.remedy)
			r := execute(t, elsewhere(test.script, run...)...)
			if r.code != test.code || !strings.Contains(r.stderr, test.stderr) {
				t.Errorf("exit code %d, wanted %d and %q:\n%s", r.code, test.code, test.stderr, r.stderr)
			}
		})
	}
}

func TestDoctorOnCapabilities(t *testing.T) {
	t.Parallel()
	for _, c := range least.Sorted() {
		t.Run(c.String(), func(t *testing.T) {
			without := restricted(least.Without(c), 0)
			d := diagnose(t, without, binary, "doctor", "-o", "json")
			if c == capability.DACReadSearch {
				d.check(t, "  directories", doctor.Warning, "missing: CAP_DAC_READ_SEARCH", "--cap-add=DAC_READ_SEARCH")
				return
			}
			d.check(t, "rights", doctor.Failure, "missing: CAP_"+c.String(), "--cap-add="+c.String())
			for _, command := range [][]string{{"profile", "--for", "1ms"}, {"profile", "--", "true"}, {"verify", "--", "docker", "run", "bb"}} {
				if output := failsFor(t, without, append([]string{binary}, command...)...); !strings.Contains(output, "(CAP_"+c.String()+")") {
					t.Errorf("%v: %s", command, output)
				}
			}
		})
	}
	for _, uid := range []uint32{0, nobody} {
		d := diagnose(t, restricted(least, uid), binary, "doctor", "-o", "json")
		d.check(t, "rights", doctor.OK, "all that recording needs", "")
		d.check(t, "  directories", doctor.OK, "CAP_DAC_READ_SEARCH", "")
	}
}

// Newer engines keep the layers of containers in containerd, and only root can access its socket.
func TestDoctorOnLayers(t *testing.T) {
	t.Parallel()
	for _, uid := range []uint32{0, nobody} {
		d := diagnose(t, restricted(least, uid), binary, "doctor", "-o", "json")
		if uid == nobody && hasImageStore(t) {
			d.check(t, "  layers", doctor.Warning, "permission denied", "containerd")
			continue
		}
		if slices.ContainsFunc(d, func(f doctor.Finding) bool { return f.Subject == "  layers" }) {
			t.Errorf("user %d: %+v", uid, d)
		}
	}
}

// hasImageStore reports whether the engine keeps images in containerd.
func hasImageStore(t *testing.T) bool {
	t.Helper()
	return strings.Contains(mustExecute(t, "docker", "info", "--format={{.DriverStatus}}"), "io.containerd.snapshotter.v1")
}

// setSysctl sets a sysctl of the whole machine until the test ends.
func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	path := filepath.Join("/proc/sys", name)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := func(value string) {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set(value)
	t.Cleanup(func() { set(string(before)) })
}

// Settings with which the kernel hides or restricts things affect all hooks or some of them.
func TestDoctorOnHookSettings(t *testing.T) {
	t.Parallel()
	if !inGuest() {
		t.Skip("only in a guest: the settings are the whole machine's")
	}
	doctoring := []string{binary, "doctor", "-o", "json"}
	unprivileged, pointers, perf := []string{"0", "2"}, []string{"0", "1", "2"}, []string{"-1", "2"} // unprivileged_bpf_disabled=1 cannot be undone
	if testing.Short() {
		unprivileged, pointers, perf = nil, pointers[2:], nil
	}
	for _, value := range unprivileged {
		t.Run("kernel.unprivileged_bpf_disabled="+value, func(t *testing.T) {
			setSysctl(t, "kernel/unprivileged_bpf_disabled", value)
			diagnose(t, restricted(least, nobody), doctoring...).
				check(t, "unprivileged BPF", doctor.OK, "kernel.unprivileged_bpf_disabled="+value+", does not matter", "")
			diagnose(t, restricted(least.Without(capability.BPF), nobody), doctoring...).
				check(t, "rights", doctor.Failure, "missing: CAP_BPF", "")
		})
	}
	for _, value := range pointers {
		t.Run("kernel.kptr_restrict="+value, func(t *testing.T) {
			setSysctl(t, "kernel/kptr_restrict", value)
			d := diagnose(t, restricted(least, nobody), doctoring...)
			if value != "2" {
				d.check(t, "kernel pointers", doctor.OK, "kernel.kptr_restrict="+value+", does not matter", "")
				d.check(t, "kernel symbols", doctor.OK, "readable", "")
				return
			}
			d.check(t, "kernel pointers", doctor.Failure, "root included", "sysctl kernel.kptr_restrict=1")
			d.check(t, "kernel symbols", doctor.Failure, "hides its symbols' addresses", "sysctl kernel.kptr_restrict=1")
			if output := failsFor(t, (*exec.Cmd).Start, binary, "profile", "--for", "1ms"); !strings.Contains(output, "kernel.kptr_restrict") {
				t.Error(output)
			}
		})
	}
	for _, value := range perf {
		t.Run("kernel.perf_event_paranoid="+value, func(t *testing.T) {
			setSysctl(t, "kernel/perf_event_paranoid", value)
			d := diagnose(t, restricted(least, nobody), doctoring...)
			d.check(t, "perf events", doctor.OK, "kernel.perf_event_paranoid="+value+", does not matter", "")
			d.check(t, "  kprobe", doctor.OK, "works", "")
		})
	}
	t.Run("kernel.perf_event_paranoid=3", func(t *testing.T) {
		setSysctl(t, "kernel/perf_event_paranoid", "3")
		diagnose(t, (*exec.Cmd).Start, doctoring...).check(t, "  kprobe", doctor.OK, "works", "")
		work := hooks(t)
		if work[0] == monitor.Fexit {
			diagnose(t, restricted(least, nobody), doctoring...).
				check(t, "perf events", doctor.OK, "denies the hook kprobe to a process without CAP_SYS_ADMIN, does not matter because fexit works", "")
			if testing.Short() {
				return
			}
			occupy(t)
			work = work[1:]
		}
		if work[0] == monitor.Tracepoint { // which no setting disables
			diagnose(t, restricted(least, nobody), doctoring...).
				check(t, "perf events", doctor.OK, "denies the hook kprobe to a process without CAP_SYS_ADMIN, does not matter because tp_btf works", "")
			return
		}
		diagnose(t, restricted(least, nobody), doctoring...).
			check(t, "perf events", doctor.Failure, "denies the hook kprobe", "sysctl kernel.perf_event_paranoid=2")
	})
}
