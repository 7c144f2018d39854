package settings

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// systemd's verdict must be based on the unit.
func TestSystemdAcceptsTheBoundingSet(t *testing.T) {
	testutil.NeedCommand(t, "systemd-analyze", "--version")
	judge := func(needs capability.Set) string {
		unit := filepath.Join(t.TempDir(), "app.service")
		write(t, unit, systemdLines(changes{Group: Group{Needs: needs}})+"ExecStart=/bin/true\n")
		out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--no-pager", unit).CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
		return string(out)
	}
	allowed := "✗ CapabilityBoundingSet=~CAP_SYS_PTRACE"
	if got := judge(capability.Of(capability.SysPtrace)); !strings.Contains(got, allowed) {
		t.Errorf("granted, but not for systemd:\n%s", got)
	}
	if got := judge(0); strings.Contains(got, "✗ CapabilityBoundingSet") {
		t.Errorf("nothing is granted, but for systemd:\n%s", got)
	}
}
