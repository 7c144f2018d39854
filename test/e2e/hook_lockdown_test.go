package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/doctor"
)

// Only a reboot ends lockdown. scripts/test-kernels.sh runs this test last, in a separate process.
func TestEveryHookUnderLockdown(t *testing.T) {
	if !inGuest() {
		t.Skip("only in a guest: the machine would stay locked down")
	}
	lock := func(mode string) diagnosis {
		if err := os.WriteFile("/sys/kernel/security/lockdown", []byte(mode), 0o644); err != nil {
			t.Fatal(err)
		}
		return diagnose(t, (*exec.Cmd).Start, binary, "doctor", "-o", "json")
	}
	d := lock("integrity")
	d.check(t, "lockdown", doctor.OK, "integrity, does not matter", "")
	for _, hook := range hooks(t) {
		d.check(t, "  "+string(hook), doctor.OK, "works", "")
		if !testing.Short() {
			profileMixed(t, string(hook), hook)
		}
	}
	d = lock("confidentiality")
	d.check(t, "lockdown", doctor.Failure, "no BPF program read its memory", "lockdown=integrity")
	d.check(t, "hook", doctor.Failure, "no hook for the kernel's capability check works", "")
	if output := failsFor(t, (*exec.Cmd).Start, binary, "profile", "--for", "1ms"); !strings.Contains(output, "run capmon doctor") {
		t.Error(output)
	}
}
