package doctor

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/monitor"
)

func TestRights(t *testing.T) {
	all := capability.Known(capability.CheckpointRestore)
	for _, test := range []struct {
		name    string
		have    capability.Set
		initial bool
		want    string // a part of the error; "" for none
	}{
		{"root", all, true, ""},
		{"just enough", needed, true, ""},
		{"SYS_ADMIN for the newer ones", capability.Of(capability.SysAdmin, capability.Syslog, capability.SysPtrace), true, ""},
		{"SYS_ADMIN alone", capability.Of(capability.SysAdmin), true, "lacks (CAP_SYSLOG, CAP_SYS_PTRACE)"},
		{"no capability", 0, true, "lacks (CAP_BPF, CAP_PERFMON, CAP_SYSLOG, CAP_SYS_PTRACE): run it with sudo"},
		{"one missing", needed.Without(capability.Perfmon), true, "lacks (CAP_PERFMON)"},
		{"root of a container", all, false, "in another one"},
	} {
		err := checkRights(test.have, test.initial)
		var rights *RightsError
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (!errors.As(err, &rights) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
}

// The tests run where profiling works.
func TestThisHostWorks(t *testing.T) {
	testutil.NeedRoot(t)
	testutil.NeedDocker(t)
	findings := Examine(t.Context(), Options{})
	if !Works(findings) {
		t.Errorf("%+v", findings)
	}
	for _, subject := range []string{"kernel", "rights", "  directories", "BTF", "kernel symbols", "  call sites", "kernel pointers", "lockdown", "unprivileged BPF",
		"perf events", "bpffs", "cgroups", "pid namespace", "hook", "Docker"} {
		if n := count(findings, subject); n != 1 {
			t.Errorf("%d findings on %s", n, subject)
		}
	}
	for _, hook := range monitor.Hooks() {
		if n := count(findings, "  "+string(hook)); n != 1 {
			t.Errorf("%d findings on %s", n, hook)
		}
	}
}

// doctor must name the hook that profiling uses.
func TestDoctorNamesTheHookInUse(t *testing.T) {
	testutil.NeedRoot(t)
	findings := Examine(t.Context(), Options{})
	m, err := monitor.Start(monitor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	i := slices.IndexFunc(findings, func(f Finding) bool { return f.Subject == "hook" })
	if findings[i].Text != string(m.Hook()) {
		t.Errorf("doctor names %q, but profiling uses %q", findings[i].Text, m.Hook())
	}
}

func TestEveryFailureHasARemedy(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none.sock"))
	findings := Examine(t.Context(), Options{Monitor: monitor.Options{BTF: filepath.Join(t.TempDir(), "none")}})
	if Works(findings) {
		t.Error("reported to work without BTF")
	}
	failed := make(map[string]string)
	for _, finding := range findings {
		if finding.Status == Failure {
			failed[finding.Subject] = finding.Text + finding.Remedy
		}
	}
	for subject, remedy := range map[string]string{"BTF": "CONFIG_DEBUG_INFO_BTF", "hook": "not tried", "Docker": "DOCKER_HOST"} {
		if !strings.Contains(failed[subject], remedy) {
			t.Errorf("%s: %q does not name %s", subject, failed[subject], remedy)
		}
	}
}

func count(findings []Finding, subject string) (n int) {
	for _, finding := range findings {
		if finding.Subject == subject {
			n++
		}
	}
	return n
}
