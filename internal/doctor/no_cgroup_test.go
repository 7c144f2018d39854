package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// A program with the name of a monitor has a child in another pid namespace and in the same cgroup.
func TestContainersWithoutACgroupAreReported(t *testing.T) {
	testutil.NeedRoot(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(unshare)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "conmon")
	if err := os.WriteFile(program, content, 0o755); err != nil {
		t.Fatal(err)
	}
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	if sharesCgroup(cgroups, os.Getpid()) {
		t.Error("this process has no container")
	}
	monitor := exec.Command(program, "--fork", "--pid", "--kill-child", "sleep", "1000")
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = monitor.Process.Kill()
		_ = monitor.Wait()
	})
	testutil.Eventually(t, "the process has a container", func() bool { return sharesCgroup(cgroups, monitor.Process.Pid) })
	found := containersWithoutCgroup()
	if len(found) != 1 || found[0].Status != Warning || !strings.Contains(found[0].Text, "conmon (process ") {
		t.Errorf("%+v", found)
	}
}
