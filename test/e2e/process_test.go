package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
	hostsystemd "github.com/capmon/capmon/internal/systemd"
)

// profileProcess profiles a shell script, with a file that belongs to root and that the script knows as $FILE.
func profileProcess(t *testing.T, script string) (seen, result) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := execute(t, binary, "profile", "-o", "json", "--process", "--", "env", "FILE="+file, "sh", "-c", script)
	all := parseReport(t, r)
	if len(all) != 1 || all[0].Name != "env" || all[0].ID != "process:env" || all[0].Kind != "process" {
		t.Fatalf("got %+v, wanted only the command", all)
	}
	return all[0], r
}

func (s seen) needs(t *testing.T, required ...string) {
	t.Helper()
	if !slices.Equal(s.Required, required) || len(s.Implicit)+len(s.Soft) > 0 || !s.StartSeen || s.Lost > 0 {
		t.Errorf("required %v, implicit %v, soft %v, start seen %v, %d lost: %v; wanted %v",
			s.Required, s.Implicit, s.Soft, s.StartSeen, s.Lost, s.Cautions, required)
	}
}

func TestCommandNeedsWhatItUses(t *testing.T) {
	t.Parallel()
	for script, required := range map[string][]string{
		"true":                           {},
		"chown 5 $FILE":                  {"CHOWN"},
		"chown 5 $FILE; chroot / true":   {"CHOWN", "SYS_CHROOT"},
		"(chroot / sh -c 'chroot /; :')": {"SYS_CHROOT"},
	} {
		got, r := profileProcess(t, script)
		if got.needs(t, required...); t.Failed() {
			t.Fatalf("%s: %s", script, r.stderr)
		}
		// The list is sufficient.
		bounding := "-all"
		for _, c := range required {
			bounding += ",+" + strings.ToLower(c)
		}
		mustExecute(t, "setpriv", "--bounding-set="+bounding, "env", "FILE="+filepath.Join(t.TempDir(), "other"), "sh", "-ec", "echo >$FILE; "+script)
	}
}

// The grants are the process's. capmon itself does not need MKNOD.
func TestGrantsOfACommand(t *testing.T) {
	t.Parallel()
	r := execute(t, "setpriv", "--bounding-set=-mknod", binary, "profile", "-o", "json", "--process", "--", "true")
	got := only(t, parseReport(t, r), "true")
	host, err := kernel.BoundingSet(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Granted) != host.Len()-1 || slices.Contains(got.Granted, "MKNOD") || !slices.Equal(got.Granted, got.Unused) {
		t.Errorf("granted %v, unused %v", got.Granted, got.Unused)
	}
}

func TestReportOfACommand(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(binary, "profile", "--process", "--", "sh", "-c", "cat; echo problem >&2; chroot / true; exit 7")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("from stdin\n"), &stdout, &stderr
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, wanted the command's 7", code)
	}
	output, report, _ := strings.Cut(stdout.String(), "\n")
	if output != "from stdin" || !strings.HasPrefix(report, "\nhost ") || !strings.Contains(report, "\n\nsh  command  ran ") ||
		!strings.Contains(report, "\n  systemd-run --pty --property=CapabilityBoundingSet=CAP_SYS_CHROOT sh …\n") || strings.Contains(report, "container") || strings.Contains(report, "CIS") {
		t.Errorf("stdout:\n%s", stdout.String())
	}
	if !strings.Contains(stderr.String(), "problem\n") {
		t.Errorf("stderr lacks the command's:\n%s", stderr.String())
	}
}

// Profiles of the same command add up.
func TestProfilesOfACommand(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	one, two := filepath.Join(directory, "one.json"), filepath.Join(directory, "two.json")
	mustExecute(t, binary, "profile", "--process", "--save", one, "--", "sh", "-c", "chroot / true")
	mustExecute(t, binary, "profile", "--process", "--save", two, "--", "sh", "-c", "chown 7 "+two+" 2>/dev/null || touch "+directory+"/new && chown 7 "+directory+"/new")
	out := mustExecute(t, binary, "flags", one, two)
	if !strings.Contains(out, "[Service]\nCapabilityBoundingSet=CAP_CHOWN CAP_SYS_CHROOT\n") {
		t.Errorf("flags printed\n%s", out)
	}
	dropIn := filepath.Join(directory, "sh.service.d", "capmon.conf")
	mustExecute(t, binary, "flags", one, "--for", "systemd", "--patch", dropIn)
	text, err := os.ReadFile(dropIn)
	if want := "[Service]\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_SYS_CHROOT\n"; err != nil || string(text) != want {
		t.Errorf("got %q, %v", text, err)
	}
	if r := execute(t, binary, "flags", one, "--for", "docker"); r.code != exitUsage || !strings.Contains(r.stderr, "it is not a container") {
		t.Errorf("%+v", r)
	}
}

