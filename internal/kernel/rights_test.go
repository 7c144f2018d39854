package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

func TestParseEffective(t *testing.T) {
	const status = "Name:\tcapmon\nCapPrm:\t0000000000000001\nCapEff:\t000000c000201000\nCapBnd:\t000001ffffffffff\n"
	got, err := parseCapabilities(status, "CapEff:")
	want := capability.Of(capability.SysAdmin, capability.NetAdmin, capability.Perfmon, capability.BPF)
	if got != want || err != nil {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "CapEff:\tno\n", "CapEff:"} {
		if _, err := parseCapabilities(bad, "CapEff:"); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestEffectiveCapabilitiesMatchCapget(t *testing.T) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	want := capability.Set(uint64(data[1].Effective)<<32 | uint64(data[0].Effective))
	if got, err := EffectiveCapabilities(); got != want || err != nil {
		t.Errorf("%v %v, want %v", got, err, want)
	}
}

func TestSysctl(t *testing.T) {
	dir := write(t, "kernel/perf_event_paranoid", "-1\n")
	if n, err := sysctl(dir, "kernel.perf_event_paranoid"); n != -1 || err != nil {
		t.Errorf("%d %v, want -1", n, err)
	}
	if _, err := sysctl(dir, "kernel.unprivileged_bpf_disabled"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := sysctl(write(t, "kernel/ostype", "Linux\n"), "kernel.ostype"); err == nil {
		t.Error("not a number: no error")
	}
}

func TestLastCapability(t *testing.T) {
	last, err := LastCapability()
	if err != nil {
		t.Fatal(err)
	}
	if last < capability.CheckpointRestore { // 5.9
		t.Errorf("%d", last)
	}
}

func TestLockdownMode(t *testing.T) {
	for _, test := range []struct {
		about, file, text string
		want              Lockdown
		fails             bool
	}{
		{"off", "lockdown", "[none] integrity confidentiality\n", LockdownNone, false},
		{"secure boot", "lockdown", "none [integrity] confidentiality\n", LockdownIntegrity, false},
		{"strict", "lockdown", "none integrity [confidentiality]\n", LockdownConfidentiality, false},
		{"not compiled in", "lsm", "capability,yama", LockdownNone, false},
		{"securityfs not mounted", "other", "", LockdownUnknown, false},
		{"nonsense", "lockdown", "none integrity\n", LockdownUnknown, true},
	} {
		got, err := lockdownMode(write(t, test.file, test.text))
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("%s: %q %v, want %q", test.about, got, err, test.want)
		}
	}
}

func TestInInitial(t *testing.T) {
	for _, kind := range []Namespace{UserNamespace, PIDNamespace, CgroupNamespace} {
		if _, err := InInitial(kind); err != nil {
			t.Error(err)
		}
	}
	if _, err := InInitial("absent"); err == nil {
		t.Error("no error for a kind that does not exist")
	}
}

func TestProcDirectoryOfAProcessInAnotherMountNamespace(t *testing.T) {
	testutil.NeedRoot(t)
	cmd := exec.Command("unshare", "--mount", "sh", "-c", "echo; exec cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}()
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // the process has unshared its mounts
		t.Fatal(err)
	}
	for pid, want := range map[int]string{cmd.Process.Pid: fmt.Sprint("/proc/", cmd.Process.Pid), os.Getpid(): "/proc/self", 0: "/proc/self"} {
		if got := ProcDirectory(pid); got != want {
			t.Errorf("%d: %s, want %s", pid, got, want)
		}
	}
}
