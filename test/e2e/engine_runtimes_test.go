package e2e

import (
	"slices"
	"strings"
	"testing"
)

// Other runtimes prepare containers differently: crun is not a Go program, and makes its last execve from a sealed copy
// of itself. `make test-kernels` has guests with cgroups that crun supports.
func TestHookWithCrun(t *testing.T) {
	t.Parallel()
	if version := strings.TrimSpace(mustExecute(t, "docker", "info", "--format={{.CgroupVersion}}")); version != "2" {
		t.Skipf("crun needs only cgroups v2, this machine has v%s or both", version)
	}
	profileByRuntime(t, "crun")
}

// Debian's runc is from 2023. Newer versions execute themselves through an overlay that is not mounted anywhere
// (libcontainer/exeseal).
func TestNewestRunc(t *testing.T) {
	t.Parallel()
	profileByRuntime(t, "newest-runc")
}

// profileByRuntime runs the mixed workload with a runtime. Its needs are the same with every runtime.
func profileByRuntime(t *testing.T, runtime string) {
	t.Helper()
	for name, options := range map[string][]string{"plain": nil, "init": {"--init"}} {
		w := mixed
		w.options = append([]string{"--runtime=" + runtime}, options...)
		w.classes = map[string][]string{"setup": caps("SYS_ADMIN")}
		container := runtime + "-" + name
		t.Run(name+"/run", func(t *testing.T) {
			t.Parallel()
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(container)...)...)
			got := only(t, parseReport(t, r), container)
			w.check(t, got)
			mustExecute(t, w.dockerRun(container, got.Flags...)...)
		})
		t.Run(name+"/exec", func(t *testing.T) {
			t.Parallel()
			startSleeper(t, "in-"+container, w.options...)
			observation := watch(t, "in-"+container)
			mustExecute(t, slices.Concat([]string{"docker", "exec", "in-" + container}, w.command)...)
			w.check(t, only(t, parseReport(t, observation.interrupt()), "in-"+container))
		})
	}
}