// cgroupVariables returns shell code that sets M to the mount point of the cgroups and C to the cgroup of the shell.
func cgroupVariables(t *testing.T) string {
	t.Helper()
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	return "M=" + cgroups.Mount + "; C=$M$(sed -n 's/^[0-9]*:" + cgroups.Controller + "://p' /proc/self/cgroup); "
}

// A command of root can move to any cgroup. What it does there counts.
func TestCommandsThatMove(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0123456789abcdef", 4)
	for name, test := range map[string]struct {
		script   string
		required []string
		stderr   string
	}{
		"to the root":     {script: "echo $$ >$M/cgroup.procs; chown 5 $FILE", required: caps("CHOWN")},
		"a child":         {script: "sh -c 'echo $$ >'$M'/cgroup.procs; (chown 5 $FILE)'", required: caps("CHOWN")},
		"to a container":  {script: "mkdir $M/" + id + "; echo $$ >$M/" + id + "/cgroup.procs; chown 5 $FILE; echo $$ >$M/cgroup.procs; until rmdir $M/" + id + "; do sleep 0.1; done", required: caps("CHOWN", "DAC_OVERRIDE")},
		"in a new cgroup": {script: "mkdir $C/inside; echo $$ >$C/inside/cgroup.procs; chown 5 $FILE", required: caps("CHOWN", "DAC_OVERRIDE")},
		"replace it": {
			script:   "echo $$ >$M/cgroup.procs; until rmdir $C || ! test -e $C; do sleep 0.1; done; mkdir -p $C; echo $$ >$C/cgroup.procs; chown 5 $FILE; echo $$ >$M/cgroup.procs; until rmdir $C || ! test -e $C; do sleep 0.1; done",
			required: caps("CHOWN", "DAC_OVERRIDE"), stderr: "has removed or replaced the cgroup",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, r := profileProcess(t, cgroupVariables(t)+test.script)
			if !slices.Contains(got.Required, "CHOWN") {
				t.Errorf("required %v", got.Required)
			}
			for _, c := range got.Required {
				if !slices.Contains(append(test.required, "DAC_OVERRIDE"), c) {
					t.Errorf("required %v, wanted %v", got.Required, test.required)
				}
			}
			moved := slices.ContainsFunc(got.Cautions, func(caution string) bool { return strings.Contains(caution, "moved to another cgroup") })
			if inside := name == "in a new cgroup"; moved == inside {
				t.Errorf("cautions: %q", got.Cautions)
			}
			if !hostsystemd.Running() && !strings.Contains(r.stderr, test.stderr) { // systemd removes scopes itself
				t.Errorf("stderr: %s", r.stderr)
			}
		})
	}
}

// capmon reports the processes that remain, and leaves them where they would be without capmon.
func TestCommandThatLeavesADaemon(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	got, r := profileProcess(t, "setsid sleep 1000 >/dev/null 2>&1 & echo $! >"+pidFile+"; chown 5 $FILE")
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	daemon := strings.TrimSpace(string(pid))
	t.Cleanup(func() { mustExecute(t, "kill", daemon) })
	got.needs(t, "CHOWN")
	if !got.Running || !strings.Contains(r.stderr, "still run: "+daemon+";") {
		t.Errorf("running %v: %s", got.Running, r.stderr)
	}
	if hostsystemd.Running() {
		return // the daemon stays in the scope
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if of, err := os.ReadFile("/proc/" + daemon + "/cgroup"); err != nil || string(of) != string(own) {
		t.Errorf("the daemon is in %s, capmon was in %s: %v", of, own, err)
	}
}

func TestCommandsThatCannotStart(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		stderr string
	}{
		{[]string{"--process", "--", "/nonexistent"}, "cannot run /nonexistent"},
		{[]string{"--process", "--", broken}, "exec format error"},
		{[]string{"--process"}, "requires a command"},
		{[]string{"--process", "--"}, "no command after --"},
		{[]string{"--process", "web", "--", "true"}, "leave the names out"},
		{[]string{"--process", "--for", "1m", "--", "true"}, "leave it out"},
		{[]string{"--process", "--container", "web", "--", "true"}, "leave out the options"},
		{[]string{"--process", "--unit", "web", "--", "true"}, "exclude each other"},
	} {
		r := execute(t, append([]string{binary, "profile"}, test.args...)...)
		if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, test.stderr) {
			t.Errorf("%v: %+v", test.args, r)
		}
	}
}

func TestExitCodeOfAKilledProcess(t *testing.T) {
	t.Parallel()
	if r := execute(t, binary, "profile", "--process", "--", "sh", "-c", "kill -KILL $$"); r.code != signalExitCode(unix.SIGKILL) {
		t.Errorf("exit code %d, wanted the code that a shell returns", r.code)
	}
}

// A terminal sends Ctrl-C to the whole process group, also to a command in a cgroup of its own.
func TestCtrlCReachesAProcessOnce(t *testing.T) {
	t.Parallel()
	ctrlCReachesOnce(t, "  command  ran ", "--process")
}
